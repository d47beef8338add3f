"""tieredImageNet from the public pickles of Ren et al. 2018 (arXiv 1803.00676).

Per split, ``<split>_images_png.pkl`` is a list of PNG files as bytes or uint8 arrays, and
``<split>_labels.pkl`` names the class of each. They are read whole, one split at a time: the
training images take about as much memory as their file has bytes.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from repro.data.dataset import ImageProgress, Selection
from repro.data.files import safe_pickle
from repro.data.files.archives import bounded_members
from repro.data.files.decoding import Counter, decode, fill_by_threads
from repro.data.pack import SPLITS, Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.system.errors import DataError
from repro.system.regular import open_file

name = "tiered-imagenet"
accepts = ()
IMAGE_SIZE = 84  # px
# Classes and images per split.
SIZES = {"train": (351, 448_695), "val": (97, 124_261), "test": (160, 206_209)}
wanted = "the folder (or tar) with {train,val,test}_images_png.pkl and {train,val,test}_labels.pkl"


@dataclass(frozen=True)
class _Labels:
    """The classes of a split, sorted by name, and the file's images in the pack's order."""

    class_ids: tuple[str, ...]
    counts: tuple[int, ...]
    order: tuple[int, ...]


@contextlib.contextmanager
def _opened(root: Path, called: str) -> Iterator[BinaryIO]:
    """One of the six files, from a folder or a tar."""
    try:
        if root.is_file():
            with tarfile.open(root, tarinfo=bounded_members()) as archive:
                found = [m for m in archive if PurePosixPath(m.name).name == called and m.isfile()]
                stream = archive.extractfile(found[0]) if found else None
                if stream is None:
                    raise DataError(f"{root} has no {called}; expected {wanted}")
                yield cast("BinaryIO", stream)
            return
        for place in (root, root / "tiered-imagenet"):
            if (place / called).is_file():
                with open_file(place / called) as file:
                    yield file
                return
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{root}: {called} cannot be read ({error}); get it again") from error
    split = called.split("_")[0]
    if list(root.glob(f"**/{split}_images.npz")):
        raise DataError(
            f"{root} has {split}_images.npz, whose order of colours is not published; expected "
            f"{wanted}"
        )
    raise DataError(f"no {called} at {root}; expected {wanted}")


def _labels(root: Path, split: str) -> _Labels:
    called = f"{split}_labels.pkl"
    with _opened(root, called) as stream:
        content = safe_pickle.load(stream, f"{root}: {called}")
    try:
        names = safe_pickle.texts(content["label_specific_str"], "label_specific_str")
        labels = safe_pickle.labels(content["label_specific"], len(names), "label_specific")
        if len(set(names)) != len(names):
            raise ValueError("two classes of one name")
        counts = np.bincount(labels, minlength=len(names))
        n_class, n_image = SIZES[split]
        if (len(names), len(labels)) != (n_class, n_image) or len(counts) != n_class:
            raise ValueError(
                f"{len(names)} classes and {len(labels):,} images instead of {n_class} and "
                f"{n_image:,}"
            )
        by_name = sorted(range(n_class), key=lambda i: names[i])
        rows = [np.flatnonzero(labels == i) for i in by_name]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(
            f"{root}: {called} is not the labels of tieredImageNet ({error}); get it again"
        ) from error
    return _Labels(
        tuple(names[i] for i in by_name),
        tuple(int(counts[i]) for i in by_name),
        tuple(np.concatenate(rows).tolist()),
    )


def _content(images: list[Any], index: int, called: str) -> Pixels:
    item = images[index]
    if isinstance(item, np.ndarray) and item.dtype == np.uint8:
        raw = item.tobytes()
    elif isinstance(item, bytes):
        raw = item
    else:
        raise DataError(f"{called}: image {index} is no PNG but {type(item).__name__}")
    return decode(raw, f"{called}: image {index}", IMAGE_SIZE)


def prepare(root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
    """The pack (16 GB).

    Raises:
        DataError: files are missing, damaged or of other counts.
    """
    assert root is not None
    labels = {split: _labels(root, split) for split in SPLITS}
    tick = Counter(sum(len(found.order) for found in labels.values()), progress)

    def plan(split: str) -> SplitPlan:
        def fill(array: Pixels) -> None:
            called = f"{split}_images_png.pkl"
            with _opened(root, called) as stream:
                # As bytes: text in Latin-1 would be copied once more.
                images = safe_pickle.load(stream, f"{root}: {called}", encoding="bytes")
            if not isinstance(images, list) or len(images) != len(array):
                raise DataError(
                    f"{root}: {called} is not a list of {len(array):,} images; get it again"
                )
            read = partial(_content, images, called=f"{root}: {called}")
            fill_by_threads(array, labels[split].order, read, tick)

        return SplitPlan(labels[split].class_ids, labels[split].counts, fill)

    return build_pack(name, IMAGE_SIZE, {s: plan(s) for s in SPLITS}, str(root.resolve()))
