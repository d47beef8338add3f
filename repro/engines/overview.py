"""The state of all cells: how many run, wait, are done or failed, and the time left."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from repro.system.progress import Reporter, Tally

INTERVAL_S = 0.5


@dataclass
class _Entry:
    """A task; ``seen`` and ``first``: the share that is done now, and when first heard of."""

    weight: float
    is_cell: bool
    needs: str | None
    state: str = "waiting"
    seen: float = 0.0
    first: float | None = None


class Board:
    """Counts cells and tells a reporter; trainings count for the time left only.

    The time left takes the speed so far to be that of the rest; weights make tasks of different
    size comparable.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._entries: dict[str, _Entry] = {}
        self._began, self._told = time.monotonic(), float("-inf")

    def add(self, name: str, weight: float, is_cell: bool, needs: str | None = None) -> None:
        """A task that waits; ``needs`` is the training whose running makes the cell run."""
        self._entries[name] = _Entry(max(weight, 1e-9), is_cell, needs)

    def set(self, name: str, state: str) -> None:
        """``waiting``, ``running``, ``done`` or ``failed``."""
        entry = self._entries[name]
        entry.state = state
        if state == "done":
            entry.first, entry.seen = entry.first or 0.0, 1.0
        elif state == "failed":
            entry.weight = 0.0  # neither work that was done nor work that is left
        self.tell()

    def progress(self, name: str, share: float) -> None:
        """How much of a task is done, 0 to 1."""
        entry = self._entries[name]
        if entry.first is None:  # what an earlier run did; a task of one step was done now
            entry.first = share if share < 1 else 0.0
        entry.seen = max(entry.seen, share)
        self.tell()

    def tally(self) -> Tally:
        """The counts now."""
        counts = dict.fromkeys(("running", "waiting", "done", "failed"), 0)
        for entry in self._cells():
            needed = self._entries.get(entry.needs or "")
            begun = entry.state == "waiting" and needed is not None and needed.state == "running"
            counts["running" if begun else entry.state] += 1
        worked = sum(e.weight * (e.seen - (e.first or 0.0)) for e in self._entries.values())
        left = sum(e.weight * (1 - e.seen) for e in self._entries.values())
        elapsed = time.monotonic() - self._began
        return Tally(**counts, left_s=left * elapsed / worked if worked > 0 else None)

    def tell(self, now: bool = False) -> None:
        """Show the counts when it is due."""
        due = now or time.monotonic() - self._told >= INTERVAL_S
        if due and any(True for _ in self._cells()):  # nobody counts trainings alone
            self._told = time.monotonic()
            self._reporter.tally(self.tally())

    def _cells(self) -> Iterable[_Entry]:
        return (entry for entry in self._entries.values() if entry.is_cell)
