"""The worker on a Ray node: runs one task in a scratch folder and sends its files.

Nothing is written but the scratch folder and the cache of packs: the driver alone writes results.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from repro import records
from repro.data.pack import SPLITS, cache_folder, verify_pack
from repro.data.pack_builder import building
from repro.engines.episode_ranges import Part, run_part
from repro.engines.ray.transfer import Changes, Watched, apply
from repro.learner.kernels import library
from repro.papers.config import RunConfig
from repro.run import provenance
from repro.run.cell import run_cell, run_training
from repro.run.context import Pace, RunContext
from repro.system import storage
from repro.system.allocator import keep_large_buffers
from repro.system.errors import Interrupted, ReproError, from_os_error
from repro.system.interrupts import StopRequest
from repro.system.progress import Phase, Tally

REPORT_INTERVAL_S = 0.5
INLINE_BYTES = 2**20  # larger changes go through the object store, not through the hub
PACK_CHUNK_BYTES = 16 * 2**20
STALE_S = 600.0
SCRATCH = "repro-scratch-"


@dataclass(frozen=True)
class Job:
    """A task for a worker: a training, a part of a test, or a cell to its record.

    Attributes:
        name: of the training or cell. attempt: counts up; what earlier ones still say is dropped.
        files: what it goes on from (plain, and what several jobs share).
        code: digest of the package's source on the driver. commit: see provenance.git_state.
        kernels: what is wanted, auto, torch or native.
    """

    name: str
    kind: str  # "training", "part" or "cell"
    config: RunConfig
    part: Part | None
    attempt: int
    runs: str
    pack: str
    threads: int
    device: str
    force: bool
    command: str
    code: str
    commit: tuple[str, bool]
    pace: Pace
    kernels: str


@dataclass(frozen=True)
class Outcome:
    """How a task ended: ``done``, ``failed`` or ``stopped``; its last changes; a part's rows."""

    state: str
    message: str = ""
    exit_code: int = 0
    changes: Changes | None = None
    rows: npt.NDArray[np.uint8] | None = None


class _Remote:
    """Sends progress and changed files to the hub; its answers tell whether to stop."""

    def __init__(self, hub: Any, job: Job, stop: StopRequest) -> None:
        self._hub, self._job, self._stop = hub, job, stop
        self._sent, self._answers = 0.0, list[Any]()
        self._held: Any = None  # the last large change: its owner keeps it until it was taken
        self.watched: Watched | None = None

    def tell(self, kind: str, *words: Any) -> None:
        self._answers.append(
            self._hub.tell.remote((kind, self._job.name, self._job.attempt, *words))
        )

    def listen(self, wait: bool = False) -> None:
        """Read the hub's answers; with ``wait`` all of them."""
        import ray

        known, self._answers = ray.wait(
            self._answers, num_returns=len(self._answers), timeout=None if wait else 0
        )
        for exit_code in ray.get(known):
            self._stop.exit_code = self._stop.exit_code or exit_code

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        now = time.monotonic()
        if done < total and now - self._sent < REPORT_INTERVAL_S:
            return
        self._sent = now
        self.tell("report", task, done, total, note, phase)
        changes = self.watched.changes() if self.watched else None
        if changes is not None:
            self.send(changes)
        self.listen()

    def send(self, changes: Changes) -> None:
        import ray

        if changes.n_byte > INLINE_BYTES:
            self._held = ray.put(changes)
            self.tell("files", [self._held])
        else:
            self.tell("files", changes)

    def say(self, message: str) -> None:
        self.tell("say", message)

    def tally(self, tally: Tally) -> None:
        """Cells are counted by the driver."""


def work(job: Job, files: dict[str, bytes], shared: dict[str, bytes], hub: Any) -> Outcome:
    """Run one job; what it raises that is not a ReproError is a fault of the code."""
    if provenance.source_digest() != job.code:  # the same code has to run everywhere
        return Outcome(
            "failed",
            f"{job.name}: node {provenance.node()} has another version of repro than this machine; "
            "install the same one on every node",
            1,
        )
    keep_large_buffers()
    library.choose(job.kernels)
    stop = StopRequest()
    remote = _Remote(hub, job, stop)
    remote.tell("started")
    remote.listen(wait=True)
    if stop:
        return Outcome("stopped")
    with contextlib.ExitStack() as stack:
        runs: Path | None = None
        state, message, exit_code, rows = "done", "", 0, None
        try:
            pack = _pack(job.pack, hub)
            runs = stack.enter_context(_scratch())
            apply(runs, Changes({**shared, **files}))
            rows = _run(job, runs, pack, remote, stop)
        except Interrupted:
            state = "stopped"
        except ReproError as error:
            state, message, exit_code = "failed", str(error), error.exit_code
        except OSError as error:
            state, message, exit_code = "failed", str(from_os_error(error)), 1
        changes = remote.watched.changes(all_of_it=True) if remote.watched else None
        remote.listen(wait=True)  # nothing of this task comes after its outcome
        if runs is not None:
            message = message.replace(str(runs), job.runs)
        return Outcome(state, message, exit_code, changes, rows)


def _run(
    job: Job, runs: Path, pack: Path, remote: _Remote, stop: StopRequest
) -> npt.NDArray[np.uint8] | None:
    """Do the job; the rows of a part, nothing else."""
    force = job.force and job.kind == "cell"
    context = RunContext(
        runs, pack, job.threads, job.device, force, pace=job.pace, commit=job.commit
    )
    needed = job.config.training()
    if job.kind == "part":
        assert job.part is not None
        return run_part(job.config, context, job.part, remote, stop)
    if job.kind == "training":
        assert needed is not None
        folder = records.training_folder(runs, needed)
        remote.watched = Watched(runs, [folder])
        run_training(job.config, context, remote, stop)
    else:
        folder = records.cell_folder(runs, job.config)
        remote.watched = Watched(runs, [folder])
        run_cell(job.config, context, remote, stop, job.command)
    return None


def _pack(name: str, hub: Any) -> Path:
    """The data of this node, fetched from the driver when it is not in the cache."""
    import ray

    final = cache_folder() / "packs" / name
    if (final / "pack.json").exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.parent / f".{name}.lock"):
        if (final / "pack.json").exists():
            return final
        with building(final.parent, name) as temporary:
            for file in (*(f"{split}.npy" for split in SPLITS), "pack.json"):
                with storage.atomic_file(temporary / file) as target:
                    offset = 0
                    while chunk := ray.get(hub.read.remote(file, offset, PACK_CHUNK_BYTES)):
                        target.write(chunk)
                        offset += len(chunk)
            verify_pack(temporary)
            temporary.rename(final)
    return final


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one task; those of killed workers are removed by the next one."""
    base = Path(tempfile.gettempdir())
    for left in base.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - left.stat().st_mtime > STALE_S:
                with FileLock(left / ".lock", timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        with FileLock(folder / ".lock"):
            yield folder / "runs"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
