"""What was prepared from where: small files in the cache, one for each place and choice."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.data.dataset import Selection
from repro.data.pack import cache_folder
from repro.system import storage
from repro.system.errors import RecordError, StorageError


@dataclass(frozen=True)
class PackSource:
    """Where a pack comes from.

    Attributes:
        root: the folder or archive, as text.
        chosen: the selection with a split file by its content.
        fingerprint: of names, sizes and times of all files when they were read.
    """

    dataset: str
    root: str
    selection: Selection
    chosen: dict[str, str]
    pack: str
    fingerprint: str


def shown_path(root: Path) -> str:
    """A place as text that JSON can hold, whatever its bytes."""
    return str(root.resolve()).encode(errors="surrogateescape").decode(errors="backslashreplace")


def source_file(name: str, root: Path, chosen: dict[str, str]) -> Path:
    """Where it is written what a place gives with some choices."""
    told = f"{name} {root.resolve()}" + "".join(f" {k}={v}" for k, v in sorted(chosen.items()))
    key = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:16]
    return cache_folder() / "sources" / f"{key}.json"


def read_source(path: Path) -> PackSource | None:
    """What was written there; None when nothing usable is: the copy itself is looked at."""
    try:
        entry = storage.read_json(path)
        chosen = {str(key): str(value) for key, value in entry["chosen"].items()}
        kept: dict[str, Any] = dict(entry["selection"])
        if kept.get("split_file") is not None:
            kept["split_file"] = Path(kept["split_file"])
        texts = (str(entry[key]) for key in ("dataset", "root", "pack", "fingerprint"))
        dataset, root, pack, fingerprint = texts
        return PackSource(dataset, root, Selection(**kept), chosen, pack, fingerprint)
    except (RecordError, KeyError, TypeError, ValueError, AttributeError):
        return None


def write_source(path: Path, source: PackSource) -> None:
    """Remember it; a cache that cannot be written only costs time."""
    entry = dataclasses.asdict(source)
    entry["selection"] = source.selection.told()
    with contextlib.suppress(StorageError):
        storage.write_json(path, entry)


def known_sources(name: str) -> list[PackSource]:
    """All of a data set, the one asked for last first."""
    times = {}
    for path in (cache_folder() / "sources").glob("*.json"):
        found = read_source(path)
        if found is not None and found.dataset == name:
            with contextlib.suppress(OSError):
                times[path.stat().st_mtime_ns, path.name] = found
    return [times[key] for key in sorted(times, reverse=True)]
