"""Data sets: files on disk to a memory-mapped pack of uint8 images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from repro import storage
from repro.data import glyphs, mini_imagenet
from repro.data.images import SPLITS, ImageSplit, cache_folder, open_pack
from repro.errors import DataError, RecordError, unknown

DATASETS = ("glyphs", "mini-imagenet")
ImageProgress = Callable[[int, int], None]


def _ignore(done: int, total: int) -> None:
    pass


def _fingerprint(root: Path) -> str:
    """Cheap and enough to notice a changed copy: names, sizes and times of zips and classes."""
    lines = []
    for path in sorted(root.iterdir()) if root.is_dir() else [root] * root.exists():
        inner = sorted(path.iterdir()) if path.is_dir() else []
        for item in (path, *inner):
            stat = item.stat()
            lines.append(f"{item.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def prepare(name: str, root: Path | None, progress: ImageProgress = _ignore) -> Path:
    """The pack of a data set, built when it is not there yet.

    Raises:
        UsageError: an unknown name. DataError: the copy is missing or not the right one.
    """
    if name not in DATASETS:
        raise unknown("dataset", name, DATASETS)
    if name == "glyphs":
        return glyphs.prepare(progress)
    if root is None:
        packs = (cache_folder() / "packs").glob("mini-imagenet-*/pack.json")
        newest = max(packs, key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise DataError(
                "mini-imagenet has not been prepared yet: give its folder with --data PATH "
                f"(DATA=PATH for make); accepted are {mini_imagenet.LAYOUTS}"
            )
        return newest.parent
    key = hashlib.sha256(f"{name} {root.resolve()}".encode()).hexdigest()[:16]
    known, fingerprint = cache_folder() / "sources" / f"{key}.json", _fingerprint(root)
    try:
        entry = storage.read_json(known)
        pack = cache_folder() / "packs" / str(entry["pack"])
        if entry["fingerprint"] == fingerprint and (pack / "pack.json").exists():
            return pack
    except (RecordError, KeyError, TypeError):
        pass  # no usable entry: look at the copy itself
    pack = mini_imagenet.prepare(root, progress)
    storage.write_json(known, {"fingerprint": fingerprint, "pack": pack.name})
    return pack


def load_split(name: str, root: Path | None, split: str) -> ImageSplit:
    """One split of a data set, prepared when needed."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return open_pack(prepare(name, root), split)
