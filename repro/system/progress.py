"""Progress that people can watch: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from repro.system.interrupts import StopRequest

LINE_INTERVAL_S = 15.0
MAX_BARS = 12  # the oldest finished ones make room
Phase = Literal["train", "grid", "test"]  # of a cell, for the time left of all


@dataclass(frozen=True)
class Tally:
    """Cells by state; ``left_s`` is an estimate for all of them, None before there is one."""

    running: int
    waiting: int
    done: int
    failed: int
    left_s: float | None = None

    @property
    def total(self) -> int:
        return self.running + self.waiting + self.done + self.failed

    def __str__(self) -> str:
        counts = (
            f"{self.running:,} running, {self.waiting:,} waiting, {self.done:,} done, "
            f"{self.failed:,} failed"
        )
        open_ = self.running + self.waiting
        known = open_ and self.left_s is not None
        left = max(1.0, self.left_s or 0)  # what is open takes time
        return counts + (f", about {_duration(left)} left" if known else "")


class Reporter(Protocol):
    """Receives progress; ``task`` names a bar, ``note`` is what to show beside it."""

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None: ...

    def say(self, message: str) -> None: ...

    def tally(self, tally: Tally) -> None:
        """The state of all cells."""


class ConsoleReporter:
    """Bars in a terminal; without one, a line per task every 15 seconds and at its end.

    Where there are several cells, a first line counts them: running, waiting, done, failed.
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars: dict[str, Any] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._printed: dict[str, float] = {}
        self._cells: Any = None
        self._tallied: tuple[float, int] = (float("-inf"), 0)
        self._live = (
            Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn(
                    "{task.completed:,}/{task.total:,} {task.fields[note]}",
                    markup=False,
                    table_column=Column(overflow="fold", no_wrap=False, ratio=1),
                ),
                TimeElapsedColumn(),
                console=self.console,
            )
            if self.console.is_terminal
            else None
        )

    def __enter__(self) -> ConsoleReporter:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        now = time.monotonic()
        began, first = self._began.setdefault(task, (now, done))
        rate = (done - first) / (now - began) if now > began and done > first else 0.0
        if rate:
            note = f"{rate:.1f}/s, {_duration((total - done) / rate)} left  {note}"
        if self._live:
            if task not in self._bars:
                self._make_room()
                self._bars[task] = self._live.add_task(task, total=total, note=note)
            self._live.update(self._bars[task], completed=done, total=total, note=note)
        elif done >= total or now - self._printed.get(task, 0.0) >= LINE_INTERVAL_S:
            self._printed[task] = now
            print(f"{task}: {done:,}/{total:,} {note}", file=sys.stderr, flush=True)

    def say(self, message: str) -> None:
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)

    def tally(self, tally: Tally) -> None:
        ended, now = tally.done + tally.failed, time.monotonic()
        if self._live:
            if self._cells is None:
                self._cells = self._live.add_task("cells", total=tally.total, note="")
            self._live.update(self._cells, completed=ended, total=tally.total, note=str(tally))
        elif (ended == tally.total and self._tallied[1] < ended) or now - self._tallied[
            0
        ] >= LINE_INTERVAL_S:
            self._tallied = now, ended
            print(f"cells: {tally}", file=sys.stderr, flush=True)

    def _make_room(self) -> None:
        """Bars of finished tasks go, oldest first, when there are many: a screen is not a list."""
        assert self._live is not None
        finished = {task.id for task in self._live.tasks if task.finished}
        for task, bar in list(self._bars.items()):
            if len(self._bars) < MAX_BARS:
                break
            if bar in finished:
                self._live.remove_task(bar)
                del self._bars[task], self._began[task]


class Silent:
    """Shows nothing."""

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def tally(self, tally: Tally) -> None:
        pass


class Quiet:
    """Messages only: the bar of an evaluation inside a longer task would hide the task's own."""

    def __init__(self, reporter: Reporter) -> None:
        self.say, self.tally = reporter.say, reporter.tally

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        pass


class Named:
    """Puts a name before each task: trainings that differ in a switch would share a bar."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self._reporter, self._name = reporter, name
        self.say, self.tally = reporter.say, reporter.tally

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        self._reporter.report(f"{self._name}: {task}", done, total, note, phase)


class Queued:
    """Sends progress from a worker process to the one that shows it.

    When that one is gone, nobody would start what comes next: ``stop`` is asked for.
    """

    def __init__(self, queue: Any, stop: StopRequest, name: str) -> None:
        self._queue, self._sent, self._stop, self._name = queue, 0.0, stop, name
        self._parent = multiprocessing.parent_process()

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        now = time.monotonic()
        if done < total and now - self._sent <= 0.5:
            return
        self._sent = now
        # Not the process it was forked from: that one may live on.
        if self._parent is not None and not self._parent.is_alive():
            self._stop.exit_code = self._stop.exit_code or 143
            return
        self._queue.put(("report", self._name, task, done, total, note, phase))

    def say(self, message: str) -> None:
        self._queue.put(("say", message))

    def tally(self, tally: Tally) -> None:
        """Cells are counted where they are started, not here."""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
