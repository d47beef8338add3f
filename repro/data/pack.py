"""The images of one split, and the memory-mapped pack that stores them.

A pack is a folder ``<cache>/packs/<dataset>-<digest12>/`` with one ``<split>.npy`` (uint8
``[n_image, height, width, 3]``, class-major) per split and ``pack.json``. It is built under a
temporary name and takes its own only when whole.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from repro.system import storage
from repro.system.errors import DataError, RecordError, StorageError

SPLITS = ("train", "val", "test")
SCHEMA = 1
VERIFIED = "verified.json"
MAX_NPY_HEADER = 4096  # bytes before the pixels
_PART = 1024  # images read at once
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSplit:
    """One split of a pack.

    Attributes:
        images: uint8 ``[n_image, height, width, 3]``, memory-mapped, class-major.
        class_ids: names of the classes; the position is the class index.
        class_rows: (first row, number of images) of each class.
        digest: SHA-256 of the whole pack's content, all splits.
    """

    dataset: str
    split: str
    images: Pixels
    class_ids: tuple[str, ...]
    class_rows: tuple[tuple[int, int], ...]
    digest: str

    @property
    def image_size(self) -> int:
        """Height and width, px."""
        return int(self.images.shape[1])


def cache_folder() -> Path:
    """``REPRO_CACHE``, by default the platform's user cache."""
    chosen = os.environ.get("REPRO_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("repro"))


def content_digest(dataset: str, splits: Mapping[str, Any]) -> str:
    kept = {
        name: {key: item[key] for key in ("class_ids", "counts", "shape", "sha256")}
        for name, item in splits.items()
    }
    return storage.digest({"dataset": dataset, "splits": kept})


def release(images: Pixels) -> None:
    """Give back the memory in which a mapped array's pages are held; the file keeps them.

    Pages count as memory of the process from when they are touched, which for a whole pack is its
    size. Of an array that is not mapped, or where the system knows no such thing, nothing happens.
    """
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def pixel_digest(images: Pixels) -> str:
    """SHA-256 of the pixels, a part at a time."""
    found = hashlib.sha256()
    for first in range(0, len(images), _PART):
        found.update(np.ascontiguousarray(images[first : first + _PART]).data)
        release(images)
    return found.hexdigest()


def _header(pack: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = storage.read_json(pack / "pack.json")
        if header["schema"] != SCHEMA or sorted(header["splits"]) != sorted(SPLITS):
            raise ValueError("schema")
        if content_digest(header["dataset"], header["splits"]) != header["digest"]:
            raise ValueError("digest")
        return header
    except (RecordError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the pack {pack} is damaged (pack.json: {error}); delete the folder and run again"
        ) from error


def open_pack(pack: Path, split: str) -> ImageSplit:
    """Open one split; its pixels are read only when the file is not the one checked last.

    Size, times and inode of the file are remembered beside it when its digest has been checked.

    Raises:
        DataError: the pack is damaged; the file is named.
    """
    opened = _opened(pack, split)
    sha256 = _header(pack)["splits"][split]["sha256"]
    now = stamp(pack, split)
    if _verified(pack).get(split) != now:
        if _digest_of(pack / f"{split}.npy", tuple(now), opened.images.shape) != sha256:
            raise _changed(pack, split)
        _remember(pack, {split: now})
    return opened


def stamp(pack: Path, split: str) -> list[int]:
    """What tells cheaply that a split's file is another or was written to."""
    found = (pack / f"{split}.npy").stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _verified(pack: Path) -> dict[str, Any]:
    try:
        return dict(storage.read_json(pack / VERIFIED))
    except (RecordError, TypeError, ValueError):
        return {}


def _remember(pack: Path, stamps: Mapping[str, list[int]]) -> None:
    with contextlib.suppress(StorageError):  # a shared cache may be read-only
        storage.write_json(pack / VERIFIED, {**_verified(pack), **stamps})


@functools.lru_cache
def _digest_of(path: Path, _stamp: tuple[int, ...], shape: tuple[int, ...]) -> str:
    offset = path.stat().st_size - math.prod(shape)
    return pixel_digest(np.memmap(path, np.uint8, "r", offset, shape))


def _changed(pack: Path, split: str) -> DataError:
    return DataError(
        f"the pixels of {pack / split}.npy changed since they were packed; delete {pack} and run "
        "again"
    )


def _opened(pack: Path, split: str) -> ImageSplit:
    header = _header(pack)
    item, path = header["splits"][split], pack / f"{split}.npy"
    try:
        if path.stat().st_size != item["bytes"]:
            raise ValueError(f"{path.stat().st_size} bytes, expected {item['bytes']}")
        # Type and shape are in pack.json under a digest: the file's own header is not parsed.
        offset = item["bytes"] - math.prod(item["shape"])
        if not 0 < offset < MAX_NPY_HEADER:
            raise ValueError(f"{item['bytes']} bytes for {item['shape']}")
        images = np.memmap(path, np.uint8, "r", offset, tuple(item["shape"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise DataError(
            f"the pack file {path} is damaged ({error}); delete {pack} and run again"
        ) from error
    firsts = np.cumsum([0, *item["counts"]])[:-1].tolist()
    return ImageSplit(
        dataset=header["dataset"],
        split=split,
        images=images,
        class_ids=tuple(item["class_ids"]),
        class_rows=tuple(zip(firsts, item["counts"], strict=True)),
        digest=header["digest"],
    )


def check_pack(pack: Path) -> Path:
    """The pack, when all of its splits open (see :func:`open_pack`).

    Raises:
        DataError: one is missing, damaged or changed.
    """
    for split in SPLITS:
        open_pack(pack, split)
    return pack


def notes_of(pack: Path) -> list[str]:
    """What was noted when the pack was built: its split, files passed over and so on."""
    return [str(note) for note in _header(pack).get("notes", ())]


def packs_of(dataset: str) -> list[Path]:
    """The folders of the packs of a data set in the cache, sorted."""
    # Twelve digits: the packs of folder are not those of folder-two.
    pattern = f"packs/{dataset}-{'[0-9a-f]' * 12}/pack.json"
    return sorted(path.parent for path in cache_folder().glob(pattern))


def summary(pack: Path) -> str:
    """A pack in a few words: its name, classes and images per split, size."""
    try:
        splits = _header(pack)["splits"]
        told = [f"{len(splits[split]['class_ids'])} {split}" for split in SPLITS]
        images = sum(sum(splits[split]["counts"]) for split in SPLITS)
        size = splits["test"]["shape"][1]
    except (DataError, KeyError, TypeError, IndexError):
        return f"{pack.name} (damaged; delete it)"
    return f"{pack.name} ({', '.join(told)} classes, {images:,} images of {size} px)"


def verify_pack(pack: Path) -> None:
    """Read all pixels again and compare their digests.

    Raises:
        DataError: a split's pixels are not those that were packed.
    """
    header = _header(pack)
    for split in SPLITS:
        images, now = _opened(pack, split).images, stamp(pack, split)
        if pixel_digest(images) != header["splits"][split]["sha256"]:
            raise _changed(pack, split)
        _remember(pack, {split: now})
