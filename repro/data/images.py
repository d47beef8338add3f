"""The images of one split, and the memory-mapped pack they live in.

A pack is a folder ``<cache>/packs/<dataset>-<digest12>/`` with one ``<split>.npy`` (uint8
``[n_image, height, width, 3]``, class-major) per split and ``pack.json``. It is built under a
temporary name and takes its own only when whole.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import platformdirs

from repro import storage
from repro.errors import DataError, RecordError, StorageError

SPLITS = ("train", "val", "test")
SCHEMA = 1
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


@dataclass(frozen=True)
class SplitPlan:
    """What a split will hold: classes, images per class, and a function that fills the array."""

    class_ids: tuple[str, ...]
    counts: tuple[int, ...]
    fill: Callable[[Pixels], None]


def cache_folder() -> Path:
    """``REPRO_CACHE``, by default the platform's user cache."""
    chosen = os.environ.get("REPRO_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("repro"))


def _content_digest(dataset: str, splits: Mapping[str, Any]) -> str:
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


def _digest(images: Pixels) -> str:
    """SHA-256 of the pixels, a part at a time."""
    found = hashlib.sha256()
    for first in range(0, len(images), _PART):
        found.update(np.ascontiguousarray(images[first : first + _PART]).data)
        release(images)
    return found.hexdigest()


def build_pack(dataset: str, image_size: int, plans: Mapping[str, SplitPlan], source: str) -> Path:
    """Build a pack, or find the one with the same content; nothing is left behind on failure.

    Args:
        image_size: height and width, px.
        plans: one for each of ``train``, ``val`` and ``test``.
    Raises:
        StorageError: the cache cannot be written; and whatever a plan's ``fill`` raises.
    """
    packs = cache_folder() / "packs"
    temporary: Path | None = None
    try:
        packs.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=packs, prefix=f".{dataset}."))
        splits: dict[str, Any] = {}
        for split, plan in plans.items():
            shape = (sum(plan.counts), image_size, image_size, 3)
            path = temporary / f"{split}.npy"
            array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
            plan.fill(array)
            array.flush()
            splits[split] = {
                "class_ids": list(plan.class_ids),
                "counts": list(plan.counts),
                "shape": list(shape),
                "sha256": _digest(array),
                "bytes": path.stat().st_size,
            }
        digest = _content_digest(dataset, splits)
        header = {"schema": SCHEMA, "dataset": dataset, "digest": digest, "source": source}
        storage.write_json(temporary / "pack.json", {**header, "splits": splits})
        final = packs / f"{dataset}-{digest[:12]}"
        if not final.exists():
            temporary.rename(final)
        return final
    except OSError as error:
        raise StorageError(
            f"cannot build the {dataset} pack in {packs}: {error.strerror or error}; free some "
            "space or point REPRO_CACHE to a writable folder"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _header(pack: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = storage.read_json(pack / "pack.json")
        if header["schema"] != SCHEMA or sorted(header["splits"]) != sorted(SPLITS):
            raise ValueError("schema")
        if _content_digest(header["dataset"], header["splits"]) != header["digest"]:
            raise ValueError("digest")
        return header
    except (RecordError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the pack {pack} is damaged (pack.json: {error}); delete the folder and run again"
        ) from error


def open_pack(pack: Path, split: str) -> ImageSplit:
    """Open one split without reading its pixels.

    Raises:
        DataError: the pack is damaged; the file is named.
    """
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
        images = open_pack(pack, split).images
        if _digest(images) != header["splits"][split]["sha256"]:
            raise DataError(
                f"the pixels of {pack / split}.npy changed since they were packed; delete {pack} "
                "and run again"
            )
