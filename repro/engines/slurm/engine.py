"""The cells on Slurm through submitit: a job for each training, an array of the cells after it.

Jobs do what the local engine does, on the same folder of runs, which all nodes have to see, as
they have to see the cache with the packs. This process only submits, waits and tells. Cells of a
training are an array that depends on its job; what is finished is never submitted. A job that
comes to its time limit is put into the queue again by submitit and goes on from its last
checkpoint.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from repro.engines.jobs import Unit, training_ended, units
from repro.engines.local import Failure, after, do, failure, stopped, unfinished
from repro.engines.overview import Board
from repro.engines.slurm.options import SlurmOptions
from repro.papers.config import RunConfig
from repro.run.context import RunContext
from repro.run.provenance import git_state
from repro.system.allocator import keep_large_buffers
from repro.system.errors import UsageError
from repro.system.interrupts import StopRequest, stop_requests
from repro.system.progress import Reporter, Silent

JOBS = ".slurm"  # in the folder of runs: what is submitted, and the output of the jobs
POLL_S = 1.0
END_S = 35.0  # Slurm kills a cancelled job after 30 s, unless told otherwise
MISSING = (
    "--engine slurm needs submitit, which is not installed: pip install 'repro-fewshot[slurm]'"
)


@dataclass(frozen=True)
class Job:
    """What a Slurm job runs: a training or a cell."""

    unit: Unit
    context: RunContext
    command: str

    def __call__(self) -> None:
        keep_large_buffers()
        with stop_requests() as stop:
            do(self.unit, self.context, Silent(), stop, self.command)

    def checkpoint(self) -> Any:
        """What submitit puts into the queue at the time limit: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run(
    cells: Sequence[RunConfig],
    context: RunContext,
    options: SlurmOptions,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Submit the cells that are not finished, and wait; a failed one does not stop the others.

    Raises:
        Interrupted: a stop was asked for; the jobs were cancelled and have saved their state.
        UsageError: submitit is not installed, or there is no Slurm here.
    """
    cells = unfinished(cells, context, reporter)
    if not cells:
        return []
    here = replace(context, runs=context.runs.resolve(), commit=git_state())
    board = Board(reporter)
    tasks = units(cells)
    ended = {t.name for t in tasks if t.kind == "training" and training_ended(t.config, here.runs)}
    tasks = [task for task in tasks if task.name not in ended]
    for task in tasks:
        board.add(task.name, task.weight, task.kind == "cell", task.needs)
    jobs = _submit(tasks, here, options, command)
    numbers = ", ".join(dict.fromkeys(str(job.job_id).partition("_")[0] for job in jobs.values()))
    reporter.say(f"submitted {len(jobs)} jobs ({numbers}); their output is in {here.runs / JOBS}")
    return _wait(tasks, jobs, board, reporter, stop)


def _submit(
    tasks: Sequence[Unit], context: RunContext, options: SlurmOptions, command: str
) -> dict[str, Any]:
    """submitit's jobs by the names of the tasks; the cells of a training are one array."""
    found: dict[str, Any] = {}
    groups: dict[str | None, list[Unit]] = {}
    for task in tasks:
        if task.kind == "training":
            (found[task.name],) = _submitted([task], context, options, command)
        else:
            groups.setdefault(task.needs if task.needs in found else None, []).append(task)
    for needs, group in groups.items():
        after_job = str(found[needs].job_id) if needs else None
        jobs = _submitted(group, context, options, command, after_job)
        found |= dict(zip((task.name for task in group), jobs, strict=True))
    return found


def _submitted(
    tasks: Sequence[Unit], context: RunContext, options: SlurmOptions, command: str,
    after_job: str | None = None,
) -> list[Any]:  # fmt: skip
    """One job, or an array where there are several tasks; after another job has ended well."""
    try:
        import submitit
    except ImportError:
        raise UsageError(MISSING) from None
    asked: dict[str, Any] = {**options.parameters, "job_name": f"repro {tasks[0].title}"}
    if after_job is not None:
        asked["dependency"] = f"afterok:{after_job}"
        asked["additional_parameters"] = {"kill-on-invalid-dep": "yes"}
    try:
        executor = submitit.AutoExecutor(context.runs / JOBS, cluster=options.cluster)
        executor.update_parameters(
            timeout_min=int(options.parameters["time"]),
            **{f"slurm_{name}": value for name, value in asked.items()},
        )
        with executor.batch():
            return [executor.submit(Job(task, context, command)) for task in tasks]
    except RuntimeError as error:
        raise UsageError(
            f"--engine slurm: no job can be submitted here ({str(error).splitlines()[0]}); run it "
            "where sbatch and srun are, or try it on this machine with --slurm cluster=local"
        ) from error


def _wait(
    tasks: Sequence[Unit], jobs: dict[str, Any], board: Board, reporter: Reporter, stop: StopRequest
) -> list[Failure]:
    failures: dict[str, Failure] = {}
    waiting = list(tasks)  # trainings first, so that a cell's is known to have failed
    while waiting:
        if stop:
            _cancel([jobs[task.name] for task in waiting])
            raise stopped(stop)
        for task in list(waiting):
            job = jobs[task.name]
            if not job.done():
                board.set(task.name, "running" if job.state == "RUNNING" else "waiting")
                continue
            waiting.remove(task)
            if (error := job.exception()) is None:
                board.set(task.name, "done")
                continue
            board.set(task.name, "failed")
            failures[task.name] = (
                after(task, failures[task.needs])
                if task.needs in failures
                else failure(task, _message(error, job), 1)
            )
        board.tell()
        if waiting:
            time.sleep(POLL_S)
    board.tell(now=True)
    return list(failures.values())


def _cancel(jobs: Sequence[Any]) -> None:
    """Ask the jobs to stop and give them the time that Slurm gives to save their state."""
    for job in jobs:
        job.cancel(check=False)
    limit = time.monotonic() + END_S
    while time.monotonic() < limit and not all(job.done() for job in jobs):
        time.sleep(POLL_S)


def _message(error: BaseException, job: Any) -> str:
    """The last sentence of a job's error, without its traceback."""
    said = re.findall(r"^([\w.]+): (\S.*)$", str(error), re.MULTILINE)
    if "Traceback" not in str(error) or not said:
        return (
            f"its job {job.job_id} ended without a result (state {job.state}; out of memory or "
            f"time, or cancelled); its output is {job.paths.stderr}"
        )
    kind, sentence = said[-1]
    return sentence if kind.startswith("repro.") else f"{kind}: {sentence}"
