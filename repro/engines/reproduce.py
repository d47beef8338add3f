"""``repro reproduce`` as a function: plan cells, run them, give their results."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro import records
from repro.analysis.results import Results
from repro.data.dataset import Selection
from repro.data.registry import prepare
from repro.engines.local import default_jobs, run
from repro.learner.kernels import library
from repro.papers import paper, presets
from repro.papers.catalogue import SESSION, MethodSpec
from repro.system.errors import TrainingError, UsageError
from repro.system.interrupts import stop_requests
from repro.system.progress import ConsoleReporter, Reporter, Silent

if TYPE_CHECKING:
    from repro.papers.config import RunConfig


def reproduce(
    dataset: str = "glyphs",
    budget: str = "quick",
    methods: str | type | Iterable[str | type] = "paper",
    *,
    shots: Sequence[int] = paper.SHOTS,
    recipe: str = "authors-code",
    seed: int = 0,
    seeds: int = 1,
    data: str | Path | None = None,
    selection: Selection | None = None,
    runs: str | Path = "runs",
    precision: str = "auto",
    device: str = "auto",
    jobs: int = 1,
    force: bool = False,
    progress: bool = True,
) -> Results:
    """Train and test cells as ``repro reproduce``, with the same seeds, digests and folders.

    Finished cells are not run again, and a call that was interrupted goes on where it stopped.

    Args:
        dataset: a name as after ``--dataset``. data: where it is, when not prepared yet.
        budget: ``smoke``, ``quick`` or ``paper``, also ``smoke,n_test_episode=20``.
        methods: ``paper`` (its five rows), ``all``, names, ``path/to/file.py:Class``, or classes
            that follow :class:`repro.Method`.
        shots: support images per class. recipe: as after ``--recipe``.
        seed: the first training seed. seeds: how many from it.
        selection: of classes and image size, as ``--split`` and ``--image-size``.
        jobs: cells side by side; more than one needs ``if __name__ == "__main__":`` around the
            call in a script, as all of Python's processes do. A class of a notebook or script
            runs in this process.
    Raises:
        UsageError: an unknown name or an impossible choice. DataError: the images are not there.
        TrainingError: cells failed; those that did not are recorded. Interrupted: a stop was asked
        for.

    >>> import repro, tempfile
    >>> budget = "smoke,n_test_episode=4,n_validation_episode=2,pretrain=2"
    >>> options = {"shots": [5], "runs": tempfile.mkdtemp(), "progress": False}
    >>> repro.reproduce("glyphs", budget, "nearest_neighbor", **options).accuracy.shape
    (1, 4)
    """
    rows = _rows([methods] if isinstance(methods, str | type) else methods)
    wanted_recipe, wanted_budget = presets.recipe(recipe), presets.budget(budget, rows)
    _check(rows, shots, seed, seeds, jobs)
    import torch

    from repro.run.cell import plan
    from repro.run.context import RunContext

    device = _device(device)
    threads = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        reporter: Reporter = stack.enter_context(ConsoleReporter()) if progress else Silent()
        stop = stack.enter_context(stop_requests())
        stack.callback(torch.set_num_threads, threads)
        pack = prepare(
            dataset,
            None if data is None else Path(data),
            lambda done, total: reporter.report(f"prepare {dataset}", done, total),
            selection,
        )
        cells = plan(
            dataset, pack, rows, shots, range(seed, seed + seeds), wanted_recipe, wanted_budget,
            precision, device,
        )  # fmt: skip
        n_job = min(jobs, default_jobs(len(cells))) if device == "cpu" else 1
        n_thread = max(1, (os.cpu_count() or 1) // n_job)
        context = RunContext(Path(runs), pack, n_thread, device, force)
        failures = run(cells, context, n_job, reporter, stop, _command(dataset, budget, rows))
    if failures:
        raise TrainingError("; ".join(dict.fromkeys(failure.message for failure in failures)))
    return Results(_record(Path(runs), cell) for cell in cells)


def _rows(methods: Iterable[str | type]) -> list[MethodSpec]:
    """The rows asked for, each once, in the order of the first mention."""
    from repro.methods.registry import from_class, resolve

    found: dict[str, MethodSpec] = {}
    for method in methods:
        asked = [from_class(method)] if isinstance(method, type) else resolve([method])
        for row in asked:
            if found.setdefault(row.name, row) != row:
                raise UsageError(f"two methods are called {row.name}; give one another name")
    return list(found.values())


def _check(
    rows: Sequence[MethodSpec], shots: Sequence[int], seed: int, seeds: int, jobs: int
) -> None:
    if not rows or not shots:
        raise UsageError("expected is at least one method and one shot")
    for name, value, least in (("seed", seed, 0), ("seeds", seeds, 1), ("jobs", jobs, 1),
                               *(("shots", shot, 1) for shot in shots)):  # fmt: skip
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name} is a whole number from {least}, not {value!r}")
    here = [row.name for row in rows if row.source is not None and row.source.package == SESSION]
    if here and jobs > 1:
        raise UsageError(
            f"the code of {', '.join(here)} is in no file, so it runs in this process alone: leave "
            "out jobs, or put it into a file"
        )


def _device(asked: str) -> str:
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is auto, cpu or cuda, not {asked!r}")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: torch finds no GPU here; use cpu or auto")
    device = asked if asked != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        library.settle()
    return device


def _command(dataset: str, budget: str, rows: Sequence[MethodSpec]) -> str:
    named = ", ".join(row.name for row in rows)
    return f"repro.reproduce({dataset!r}, {budget!r}, [{named}])"


def _record(runs: Path, cell: RunConfig) -> records.Record:
    return records.read_record(records.cell_folder(runs, cell))
