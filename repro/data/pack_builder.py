"""Builds the memory-mapped pack of a data set."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from repro.data.pack import (
    SCHEMA,
    VERIFIED,
    Pixels,
    cache_folder,
    check_pack,
    content_digest,
    pixel_digest,
    stamp,
)
from repro.system import storage
from repro.system.errors import DataError, StorageError

_NO_FALLOCATE = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass(frozen=True)
class SplitPlan:
    """What a split will hold: classes, images per class, and a function that fills the array."""

    class_ids: tuple[str, ...]
    counts: tuple[int, ...]
    fill: Callable[[Pixels], None]


@contextlib.contextmanager
def building(packs: Path, name: str) -> Iterator[Path]:
    """A new folder in ``packs`` for a pack that is being written; it is gone afterwards.

    What killed writers left is removed first: a living one holds the lock beside its folder.
    """
    for left in [path for path in packs.glob(".*") if path.is_dir()]:
        lock = FileLock(left.with_name(f"{left.name}.lock"))
        with contextlib.suppress(OSError, Timeout), lock.acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)
            os.unlink(lock.lock_file)
    folder = packs / f".{name}.{secrets.token_hex(6)}"
    with FileLock(folder.with_name(f"{folder.name}.lock")) as lock:
        try:
            folder.mkdir()  # with the rights that the umask gives: a cache may be shared
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(lock.lock_file)


def _reserve(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.uint8]]:
    """A mapped file of zeros whose space on disk is taken: writing to it cannot fail later.

    Raises:
        OSError: there is not enough space.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        offset = file.tell()
        file.flush()
        try:
            os.posix_fallocate(file.fileno(), 0, offset + math.prod(shape))
        except (AttributeError, OSError) as error:  # not on every system and file system
            if getattr(error, "errno", errno.ENOSYS) not in _NO_FALLOCATE:
                raise
            for first in range(0, math.prod(shape), 2**24):
                file.write(bytes(min(2**24, math.prod(shape) - first)))
    return np.memmap(path, np.uint8, "r+", offset, shape)


def build_pack(
    dataset: str,
    image_size: int,
    plans: Mapping[str, SplitPlan],
    source: str,
    notes: Callable[[], Sequence[str]] = tuple,
) -> Path:
    """Build a pack, or find the one with the same content; nothing is left behind on failure.

    Args:
        image_size: height and width, px.
        plans: one for each of ``train``, ``val`` and ``test``.
        notes: asked when all is filled: what a user should know of the images, in sentences.
    Raises:
        StorageError: the cache cannot be written; and whatever a plan's ``fill`` raises.
    """
    packs = cache_folder() / "packs"
    shapes = {s: (sum(plan.counts), image_size, image_size, 3) for s, plan in plans.items()}
    try:
        packs.mkdir(parents=True, exist_ok=True)
        with building(packs, dataset) as temporary:
            arrays = {s: _reserve(temporary / f"{s}.npy", shape) for s, shape in shapes.items()}
            splits: dict[str, Any] = {}
            for split, plan in plans.items():
                plan.fill(arrays[split])
                arrays[split].flush()
                splits[split] = {
                    "class_ids": list(plan.class_ids),
                    "counts": list(plan.counts),
                    "shape": list(shapes[split]),
                    "sha256": pixel_digest(arrays[split]),
                    "bytes": (temporary / f"{split}.npy").stat().st_size,
                }
            digest = content_digest(dataset, splits)
            header = {"schema": SCHEMA, "dataset": dataset, "digest": digest, "source": source}
            header |= {"notes": list(notes()), "splits": splits}
            storage.write_json(temporary / "pack.json", header)
            storage.write_json(temporary / VERIFIED, {s: stamp(temporary, s) for s in splits})
            return _settled(temporary, packs / f"{dataset}-{digest[:12]}", header)
    except OSError as error:
        needed = sum(math.prod(shape) for shape in shapes.values())
        raise StorageError(
            f"cannot build the {dataset} pack in {packs}, which takes {needed / 1e6:,.0f} MB: "
            f"{error.strerror or error}; free some space or point REPRO_CACHE to a writable folder"
        ) from error


def _settled(temporary: Path, final: Path, header: Mapping[str, Any]) -> Path:
    """Give a whole pack its name, unless a sound one has it; a damaged one makes way."""
    if final.exists():
        try:
            check_pack(final)
        except DataError:
            shutil.rmtree(final)
        else:
            with contextlib.suppress(StorageError):  # a shared cache may be read-only
                storage.write_json(final / "pack.json", header)
            return final
    try:
        temporary.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process was first
            raise
    return final
