"""The driver's state of a training or cell on a Ray cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from repro import records
from repro.engines.episode_ranges import Divided
from repro.engines.jobs import Unit
from repro.system.progress import Phase


@dataclass
class Task:
    """A training or a cell and how far it is.

    Attributes:
        kinds: evaluations still to be divided. n_open: parts that are not back.
        deaths: of its workers in a row, with no file come back in between.
        attempt: counts the jobs handed out for it.
    """

    unit: Unit
    folder: Path
    lock: FileLock | None = None
    kinds: list[Phase] = field(default_factory=list)
    divided: Divided | None = None
    n_open: int = 0
    deaths: int = 0
    attempt: int = 0
    told_to_wait: bool = False
    ended: bool = False

    def release(self) -> None:
        """Let go of the folder's lock."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None


def folder_of(unit: Unit, runs: Path) -> Path:
    """Where a training or a cell writes."""
    needed = unit.config.training()
    if unit.kind == "training" and needed is not None:
        return records.training_folder(runs, needed)
    return records.cell_folder(runs, unit.config)
