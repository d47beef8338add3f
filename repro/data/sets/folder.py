"""Any folder of class folders: every folder that holds images is a class of that name."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from repro.data.dataset import ImageProgress, Selection
from repro.data.files.decoding import (
    FORMATS,
    HEAD_BYTES,
    NO_PICTURES,
    SUFFIXES,
    Counter,
    DeepImage,
    Scale,
    decode,
    deep_top,
    fill_by_threads,
    first_few,
    format_of,
    refused_format,
)
from repro.data.files.sources import MAX_IMAGE_BYTES
from repro.data.pack import Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.data.repeats import Repeats
from repro.data.splitting import Assigned, assign
from repro.system.errors import DataError, UsageError
from repro.system.regular import open_file, read_file

name = "folder"
wanted = "a folder with one folder of images per class (nested ones are classes of their own)"
accepts = ("split", "split_seed", "split_file", "image_size")
IMAGE_SIZE = 84  # px, unless another is asked for
INTEGER_TOPS = (1, 255, 4095, 65_535)  # of masks, 8, 12 and 16 bits
REAL_TOPS = (1, 255)
SIZES = (16, 512)  # px; four poolings by 2 leave nothing of less


def shown(text: str) -> str:
    """A file name as text that can be printed, equal for equal names on every file system."""
    return unicodedata.normalize("NFC", os.fsencode(text).decode("utf-8", "backslashreplace"))


@dataclass
class Listing:
    """What is in a folder: class id (the path below the root) to its images, both sorted.

    Attributes:
        passed: ending to the files that are no images.
        empty: folders with files of which none is an image.
    """

    classes: dict[str, list[Path]] = field(default_factory=dict)
    passed: dict[str, list[str]] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What was passed over, in sentences."""
        told = []
        if self.passed:
            n_file = sum(map(len, self.passed.values()))
            endings = sorted(self.passed.items(), key=lambda item: -len(item[1]))
            counts = [
                f"{len(files):,} {ending or 'without an ending'}" for ending, files in endings
            ]
            first = endings[0][1][0]
            told.append(
                f"{n_file:,} files are not images by their content and are skipped "
                f"({', '.join(first_few(counts))}; first {first})"
            )
        if self.empty:
            told.append(
                f"{len(self.empty):,} folders hold files but no image and do not become classes "
                f"({', '.join(first_few(self.empty))})"
            )
        return told


def list_classes(root: Path) -> Listing:
    """The class folders below ``root`` and their images: by known endings, else by content.

    Hidden files and folders are passed over; links are followed, but not back to a folder around
    them.

    Raises:
        DataError: no folder, images beside the class folders, two folders of one name, one folder
            by two names, or an image in a format that is not read.
    """
    if not root.is_dir():
        what = "is a file; unpack it first" if root.exists() else "does not exist"
        raise DataError(f"no folder {root}: it {what}; expected {wanted}")
    found = Listing()
    seen: dict[str, Path] = {}
    for parent, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = sorted(f for f in folders if not f.startswith((".", "__MACOSX")))
        first = seen.setdefault(real, Path(parent))
        if first != Path(parent):
            if not Path(parent).is_relative_to(first):
                raise DataError(
                    f"{shown(str(first))} and {shown(parent)} are the same folder, by a link; "
                    f"keep one of them below {root}"
                )
            folders.clear()
            continue
        class_id = shown(Path(parent).relative_to(root).as_posix())
        files = sorted(f for f in files if not f.startswith("."))
        images = [f for f in files if _is_image(Path(parent, f), found.passed, class_id)]
        if not images:
            if files and class_id != ".":
                found.empty.append(class_id)
            continue
        if class_id == ".":
            raise DataError(
                f"{root} has {len(images)} images outside any class folder (first: "
                f"{shown(images[0])}); expected {wanted}"
            )
        if class_id in found.classes:
            raise DataError(f"{root} has two folders that read {class_id!r}; rename one of them")
        found.classes[class_id] = [Path(parent, image) for image in images]
    if not found.classes:
        passed = "".join(f"; {note}" for note in found.notes())
        raise DataError(
            f"{root} holds no folder with images ({', '.join(FORMATS)}){passed}; expected {wanted}"
        )
    return found


def _is_image(path: Path, passed: dict[str, list[str]], class_id: str) -> bool:
    """Whether a file is an image; one that is not is added to ``passed``.

    Raises:
        DataError: it is one in a format that is not read.
    """
    ending = path.suffix.lower()
    if ending in SUFFIXES:
        return True
    try:
        with open_file(path) as file:
            kind = format_of(file.read(HEAD_BYTES))
    except OSError:
        kind = ""  # a pipe, a socket, a link to nowhere
    if kind in FORMATS:
        return True
    if kind and kind not in NO_PICTURES:
        raise refused_format(shown(str(path)), kind)
    passed.setdefault(shown(ending), []).append(shown(f"{class_id}/{path.name}"))
    return False


def _refuse(error: OSError) -> None:
    raise DataError(
        f"the folder {error.filename} cannot be read ({error.strerror}); allow reading it, or "
        "move it away"
    ) from error


def _content(path: Path) -> tuple[bytes, str]:
    called = shown(str(path))
    try:
        return read_file(path, MAX_IMAGE_BYTES), called
    except OSError as error:
        raise DataError(f"{called} cannot be read ({error.strerror}); replace it") from error


def read_image(path: Path, size: int, scale: Scale | None = None) -> Pixels:
    """One image file as uint8 ``[size, size, 3]``.

    Raises:
        DataError: unreadable, too large or no ordinary file; the file is named.
    """
    return decode(*_content(path), size, scale)


def survey(paths: Sequence[Path]) -> tuple[Scale, list[str]]:
    """What the grey values of more than eight bits in all images are, and that in sentences.

    The range is one for the whole folder, the smallest usual one that holds all values: scaled
    one by one, a dark image would become a bright one.

    Raises:
        DataError: an image holds negative values, others than numbers, or more than 16 bits.
    """
    tops: dict[str, list[float]] = {"whole": [], "real": []}
    with ThreadPoolExecutor(2) as pool:
        for path, deep in zip(
            paths, pool.map(lambda p: deep_top(*_content(p)), paths), strict=True
        ):
            if deep is None:
                continue
            mode, low, high = deep
            if not 0 <= low <= high <= INTEGER_TOPS[-1] or (mode == "F" and high > REAL_TOPS[-1]):
                raise DataError(
                    f"{shown(str(path))} holds values from {low:g} to {high:g}; accepted are "
                    "integers from 0 to 65,535 and real numbers from 0 to 255: save it with eight "
                    "bits"
                )
            tops["real" if mode == "F" else "whole"].append(high)
    chosen: dict[str, int | None] = {}
    told = []
    for kind, usual in (("whole", INTEGER_TOPS), ("real", REAL_TOPS)):
        found = tops[kind]
        chosen[kind] = next(top for top in usual if top >= max(found)) if found else None
        if found:
            told.append(
                f"{len(found):,} images have {kind} numbers of up to {max(found):g} as grey "
                f"values: 0 to {chosen[kind]:,} are taken as black to white"
            )
    return Scale(chosen["whole"], chosen["real"]), told


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
    counts = {class_id: len(paths) for class_id, paths in found.classes.items()}
    split_ids, said = assign(counts, selection)
    notes = [said, *found.notes()]
    try:
        return _packed(root, found, split_ids, size, None, notes, progress)
    except DeepImage:
        paths = [path for ids in split_ids.values() for c in ids for path in found.classes[c]]
        scale, told = survey(paths)
        return _packed(root, found, split_ids, size, scale, [*notes, *told], progress)


def _packed(
    root: Path, found: Listing, split_ids: Assigned, size: int, scale: Scale | None,
    notes: list[str], progress: ImageProgress,
) -> Path:  # fmt: skip
    used = sum(len(found.classes[c]) for ids in split_ids.values() for c in ids)
    tick, seen = Counter(used, progress), Repeats()

    def plan(split: str, ids: tuple[str, ...]) -> SplitPlan:
        items = [(class_id, path) for class_id in ids for path in found.classes[class_id]]

        def read(item: tuple[str, Path]) -> Pixels:
            class_id, path = item
            pixels = read_image(path, size, scale)
            seen.add(split, class_id, shown(path.name), pixels)
            return pixels

        def fill(array: Pixels) -> None:
            fill_by_threads(array, items, read, tick)

        return SplitPlan(ids, tuple(len(found.classes[class_id]) for class_id in ids), fill)

    plans = {split: plan(split, ids) for split, ids in split_ids.items()}
    return build_pack(
        name, size, plans, shown(str(root.resolve())), lambda: [*notes, *seen.notes()]
    )
