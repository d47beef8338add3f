"""Files of a run between two machines: what a task needs there, and what changed there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from repro.records import checkpoints, write_order
from repro.run.training import METRICS
from repro.system import names, storage
from repro.system.errors import RecordError
from repro.system.regular import read_file

# What a cell goes on from; the rest of its folder is what it writes.
CELL_FILES = ("record.json", "predictions.npy", "selection.json", "test.partial")


@dataclass(frozen=True)
class Changes:
    """Files by their path below the runs folder."""

    written: dict[str, bytes]
    removed: tuple[str, ...] = ()

    @property
    def n_byte(self) -> int:
        return sum(map(len, self.written.values()))


class Watched:
    """Folders below ``root``, compared with what they were when last looked at."""

    def __init__(self, root: Path, folders: Iterable[Path]) -> None:
        self._root, self._folders = root, tuple(folders)
        self._known = self._look()

    def _look(self) -> dict[str, tuple[int, int, int]]:
        found = {}
        for folder in self._folders:
            for path in folder.glob("[!.]*"):
                stat = path.stat()
                name = path.relative_to(self._root).as_posix()
                found[name] = stat.st_ino, stat.st_mtime_ns, stat.st_size
        return found

    def changes(self, all_of_it: bool = False) -> Changes | None:
        """What changed since the last call; None for nothing.

        A curve that grew is told with the next checkpoint, or with ``all_of_it``.
        """
        now = self._look()
        changed = {name for name, state in now.items() if self._known.get(name) != state}
        removed = tuple(sorted(self._known.keys() - now.keys()))
        if not all_of_it and not removed and all(name.endswith(METRICS) for name in changed):
            return None
        self._known = now
        if not changed and not removed:
            return None
        return Changes({name: read_file(self._root / name) for name in changed}, removed)


def apply(root: Path, changes: Changes) -> None:
    """Write and remove files below ``root``, each whole: the one place where they are written.

    What vouches for others comes after them (:func:`repro.records.write_order`).

    Raises:
        RecordError: a path that leaves ``root``. StorageError: the disk refuses.
    """
    for name in (*changes.written, *changes.removed):
        names.below(root, name)
    for name in sorted(changes.written, key=lambda name: (write_order(name), name)):
        storage.write_bytes(root / name, changes.written[name])
    for name in changes.removed:
        (root / name).unlink(missing_ok=True)


def training_files(root: Path, folder: Path) -> dict[str, bytes]:
    """What a training goes on from or is tested with: its curve and its newest checkpoints."""
    names = ["training.json", METRICS]
    for stem in ("checkpoint", "best"):
        names += [path.name for path in _whole(folder, stem)]
    return _read(root, folder, names)


def cell_files(root: Path, folder: Path) -> dict[str, bytes]:
    """What a cell goes on from."""
    return _read(root, folder, CELL_FILES)


def _read(root: Path, folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    paths = (folder / name for name in names)
    return {path.relative_to(root).as_posix(): read_file(path) for path in paths if path.exists()}


def _whole(folder: Path, stem: str) -> list[Path]:
    """Header and tensors of the newest whole checkpoint; all of them where none is whole."""
    headers = sorted(folder.glob(f"{stem}-*.json"), reverse=True)
    for header in headers:
        tensors = header.with_suffix(".safetensors")
        try:
            if storage.file_digest(tensors) == checkpoints.read_header(header).sha256:
                return [header, tensors]
        except (OSError, RecordError):
            continue
    return [path for header in headers for path in (header, header.with_suffix(".safetensors"))]
