"""Where the cells run: in this process, or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro import records
from repro.allocator import keep_large_buffers
from repro.board import Board
from repro.config import RunConfig
from repro.errors import Interrupted, ReproError, from_os_error
from repro.interrupts import StopRequest, stop_requests
from repro.progress import Queued, Reporter
from repro.units import Unit, Work, units

POLL_S = 0.2


@dataclass(frozen=True)
class Failure:
    """A task that did not end well."""

    task: str
    message: str
    exit_code: int


def default_jobs(n_cell: int) -> int:
    """A cell per core while there are cells enough."""
    return max(1, min(os.cpu_count() or 1, n_cell))


def needed(cells: Sequence[RunConfig], runs: Path, all_of_them: bool) -> list[Path]:
    """The folders that the cells go on from: their own and their trainings'.

    Args:
        all_of_them: those of finished cells, too.
    """
    folders: dict[Path, None] = {}
    for config in cells:
        cell, training = records.cell_folder(runs, config), config.training()
        if all_of_them or records.finished(cell, config) is None:
            folders[cell] = None
            if training is not None:
                folders[records.training_folder(runs, training)] = None
    return list(folders)


def _work(task: Unit, place: Any, command: str, channel: Any) -> None:
    """The body of a worker process; what it has to say goes through the channel."""
    keep_large_buffers()
    with stop_requests() as stop:
        reporter = Queued(channel, stop, task.name)
        try:
            _do(task, place, reporter, stop, command)
        except ReproError as error:
            channel.put(("failed", task.name, str(error), error.exit_code))
        except OSError as error:
            channel.put(("failed", task.name, str(from_os_error(error)), 1))
        else:
            channel.put(("done", task.name))


def _do(task: Unit, place: Any, reporter: Reporter, stop: StopRequest, command: str) -> None:
    from repro.cells import run_cell, run_training

    if task.work is not None:
        task.work(place, reporter, stop, command)
    elif task.kind == "training":
        run_training(task.config, place, reporter, stop)
    else:
        run_cell(task.config, place, reporter, stop, command)


def unfinished(cells: Sequence[RunConfig], place: Any, reporter: Reporter) -> list[RunConfig]:
    """The cells that are to be run; that there are none is told."""
    found = list(cells)
    if not place.force:
        found = [c for c in cells if not records.finished(records.cell_folder(place.runs, c), c)]
    if not found:
        reporter.say("all cells are finished; --force runs them again")
    return found


def stopped(stop: StopRequest) -> Interrupted:
    """What a run ends with that was asked to stop."""
    return Interrupted(
        "stopped; finished cells and checkpoints are saved, run the same command to go on",
        stop.exit_code,
    )


def run(
    cells: Sequence[RunConfig],
    place: Any,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Run the cells that are not finished; a failed one does not stop the others.

    ``place`` is a ``cells.Place``; importing it here would load torch in the parent.

    Raises:
        Interrupted: a stop was asked for; everything that ran has saved its state.
    """
    tasks = units(unfinished(cells, place, reporter))
    if not tasks:
        return []
    if jobs <= 1:
        here = [task for task in tasks if task.kind == "cell"]  # each trains what it needs
        return _run_here(here, place, reporter, stop, command)
    return _Pool(place, jobs, reporter, stop, command).run(tasks)


def _run_here(
    tasks: Sequence[Unit], place: Any, reporter: Reporter, stop: StopRequest, command: str
) -> list[Failure]:
    failures, board = [], Board(reporter)
    for unit in tasks:
        board.add(unit.name, unit.weight, is_cell=True)
    for unit in tasks:
        board.set(unit.name, "running")
        try:
            _do(unit, place, reporter, stop, command)
            board.set(unit.name, "done")
        except Interrupted:
            raise
        except ReproError as error:
            failures.append(Failure(unit.name, str(error), error.exit_code))
            board.set(unit.name, "failed")
    board.tell(now=True)
    return failures


def run_works(
    works: Sequence[tuple[str, RunConfig, RunConfig | None, Work]],
    place: Any,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Do other work than testing cells; what fails does not stop the others.

    Args:
        works: name, config, the config whose training it waits for (None: it waits for none),
            and what to do; it trains what it needs when nobody else has.

    Raises:
        Interrupted: as :func:`run`.
    """
    tasks = []
    for name, config, owner, work in works:
        training = owner.training() if owner else None
        tasks.append(Unit(name, "work", config, training.digest if training else None, work))
    if jobs <= 1:
        return _run_here(tasks, place, reporter, stop, command)
    owners = [owner for _, _, owner, _ in works if owner is not None]
    trainings = [task for task in units(owners) if task.kind == "training"]
    return _Pool(place, jobs, reporter, stop, command).run(trainings + tasks)


def _context() -> Any:
    """How workers start: afresh, but from a process that has loaded torch, where there is one.

    Loading it takes two seconds of a processor, which a grid of short cells would pay per task.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["repro.cells"])
    return context


class _Pool:
    """A process per task, at most ``jobs`` at once; a process that dies is noticed."""

    def __init__(
        self, place: Any, jobs: int, reporter: Reporter, stop: StopRequest, command: str
    ) -> None:
        self.place, self.jobs, self.reporter = place, jobs, reporter
        self.stop, self.command = stop, command
        self.context = _context()
        self.channel = self.context.Queue()
        self.running: dict[str, Any] = {}
        self.board = Board(reporter)
        self.units: dict[str, Unit] = {}
        self.done: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def run(self, tasks: list[Unit]) -> list[Failure]:
        try:
            return self._run(tasks)
        except KeyboardInterrupt:  # a second Ctrl-C: nobody waits for a safe point
            for process in self.running.values():
                process.kill()
            raise

    def _run(self, tasks: list[Unit]) -> list[Failure]:
        waiting = list(tasks)
        self.units = {task.name: task for task in tasks}
        for task in tasks:
            self.board.add(task.name, task.weight, task.kind != "training", task.needs)
        told = False
        while waiting or self.running:
            if self.stop and not told:
                told = True
                waiting.clear()
                for process in self.running.values():
                    if process.pid:
                        os.kill(process.pid, signal.SIGTERM)
            self._start(waiting)
            self._listen()
            self._bury()
            self.board.tell()
        self.board.tell(now=True)
        if self.stop:
            raise stopped(self.stop)
        return list(self.failures.values())

    def _start(self, waiting: list[Unit]) -> None:
        for task in list(waiting):
            if task.needs in self.failures:
                waiting.remove(task)
                why = self.failures[task.needs]
                self._failed(Failure(task.name, why.message, why.exit_code))
            elif len(self.running) < self.jobs and (task.needs is None or task.needs in self.done):
                waiting.remove(task)
                process = self.context.Process(
                    target=_work, args=(task, self.place, self.command, self.channel)
                )
                process.start()
                self.running[task.name] = process
                self.board.set(task.name, "running")

    def _listen(self) -> None:
        timeout = POLL_S
        while True:
            try:
                kind, *rest = self.channel.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0.0
            if kind == "report":
                name, label, done, total, note = rest
                self.reporter.report(label, done, total, note)
                if total:
                    self.board.progress(name, self.units[name].share(label, done, total))
            elif kind == "say":
                self.reporter.say(*rest)
            elif kind == "done":
                self.done.add(rest[0])
                self.board.set(rest[0], "done")
            else:
                self._failed(Failure(*rest))

    def _failed(self, failure: Failure) -> None:
        self.failures[failure.task] = failure
        self.board.set(failure.task, "failed")

    def _bury(self) -> None:
        for name, process in list(self.running.items()):
            if process.is_alive():
                continue
            process.join()
            self._listen()
            del self.running[name]
            if name not in self.done and name not in self.failures:
                self._failed(
                    Failure(
                        name,
                        f"{name}: its process ended with code {process.exitcode} (out of memory, "
                        "or killed); run the same command to go on from its last checkpoint",
                        1,
                    )
                )
