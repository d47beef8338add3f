"""Any folder of class folders: every folder that holds images is a class of that name."""

from __future__ import annotations

import os
import unicodedata
from functools import partial
from pathlib import Path

from repro.data.dataset import ImageProgress, Selection
from repro.data.decoding import SUFFIXES, Counter, decode, fill_by_threads
from repro.data.images import Pixels, SplitPlan, build_pack
from repro.data.sources import MAX_IMAGE_BYTES
from repro.data.splitting import assign
from repro.errors import DataError, UsageError

name = "folder"
wanted = "a folder with one folder of images per class (nested ones are classes of their own)"
accepts = ("split", "split_seed", "split_file", "image_size")
IMAGE_SIZE = 84  # px, unless another is asked for
SIZES = (16, 512)  # px; four poolings by 2 leave nothing of less


def shown(text: str) -> str:
    """A file name as text that can be printed, equal for equal names on every file system."""
    return unicodedata.normalize("NFC", os.fsencode(text).decode("utf-8", "backslashreplace"))


def list_classes(root: Path) -> dict[str, list[Path]]:
    """Class id (the folder's path below ``root``) to its images, both sorted.

    Hidden files and folders and what is no image are passed over; links are followed once.

    Raises:
        DataError: no folder, images beside the class folders, or two folders of one name.
    """
    if not root.is_dir():
        what = "is a file; unpack it first" if root.exists() else "does not exist"
        raise DataError(f"no folder {root}: it {what}; expected {wanted}")
    found: dict[str, list[Path]] = {}
    seen: set[str] = set()
    for parent, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        images = sorted(f for f in files if f.lower().endswith(SUFFIXES) and not f.startswith("."))
        if not images:
            continue
        class_id = shown(Path(parent).relative_to(root).as_posix())
        if class_id == ".":
            raise DataError(
                f"{root} has {len(images)} images outside any class folder (first: "
                f"{shown(images[0])}); expected {wanted}"
            )
        if class_id in found:
            raise DataError(f"{root} has two folders that read {class_id!r}; rename one of them")
        found[class_id] = [Path(parent, image) for image in images]
    if not found:
        raise DataError(
            f"{root} holds no folder with images ({', '.join(SUFFIXES)}); expected {wanted}"
        )
    return found


def _refuse(error: OSError) -> None:
    raise DataError(
        f"the folder {error.filename} cannot be read ({error.strerror}); allow reading it, or "
        "move it away"
    ) from error


def read_image(path: Path, size: int) -> Pixels:
    """One image file as uint8 ``[size, size, 3]``.

    Raises:
        DataError: unreadable or too large; the file is named.
    """
    called = shown(str(path))
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise DataError(f"{called} has more than {MAX_IMAGE_BYTES:,} bytes; shrink it")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{called} cannot be read ({error.strerror}); replace it") from error
    return decode(content, called, size)


def image_size(selection: Selection, default: int) -> int:
    """The size asked for, px.

    Raises:
        UsageError: too small for the network or absurdly large.
    """
    size = selection.image_size or default
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"--image-size is {SIZES[0]} to {SIZES[1]} pixels, not {size}")
    return size


def prepare(root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
    """The pack of a folder, by the split asked for; see :mod:`repro.data.splitting`.

    Raises:
        DataError: what is wrong, before anything is decoded where that can be known.
    """
    assert root is not None
    size = image_size(selection, IMAGE_SIZE)
    found = list_classes(root)
    split_ids = assign({class_id: len(paths) for class_id, paths in found.items()}, selection)
    tick = Counter(sum(len(found[c]) for ids in split_ids.values() for c in ids), progress)

    def plan(ids: tuple[str, ...]) -> SplitPlan:
        paths = [path for class_id in ids for path in found[class_id]]

        def fill(array: Pixels) -> None:
            fill_by_threads(array, paths, partial(read_image, size=size), tick)

        return SplitPlan(ids, tuple(len(found[class_id]) for class_id in ids), fill)

    plans = {split: plan(ids) for split, ids in split_ids.items()}
    return build_pack(name, size, plans, shown(str(root.resolve())))
