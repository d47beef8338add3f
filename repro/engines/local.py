"""The local engine: cells run in this process, or in parallel in separate processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro import records
from repro.engines.jobs import Unit, longest_first, units
from repro.engines.overview import Board
from repro.papers.config import RunConfig
from repro.run.context import RunContext
from repro.system.allocator import keep_large_buffers
from repro.system.errors import Interrupted, ReproError, from_os_error
from repro.system.interrupts import StopRequest, stop_requests
from repro.system.processes import Line, Worker, wait
from repro.system.progress import Named, Phase, Queued, Reporter


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


def _work(task: Unit, context: RunContext, command: str, line: Line) -> None:
    """The body of a worker process."""
    keep_large_buffers()
    with stop_requests() as stop:
        reporter = Queued(line, stop, task.name)
        try:
            do(task, context, reporter, stop, command)
        except ReproError as error:
            line.put(("failed", task.name, str(error), error.exit_code))
        except OSError as error:
            line.put(("failed", task.name, str(from_os_error(error)), 1))
        else:
            line.put(("done", task.name))


def do(
    task: Unit, context: RunContext, reporter: Reporter, stop: StopRequest, command: str
) -> None:
    """A task here and now: a training, a cell or other work."""
    from repro.run.cell import run_cell, run_training

    if task.label:
        reporter = Named(reporter, f"{task.label} seed {task.config.seed}")
    if task.kind == "training":
        run_training(task.config, context, reporter, stop)
    else:
        run_cell(task.config, context, reporter, stop, command)


def unfinished(
    cells: Sequence[RunConfig], context: RunContext, reporter: Reporter
) -> list[RunConfig]:
    """The cells that are to be run; that there are none is told."""
    found = list(cells)
    if not context.force:
        found = [c for c in cells if not records.finished(records.cell_folder(context.runs, c), c)]
    if not found:
        reporter.say("all cells are finished; --force runs them again")
    return found


def stopped(stop: StopRequest) -> Interrupted:
    """What a run ends with that was asked to stop."""
    return Interrupted(
        "stopped; finished cells and checkpoints are saved, run the same command to continue",
        stop.exit_code,
    )


def run(
    cells: Sequence[RunConfig],
    context: RunContext,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Run the cells that are not finished; a failed one does not stop the others.

    Raises:
        Interrupted: a stop was asked for; everything that ran has saved its state.
    """
    tasks = units(unfinished(cells, context, reporter))
    if not tasks:
        return []
    if _here(tasks, jobs):
        return _run_here(one_by_one(tasks), context, reporter, stop, command)
    return _Pool(context, jobs, reporter, stop, command).run(tasks)


def run_trainings(
    cells: Sequence[RunConfig],
    context: RunContext,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Make the trainings that the cells need, one after the other.

    Raises:
        Interrupted: as :func:`run`.
    """
    tasks = [task for task in units(cells) if task.kind == "training"]
    if _here(tasks, 1):
        return _run_here(tasks, context, reporter, stop, command)
    return _Pool(context, 1, reporter, stop, command).run(tasks)


def _here(tasks: Sequence[Unit], jobs: int) -> bool:
    """Whether this process does it all: somebody's own code would change what runs after it."""
    return jobs <= 1 and not any(task.is_own for task in tasks)


def one_by_one(tasks: Sequence[Unit]) -> list[Unit]:
    """Each training just before the first cell that needs it, so that results come early."""
    trainings = {task.name: task for task in tasks if task.kind == "training"}
    found = []
    for task in tasks:
        if task.kind != "training":
            if task.needs in trainings:
                found.append(trainings.pop(task.needs))
            found.append(task)
    return [*found, *trainings.values()]


def _run_here(
    tasks: Sequence[Unit], context: RunContext, reporter: Reporter, stop: StopRequest, command: str
) -> list[Failure]:
    failures: dict[str, Failure] = {}
    board = Board(reporter)
    for unit in tasks:
        board.add(unit.name, unit.weight, unit.kind != "training", unit.needs)
    for unit in tasks:
        if unit.needs in failures:
            failures[unit.name] = after(unit, failures[unit.needs])
            board.set(unit.name, "failed")
            continue
        board.set(unit.name, "running")
        try:
            do(unit, context, Counted(reporter, board, unit), stop, command)
            board.set(unit.name, "done")
        except Interrupted:
            raise
        except ReproError as error:
            failures[unit.name] = failure(unit, str(error), error.exit_code)
            board.set(unit.name, "failed")
    board.tell(now=True)
    return list(failures.values())


def failure(unit: Unit, message: str, exit_code: int) -> Failure:
    """Of a unit, told with method, shot and seed."""
    told = message if message.startswith(unit.title) else f"{unit.title}: {message}"
    return Failure(unit.name, told, exit_code)


def after(unit: Unit, why: Failure) -> Failure:
    """Of a cell whose training failed."""
    return Failure(unit.name, f"{unit.title}: not run, its training failed", why.exit_code)


class Counted:
    """Passes progress on and counts it, for the time left of all that is to be done."""

    def __init__(self, reporter: Reporter, board: Board, unit: Unit) -> None:
        self._reporter, self._board, self._unit = reporter, board, unit
        self.say, self.tally = reporter.say, reporter.tally

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        self._reporter.report(task, done, total, note)
        if total:
            self._board.progress(self._unit.name, self._unit.share(phase, done, total))


class _Pool:
    """A process per task, at most ``jobs`` at once; a process that dies is noticed."""

    def __init__(
        self, context: RunContext, jobs: int, reporter: Reporter, stop: StopRequest, command: str
    ) -> None:
        self.place, self.jobs, self.reporter = context, jobs, reporter
        self.stop, self.command = stop, command
        self.running: dict[str, Worker] = {}
        self.board = Board(reporter)
        self.units: dict[str, Unit] = {}
        self.done: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def run(self, tasks: list[Unit]) -> list[Failure]:
        try:
            return self._run(tasks)
        except KeyboardInterrupt:  # a second Ctrl-C: nobody waits for a safe point
            for worker in self.running.values():
                worker.process.kill()
            raise

    def _run(self, tasks: list[Unit]) -> list[Failure]:
        waiting = longest_first(tasks)
        self.units = {task.name: task for task in tasks}
        for task in tasks:
            self.board.add(task.name, task.weight, task.kind != "training", task.needs)
        told = False
        while waiting or self.running:
            if self.stop and not told:
                told = True
                waiting.clear()
                for worker in self.running.values():
                    worker.stop()
            self._start(waiting)
            wait(list(self.running.values()))
            self._listen()
            self._reap()
            self.board.tell()
        self.board.tell(now=True)
        if self.stop:
            raise stopped(self.stop)
        return list(self.failures.values())

    def _start(self, waiting: list[Unit]) -> None:
        for task in list(waiting):
            if task.needs in self.failures:
                waiting.remove(task)
                self._failed(after(task, self.failures[task.needs]))
            elif len(self.running) < self.jobs and (task.needs is None or task.needs in self.done):
                waiting.remove(task)
                self.running[task.name] = Worker(_work, task, self.place, self.command)
                self.board.set(task.name, "running")

    def _listen(self) -> None:
        for worker in list(self.running.values()):
            for kind, *rest in worker.messages():
                if kind == "report":
                    name, label, done, total, note, phase = rest
                    self.reporter.report(label, done, total, note)
                    if total:
                        self.board.progress(name, self.units[name].share(phase, done, total))
                elif kind == "say":
                    self.reporter.say(*rest)
                elif kind == "done":
                    self.done.add(rest[0])
                    self.board.set(rest[0], "done")
                else:
                    name, message, exit_code = rest
                    self._failed(failure(self.units[name], message, exit_code))

    def _failed(self, failure: Failure) -> None:
        self.failures[failure.task] = failure
        self.board.set(failure.task, "failed")

    def _reap(self) -> None:
        for name, worker in list(self.running.items()):
            if worker.process.is_alive():
                continue
            worker.process.join()
            self._listen()
            del self.running[name]
            if name not in self.done and name not in self.failures:
                unit = self.units[name]
                own = f" or the method {unit.config.method} ended it" if unit.is_own else ""
                self._failed(
                    failure(
                        unit,
                        f"its process {worker.ending} (out of memory, killed{own}); run the same "
                        "command to go on from its last checkpoint",
                        1,
                    )
                )
