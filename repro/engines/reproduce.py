"""``repro reproduce`` as a function: plan cells, run them, give their results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repro import records
from repro.analysis.results import Results
from repro.data.dataset import Selection
from repro.engines.frozen import Frozen
from repro.engines.local import run
from repro.engines.planning import RunOptions, plan_cells
from repro.papers import recipes, shelf
from repro.papers.method_spec import SESSION, MethodSpec
from repro.papers.paper import N_QUERY, N_WAY
from repro.system.errors import TrainingError, UsageError
from repro.system.given import local_folder, whole_number
from repro.system.interrupts import stop_requests
from repro.system.progress import ConsoleReporter, Reporter, Silent


def reproduce(
    dataset: str = "glyphs",
    budget: str = "quick",
    methods: str | type | Iterable[str | type] = "paper",
    *,
    paper: str = shelf.DEFAULT,
    shots: Sequence[int] | None = None,
    n_way: int = N_WAY,
    n_query: int = N_QUERY,
    recipe: str = "authors-code",
    seed: int = 0,
    seeds: int = 1,
    data: str | Path | None = None,
    selection: Selection | None = None,
    test_dataset: str | None = None,
    test_data: str | Path | None = None,
    runs: str | Path = "runs",
    precision: str = "auto",
    device: str = "auto",
    jobs: int = 1,
    force: bool = False,
    progress: bool = True,
    features: str | Iterable[str] = (),
    backbone: str | Iterable[str] = (),
) -> Results:
    """Train and test cells as ``repro reproduce``, with the same seeds, digests and folders.

    Finished cells are not run again, and a call that was interrupted goes on where it stopped.

    Args:
        dataset: a name as after ``--dataset``. data: where it is, when not prepared yet.
        budget: ``smoke``, ``quick`` or ``paper``, also ``smoke,n_test_episode=20``.
        methods: ``paper`` (the rows of its table that can be run), ``all``, names,
            ``path/to/file.py:Class``, or classes that follow :class:`repro.Method`. With features
            also heads, and by default ``heads``.
        paper: its key or file, as after ``--paper``.
        shots: support images per class; None: those of the paper's table.
        n_way: classes of a test episode. n_query: queries of each class. What the paper does not
            report at a size is held against none of its numbers.
        recipe: as after ``--recipe``.
        seed: the first training seed. seeds: how many from it.
        selection: of classes and image size, as ``--split`` and ``--image-size``.
        test_dataset: tested on the meta-test classes of this data set in place of the training's
            own. test_data: where it is, when not prepared yet.
        jobs: cells side by side; more than one needs ``if __name__ == "__main__":`` around the
            call in a script, as all of Python's processes do. A class of a notebook or script
            runs in this process.
        features, backbone: what heads work on, as after ``--features`` and ``--backbone``.
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
    folder, n_way = local_folder(runs), whole_number("n_way", n_way, 2)
    n_query, seed = whole_number("n_query", n_query, 1), whole_number("seed", seed)
    seeds, jobs = whole_number("seeds", seeds, 1), whole_number("jobs", jobs, 1)
    of = shelf.find(paper)
    recipes.add(of)
    table = of.table(dataset)
    shots = table.shots if shots is None else _shots(shots)
    listed = _methods(methods)
    words = [method for method in listed if isinstance(method, str)]
    frozen, names = Frozen(_listed(features), _listed(backbone)).with_heads(
        words, methods != "paper"
    )
    asked_for = [method for method in listed if isinstance(method, type) or method in names]
    rows = _rows(m for one in asked_for for m in (table.methods if one == "paper" else (one,)))
    _check(len(rows) + len(frozen.heads), rows, shots, jobs)
    asked = RunOptions(
        dataset=dataset, root=None if data is None else Path(data), budget=budget, recipe=recipe,
        seed=seed, seeds=seeds, precision=precision, device=device, jobs=str(jobs),
        runs=folder, force=force, selection=selection, frozen=frozen, n_way=n_way,
        n_query=n_query, test_dataset=test_dataset,
        test_root=None if test_data is None else Path(test_data),
    )  # fmt: skip
    import torch

    threads = torch.get_num_threads()
    with contextlib.ExitStack() as stack:
        reporter: Reporter = stack.enter_context(ConsoleReporter()) if progress else Silent()
        stop = stack.enter_context(stop_requests())
        stack.callback(torch.set_num_threads, threads)
        planned = plan_cells(rows, shots, asked, reporter, stop)
        names = list(dict.fromkeys(cell.method for cell in planned.cells))
        command = f"repro.reproduce({dataset!r}, {budget!r}, [{', '.join(names)}])"
        failures = run(planned.cells, planned.context, planned.jobs, reporter, stop, command)
    if failures:
        raise TrainingError("; ".join(dict.fromkeys(failure.message for failure in failures)))
    folders = (records.cell_folder(folder, cell) for cell in planned.cells)
    return Results(records.read_record(folder) for folder in folders)


def _methods(methods: Any) -> list[str | type]:
    """What was asked for as a list; UsageError where something is neither name nor class."""
    several = isinstance(methods, Iterable) and not isinstance(methods, str | type)
    found = []
    for method in methods if several else (methods,):
        if not isinstance(method, str | type):
            kind = type(method).__name__
            raise UsageError(
                f"methods are names, FILE.py:CLASS or classes, and one is an object of {kind}; "
                "give the class itself"
            )
        found.append(method)
    return found


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


def _listed(words: str | Iterable[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def _shots(shots: Iterable[int]) -> list[int]:
    if isinstance(shots, str) or not isinstance(shots, Iterable):
        raise UsageError(f"shots is a list of whole numbers such as [1, 5], not {shots!r}")
    return [whole_number("shots", shot, 1) for shot in shots]


def _check(n_row: int, rows: Sequence[MethodSpec], shots: Sequence[int], jobs: int) -> None:
    if not n_row or not shots:
        raise UsageError("expected is at least one method and one shot")
    here = [row.name for row in rows if row.source is not None and row.source.package == SESSION]
    if here and jobs > 1:
        raise UsageError(
            f"the code of {', '.join(here)} is in no file, so it runs in this process alone: leave "
            "out jobs, or put it into a file"
        )
