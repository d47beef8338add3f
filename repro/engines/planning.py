"""From what was asked for to the cells and where they run; for the commands and the functions."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repro.engines.frozen import Frozen
from repro.learner.kernels import library
from repro.papers import budgets, paper, recipes
from repro.system.errors import UsageError

if TYPE_CHECKING:
    from repro.data.dataset import Selection
    from repro.engines.ray.cluster import RayOptions
    from repro.engines.slurm.options import SlurmOptions
    from repro.papers.config import RunConfig, Split
    from repro.papers.method_spec import MethodSpec
    from repro.records.remote.session import Session
    from repro.run.context import RunContext
    from repro.system.interrupts import StopRequest
    from repro.system.progress import Reporter


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What training and testing can be asked for, as the options of the commands have it.

    Attributes:
        jobs: a number, or ``auto``. milestones: steps such as ``10000,40000``.
        session: where ``runs`` mirrors a URL that this process drives.
        split: that the cells are tested on. n_way, n_query: of the tested episodes.
        frozen: features that heads work on, each another row.
        test_dataset: whose meta-test images are tested in place of the training's own; test_root:
            where they are.
    """

    dataset: str
    root: Path | None
    budget: str
    recipe: str
    seed: int
    seeds: int
    precision: str
    device: str
    jobs: str
    runs: Path
    force: bool
    selection: Selection | None
    session: Session | None = None
    milestones: str | None = None
    train_k_shot: int | None = None
    at_step: int | None = None
    threads: int | None = None
    only_training: bool = False
    unfinished: bool = False
    ray: RayOptions | None = None
    slurm: SlurmOptions | None = None
    split: Split = "test"
    frozen: Frozen = field(default_factory=Frozen)
    n_way: int = paper.N_WAY
    n_query: int = paper.N_QUERY
    test_dataset: str | None = None
    test_root: Path | None = None


@dataclass(frozen=True)
class Planned:
    """The cells, the pack that they run on, where they run, and how many at once."""

    pack: Path
    cells: list[RunConfig]
    context: RunContext
    jobs: int


def plan_cells(
    rows: Sequence[MethodSpec],
    shots: Sequence[int],
    asked: RunOptions,
    reporter: Reporter,
    stop: StopRequest,
    n_task: int | None = None,
) -> Planned:
    """Prepare the data and plan the cells; nothing is trained yet.

    Args:
        n_task: how many tasks there are, where not one per cell.
    Raises:
        UsageError: an unknown name or an impossible choice. DataError: the images are not there.
    """
    recipe, budget = recipes.recipe(asked.recipe), budgets.budget(asked.budget, rows)

    from repro.data.pack import open_pack
    from repro.data.preparing import prepare, prepare_test
    from repro.engines.local import default_jobs, needed
    from repro.run.cell import plan
    from repro.run.context import RunContext

    if asked.test_root is not None and asked.test_dataset is None:
        raise UsageError("--test-data is the place of --test-dataset NAME; name that, too")
    if asked.test_dataset is not None and asked.ray is not None:
        raise UsageError("--test-dataset does not work with --engine ray; leave out one")
    if asked.test_dataset is not None and asked.frozen:
        raise UsageError(
            "--test-dataset does not work with --features and --backbone, which are of one data "
            "set; leave out one"
        )
    device, name = device_of(asked), asked.dataset
    pack = prepare(
        name, asked.root,
        lambda done, total: reporter.report(f"prepare {name}", done, total), asked.selection,
    )  # fmt: skip
    test_pack = None
    if asked.test_dataset is not None:
        test_pack = prepare_test(
            asked.test_dataset, asked.test_root, open_pack(pack, "train").image_size,
            lambda done, total: reporter.report(f"prepare {asked.test_dataset}", done, total),
        )  # fmt: skip
    planned = functools.partial(
        plan, name.partition("@")[0], pack, recipe=recipe, budget=budget,
        precision=asked.precision, device=device, train_k_shot=asked.train_k_shot,
        at_step=asked.at_step, on=asked.split, n_way=asked.n_way, n_query=asked.n_query,
        test_pack=test_pack,
    )  # fmt: skip
    seeds = range(asked.seed, asked.seed + asked.seeds)
    cells = planned(rows, shots, seeds)
    if asked.frozen:
        threads = asked.threads or os.cpu_count() or 1
        context = RunContext(asked.runs, pack, threads, device)
        for seed in seeds:
            (cell,) = planned(["nearest_neighbor"], shots[:1], [seed])
            first = seed == asked.seed
            cells += planned(asked.frozen.rows(cell, first, context, reporter, stop), shots, [seed])
    marks = tuple(numbers(asked.milestones, "--milestones")) if asked.milestones else ()
    _check_milestones(cells, marks, asked.at_step)
    if asked.session is not None:
        asked.session.stops(stop)
        asked.session.need(needed(cells, asked.runs, asked.force or asked.only_training))
    n_job = default_jobs(n_task or len(cells))
    if asked.jobs != "auto":
        (n_job, *_) = numbers(asked.jobs, "--jobs")
    light = all(cell.row.features for cell in cells)  # a process costs more than such a cell
    n_job = 1 if device != "cpu" or light else max(1, n_job)
    n_thread = asked.threads or max(1, (os.cpu_count() or 1) // n_job)
    if asked.ray is not None:
        n_thread = asked.ray.threads
    if asked.slurm is not None:
        n_thread = asked.slurm.threads
    context = RunContext(
        asked.runs, pack, n_thread, device, asked.force, asked.unfinished, marks,
        test_pack=test_pack,
    )  # fmt: skip
    return Planned(pack, cells, context, n_job)


def device_of(asked: RunOptions) -> str:
    """``cpu`` or ``cuda``: of the nodes where cells run on a cluster, else of this machine.

    Raises:
        UsageError: an unknown device, or one that is not here.
    """
    device = asked.device
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device is auto, cpu or cuda, not {device!r}")
    if asked.ray is not None:
        if asked.frozen:
            raise UsageError("frozen features work with --engine local only")
        if asked.milestones:
            raise UsageError("--milestones works with --engine local only")
        return device if device != "auto" else "cuda" if asked.ray.gpus_per_cell else "cpu"
    if asked.slurm is not None:
        if asked.session is not None:
            raise UsageError("--engine slurm needs a folder of runs that all nodes see, not a URL")
        return device if device != "auto" else "cuda" if asked.slurm.has_gpu else "cpu"
    return device_here(device)


def device_here(device: str) -> str:
    """``cpu`` or ``cuda`` of this machine.

    Raises:
        UsageError: there is no GPU here.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: torch finds no GPU here; use cpu or auto")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        library.settle()
    return device


def numbers(text: str, name: str) -> list[int]:
    """Whole numbers from ``1,5``, as the value of an option ``name``.

    Raises:
        UsageError: it is something else.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{name} is a list of whole numbers such as 1,5, not {text!r}") from None
    if min(found) < (1 if name == "--shots" else 0):
        raise UsageError(f"{name} cannot be {text}")
    return found


def _check_milestones(
    cells: Sequence[RunConfig], marks: tuple[int, ...], at_step: int | None
) -> None:
    """Refuse what no training of the cells can have, before anything runs."""
    from repro.records.milestones import check

    for cell in cells:
        training = cell.training()
        asked = (*marks, *(() if at_step is None else (at_step,)))
        if training is not None:
            check(asked, training.n_step, training.training)
        elif asked:
            raise UsageError(f"{cell.method} has no training, so no milestones")
