"""The cells on a Ray cluster: the driver hands out jobs and alone writes what comes back.

Workers need no shared file system. A job carries the files it goes on from; its checkpoints come
back through the hub, an actor on the driver's node, and are written to ``--runs`` by the driver.
A job whose worker or node dies is handed out again with what had come back. When the driver dies,
Ray ends its workers and its hub; started again it goes on from the files, as the local engine does.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from repro import records
from repro.engines.episode_ranges import PART_EPISODES, Divided, Part, kinds
from repro.engines.jobs import Unit, training_ended, units
from repro.engines.local import Failure, after, failure, stopped, unfinished
from repro.engines.overview import Board
from repro.engines.ray import transfer as ship
from repro.engines.ray.cluster import RayOptions, check_fits, cluster, slots
from repro.engines.ray.hub import start_hub
from repro.engines.ray.tasks import Task, folder_of
from repro.engines.ray.worker import Job, Outcome, work
from repro.learner.kernels.library import wanted
from repro.papers.config import RunConfig
from repro.run.context import RunContext
from repro.run.provenance import git_state, source_digest
from repro.system.errors import ReproError
from repro.system.interrupts import StopRequest
from repro.system.locks import try_lock
from repro.system.progress import Reporter

POLL_S = 0.2
LOOK_S = 5.0  # at the nodes of the cluster, and at locks of other processes
DEATHS = 3  # of one task in a row, with no file come back in between
QUEUED = 1.5  # jobs handed out for each one that fits: nobody waits for the driver


def run(
    cells: Sequence[RunConfig],
    context: RunContext,
    options: RayOptions,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
    part_episodes: int = PART_EPISODES,
) -> list[Failure]:
    """Run the cells that are not finished; a failed one does not stop the others.

    Raises:
        Interrupted: a stop was asked for; everything that ran has saved its state.
        UsageError, ClusterError: the cluster cannot be used.
    """
    cells = unfinished(cells, context, reporter)
    if not cells:
        return []
    with cluster(options) as ray:
        driver = _Driver(ray, cells, context, options, reporter, stop, command, part_episodes)
        try:
            return driver.run()
        finally:
            driver.release()


class _Driver:
    def __init__(
        self,
        ray: Any,
        cells: Sequence[RunConfig],
        context: RunContext,
        options: RayOptions,
        reporter: Reporter,
        stop: StopRequest,
        command: str,
        part_episodes: int,
    ) -> None:
        self.ray, self.place, self.options = ray, context, options
        self.reporter, self.stop, self.command = reporter, stop, command
        self.part_episodes = part_episodes
        self.hub = start_hub(ray, context.pack)
        asked = {"num_cpus": options.cpus_per_cell, "num_gpus": options.gpus_per_cell}
        self.work = ray.remote(**asked, max_retries=0)(work)
        # Somebody's own code: its process does nothing else afterwards.
        self.own_work = ray.remote(**asked, max_retries=0, max_calls=1)(work)
        self.board = Board(reporter)
        self.tasks: dict[str, Task] = {}
        self.dependents: dict[str, list[str]] = defaultdict(list)
        self.ready: list[tuple[int, int, str, Part | None]] = []  # a heap
        self.order = itertools.count()
        self.blocked: list[tuple[int, int, str, Part | None]] = []
        self.running: dict[Any, Job] = {}
        self.shared: dict[str, Any] = {}  # files of an ended training, put once
        self.failures: dict[str, Failure] = {}
        self.code, self.commit = source_digest(), git_state()
        self.looked, self.slots = float("-inf"), 1
        for unit in units(cells):
            self._add(unit)

    def _add(self, unit: Unit) -> None:
        self.tasks[unit.name] = Task(unit, folder_of(unit, self.place.runs))
        ended = unit.kind == "training" and training_ended(unit.config, self.place.runs)
        weight = 0.0 if ended else unit.weight
        self.board.add(unit.name, weight, unit.kind == "cell", unit.needs)
        if unit.needs is not None:
            self.dependents[unit.needs].append(unit.name)
        if ended:
            self.tasks[unit.name].ended = True
        elif unit.needs is None:
            self._push(unit.name)
        elif self.tasks[unit.needs].ended:
            self._push(unit.name, rank=1)

    def _push(self, name: str, part: Part | None = None, rank: int = 0) -> None:
        heapq.heappush(self.ready, (rank, next(self.order), name, part))

    def run(self) -> list[Failure]:
        taking = self.hub.take.remote()
        told = False
        while self.ready or self.blocked or self.running:
            if self.stop and not told:
                told = True
                self.ready.clear()
                self.blocked.clear()
                self.hub.stop.remote(self.stop.exit_code)
            self._look()
            self._hand_out()
            waited = [taking, *self.running]
            ready, _ = self.ray.wait(waited, num_returns=1, timeout=POLL_S, fetch_local=False)
            ended = [ref for ref in ready if ref is not taking]
            if ended and taking not in ready:
                self.hub.poke.remote()  # what a task sent is heard before its end
            if ready:
                for message in self.ray.get(taking):
                    self._hear(message)
                taking = self.hub.take.remote()
            for ref in ended:
                self._settle(ref)
            self.board.tell()
        self.board.tell(now=True)
        if self.stop:
            raise stopped(self.stop)
        return list(self.failures.values())

    def release(self) -> None:
        """Let go of all locks."""
        for task in self.tasks.values():
            task.release()

    def _look(self) -> None:
        """At the nodes, which come and go, and at locks that others may have released."""
        now = time.monotonic()
        if now - self.looked < LOOK_S:
            return
        self.looked = now
        self.slots = slots(self.ray, self.options)
        for item in self.blocked:
            heapq.heappush(self.ready, item)
        self.blocked.clear()
        if not self.slots and not self.stop:
            check_fits(self.ray, self.options)

    def _hand_out(self) -> None:
        while self.ready and len(self.running) < max(1, int(self.slots * QUEUED)):
            item = heapq.heappop(self.ready)
            task = self.tasks[item[2]]
            if task.ended:
                continue
            try:
                if task.lock is None and not self._claim(task, item):
                    continue
                if item[3] is None and self._divide(task):
                    continue
                self._submit(task, item[3])
            except (ReproError, OSError) as error:
                code = error.exit_code if isinstance(error, ReproError) else 1
                self._fail(task, str(error), code)

    def _claim(self, task: Task, item: tuple[int, int, str, Part | None]) -> bool:
        """Take the folder's lock; what another process did meanwhile is not done again."""
        task.folder.mkdir(parents=True, exist_ok=True)
        task.lock = try_lock(task.folder)
        unit = task.unit
        if task.lock is None:
            if not task.told_to_wait:
                task.told_to_wait = True
                self.reporter.say(
                    f"{unit.title}: another process works on it, waiting for it ({task.folder})"
                )
            self.blocked.append(item)
            return False
        if unit.kind == "training":
            done = training_ended(unit.config, self.place.runs)
        else:
            finished = records.finished(task.folder, unit.config)
            done = finished is not None and not self.place.force
            task.kinds = kinds(unit.config, self.place.force)
        if done:
            self._end(task, "done")
        return not done

    def _divide(self, task: Task) -> bool:
        """Hand out the next evaluation of the cell in parts; False when the cell itself is due."""
        while task.kinds:
            task.divided = Divided(
                task.unit.config, self.place.runs, self.place.pack, task.kinds.pop(0),
                self.part_episodes,
            )  # fmt: skip
            parts = task.divided.parts
            if len(parts) > 1:
                task.n_open = len(parts)
                for part in parts:
                    self._push(task.unit.name, part, rank=1)
                return True
        return False

    def _submit(self, task: Task, part: Part | None) -> None:
        unit, runs = task.unit, self.place.runs
        kind = "part" if part is not None else unit.kind
        task.attempt += 1
        job = Job(
            unit.name, kind, unit.config, part, task.attempt, str(runs), self.place.pack.name,
            self.place.threads, self.place.device, self.place.force, self.command, self.code,
            self.commit, self.place.pace, wanted(),
        )  # fmt: skip
        if unit.kind == "training":
            files, shared = ship.training_files(runs, task.folder), {}
        else:
            files, shared = ship.cell_files(runs, task.folder), self._shared(unit)
        remote = self.own_work if unit.is_own else self.work
        self.running[remote.remote(job, files, shared, self.hub)] = job

    def _shared(self, unit: Unit) -> Any:
        """The training that cells share, in the object store once while they need it."""
        needed = unit.config.training()
        if needed is None or unit.needs is None:
            return {}
        if unit.needs not in self.shared:
            folder = records.training_folder(self.place.runs, needed)
            self.shared[unit.needs] = self.ray.put(ship.training_files(self.place.runs, folder))
        return self.shared[unit.needs]

    def _hear(self, message: tuple[Any, ...]) -> None:
        kind, name, attempt, *words = message
        task = self.tasks[name]
        if kind == "say":
            self.reporter.say(*words)
        elif task.ended:
            return
        elif kind == "started":
            self.board.set(name, "running")
        elif kind == "report":
            label, done, total, note, phase = words
            self.reporter.report(f"{label} (seed {task.unit.config.seed})", done, total, note)
            if task.n_open == 0 and total:
                self.board.progress(name, task.unit.share(phase, done, total))
        elif any(j.name == name and j.attempt == attempt for j in self.running.values()):
            self._receive(task, words[0])

    def _receive(self, task: Task, sent: Any) -> None:
        if isinstance(sent, list):
            try:
                (changes,) = self.ray.get(sent)
            except self.ray.exceptions.RayError:
                return  # its worker died with it: the checkpoint before it is here
        else:
            changes = sent
        task.deaths = 0
        self.write(changes)

    def write(self, changes: ship.Changes) -> None:
        """All that results consist of passes here."""
        ship.apply(self.place.runs, changes)

    def _settle(self, ref: Any) -> None:
        job = self.running.pop(ref)
        task = self.tasks[job.name]
        if task.ended:
            return  # a part of a cell that failed
        try:
            outcome: Outcome = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            cause = error.cause or error
            self._fail(task, f"{task.unit.title}: {type(cause).__name__}: {cause}", 1)
            return
        except self.ray.exceptions.RayError as error:
            self._died(task, job, error)
            return
        try:
            if outcome.changes is not None:
                self.write(outcome.changes)
            if outcome.state == "failed":
                self._fail(task, outcome.message, outcome.exit_code)
            elif outcome.state == "done":
                self._done(task, job, outcome)
        except (ReproError, OSError) as error:
            self._fail(task, str(error), error.exit_code if isinstance(error, ReproError) else 1)

    def _done(self, task: Task, job: Job, outcome: Outcome) -> None:
        task.deaths = 0
        if job.part is None:
            self._end(task, "done")
            return
        assert task.divided is not None and outcome.rows is not None
        task.divided.add(job.part, outcome.rows)
        task.n_open -= 1
        n_part = len(task.divided.parts)
        label = f"{task.unit.title}: {task.divided.kind} in parts"
        self.reporter.report(label, n_part - task.n_open, n_part)
        self.board.progress(
            job.name, task.unit.share(task.divided.kind, n_part - task.n_open, n_part)
        )
        if not task.n_open and not self.stop:
            self._push(job.name, rank=1)

    def _died(self, task: Task, job: Job, error: Exception) -> None:
        task.deaths += 1
        title = task.unit.title
        if task.deaths >= DEATHS:
            self._fail(
                task,
                f"{title}: its worker died {task.deaths} times in a row (out of memory, or its "
                f"node went away: {type(error).__name__}); run the same command to continue "
                f"from its "
                "last checkpoint",
                1,
            )
        elif not self.stop:
            self.reporter.say(
                f"{title}: its worker died ({type(error).__name__}), continuing elsewhere from the "
                "last checkpoint that it sent"
            )
            self.board.set(job.name, "waiting")
            self._push(job.name, job.part)

    def _fail(self, task: Task, message: str, exit_code: int) -> None:
        unit = task.unit
        self.failures[unit.name] = failure(unit, message, exit_code)
        self.reporter.say(f"{unit.title} failed: {message}")
        for name in self.dependents[unit.name]:
            other = self.tasks[name]
            if not other.ended:
                self.failures[name] = after(other.unit, self.failures[unit.name])
                other.ended = True
                self.board.set(name, "failed")
        self._end(task, "failed")

    def _end(self, task: Task, state: str) -> None:
        task.ended, task.divided = True, None
        task.release()
        unit = task.unit
        self.board.set(unit.name, state)
        if unit.kind == "training" and state == "done":
            for name in self.dependents[unit.name]:
                self._push(name, rank=1)
        elif unit.needs is not None:
            waiting = self.dependents[unit.needs]
            waiting.remove(unit.name)
            if not waiting:
                self.shared.pop(unit.needs, None)
