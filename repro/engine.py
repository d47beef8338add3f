"""Where the cells run: in this process, or side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from repro import records
from repro.allocator import keep_large_buffers
from repro.config import RunConfig
from repro.errors import Interrupted, ReproError, from_os_error
from repro.interrupts import StopRequest, stop_requests
from repro.progress import Queued, Reporter

POLL_S = 0.2

# (place, reporter, stop, command) -> None; for a process of its own it has to be picklable
Work = Callable[[Any, Reporter, StopRequest, str], object]


@dataclass(frozen=True)
class Failure:
    """A task that did not end well."""

    task: str
    message: str
    exit_code: int


@dataclass(frozen=True)
class _Task:
    """A training (shared by cells) or a cell; ``needs`` is the training it waits for."""

    name: str
    kind: str
    config: RunConfig
    needs: str | None
    work: Work | None = None  # of another kind: what to do


def default_jobs(n_cell: int) -> int:
    """A cell per core while there are cells enough."""
    return max(1, min(os.cpu_count() or 1, n_cell))


def _tasks(cells: Sequence[RunConfig]) -> list[_Task]:
    """Trainings first, the longest first, each once; then the cells."""
    trainings: dict[str, _Task] = {}
    tasks = []
    for config in cells:
        training = config.training()
        digest = training.digest if training else None
        if training is not None and digest is not None and digest not in trainings:
            trainings[digest] = _Task(digest, "training", config, None)
        title = f"{config.method} {config.spec.k_shot}-shot seed {config.seed}"
        tasks.append(_Task(title, "cell", config, digest))
    cost = {"meta_lstm": 3, "matching_net_fce": 2, "matching_net": 2}

    def weight(task: _Task) -> int:
        training = task.config.training()
        return (cost.get(training.training, 1) * training.n_step) if training else 0

    return sorted(trainings.values(), key=weight, reverse=True) + tasks


def _work(task: _Task, place: Any, command: str, channel: Any) -> None:
    """The body of a worker process; what it has to say goes through the channel."""
    keep_large_buffers()
    from repro.cells import run_cell, run_training

    with stop_requests() as stop:
        reporter = Queued(channel, stop)
        try:
            if task.work is not None:
                task.work(place, reporter, stop, command)
            elif task.kind == "training":
                run_training(task.config, place, reporter, stop)
            else:
                run_cell(task.config, place, reporter, stop, command)
        except ReproError as error:
            channel.put(("failed", task.name, str(error), error.exit_code))
        except OSError as error:
            channel.put(("failed", task.name, str(from_os_error(error)), 1))
        else:
            channel.put(("done", task.name))


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
    if not place.force:
        done = [records.finished(records.cell_folder(place.runs, c), c) for c in cells]
        cells = [cell for cell, record in zip(cells, done, strict=True) if record is None]
    if not cells:
        reporter.say("all cells are finished; --force runs them again")
        return []
    if jobs <= 1:
        return _run_here(cells, place, reporter, stop, command)
    return _Pool(place, jobs, reporter, stop, command).run(_tasks(cells))


def _run_here(
    cells: Sequence[RunConfig], place: Any, reporter: Reporter, stop: StopRequest, command: str
) -> list[Failure]:
    from repro.cells import run_cell

    failures = []
    for config in cells:
        try:
            run_cell(config, place, reporter, stop, command)
        except Interrupted:
            raise
        except ReproError as error:
            name = f"{config.method} {config.spec.k_shot}-shot"
            failures.append(Failure(name, str(error), error.exit_code))
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
    if jobs > 1:
        owners = [owner for _, _, owner, _ in works if owner is not None]
        trainings = [task for task in _tasks(owners) if task.kind == "training"]
        tasks = []
        for name, config, owner, work in works:
            training = owner.training() if owner else None
            needs = training.digest if training else None
            tasks.append(_Task(name, "work", config, needs, work))
        return _Pool(place, jobs, reporter, stop, command).run(trainings + tasks)
    failures = []
    for name, _, _, work in works:
        try:
            work(place, reporter, stop, command)
        except Interrupted:
            raise
        except ReproError as error:
            failures.append(Failure(name, str(error), error.exit_code))
    return failures


class _Pool:
    """A process per task, at most ``jobs`` at once; a process that dies is noticed."""

    def __init__(
        self, place: Any, jobs: int, reporter: Reporter, stop: StopRequest, command: str
    ) -> None:
        self.place, self.jobs, self.reporter = place, jobs, reporter
        self.stop, self.command = stop, command
        self.context = multiprocessing.get_context("spawn")
        self.channel = self.context.Queue()
        self.running: dict[str, Any] = {}
        self.done: set[str] = set()
        self.failures: dict[str, Failure] = {}

    def run(self, tasks: list[_Task]) -> list[Failure]:
        try:
            return self._run(tasks)
        except KeyboardInterrupt:  # a second Ctrl-C: nobody waits for a safe point
            for process in self.running.values():
                process.kill()
            raise

    def _run(self, tasks: list[_Task]) -> list[Failure]:
        waiting = list(tasks)
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
        if self.stop:
            raise Interrupted(
                "stopped; finished cells and checkpoints are saved, run the same command to go on",
                self.stop.exit_code,
            )
        return list(self.failures.values())

    def _start(self, waiting: list[_Task]) -> None:
        for task in list(waiting):
            if task.needs in self.failures:
                waiting.remove(task)
                why = self.failures[task.needs]
                self.failures[task.name] = Failure(task.name, why.message, why.exit_code)
            elif len(self.running) < self.jobs and (task.needs is None or task.needs in self.done):
                waiting.remove(task)
                process = self.context.Process(
                    target=_work, args=(task, self.place, self.command, self.channel)
                )
                process.start()
                self.running[task.name] = process

    def _listen(self) -> None:
        timeout = POLL_S
        while True:
            try:
                kind, *rest = self.channel.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0.0
            if kind == "report":
                self.reporter.report(*rest)
            elif kind == "say":
                self.reporter.say(*rest)
            elif kind == "done":
                self.done.add(rest[0])
            else:
                self.failures[rest[0]] = Failure(*rest)

    def _bury(self) -> None:
        for name, process in list(self.running.items()):
            if process.is_alive():
                continue
            process.join()
            self._listen()
            del self.running[name]
            if name not in self.done and name not in self.failures:
                self.failures[name] = Failure(
                    name,
                    f"{name}: its process ended with code {process.exitcode} (out of memory, or "
                    "killed); run the same command to go on from its last checkpoint",
                    1,
                )
