"""Options of commands that read records, and the records they choose."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from repro import records
from repro.analysis.compare import pairs as pairs
from repro.analysis.selection import Selection, select
from repro.analysis.table.verdicts import MARGIN
from repro.cli.options import RUNS, runs_option, with_options
from repro.system.errors import RecordError, unknown

margin_option = click.option(
    "--margin", type=click.FloatRange(min=0, min_open=True), default=100 * MARGIN,
    show_default=True, help="Margin of equivalence with the paper, in points.",
)  # fmt: skip
F = TypeVar("F", bound=Callable[..., Any])
RESULTS = Path("results")
FIGURES = Path("figures")


def task_options(function: F) -> F:
    """Of which task the records are; the command receives ``task``: what was asked for."""

    @functools.wraps(function)
    def call(*words: Any, n_way: int | None, n_query: int | None, test_dataset: str | None,
        **options: Any,
    ) -> Any:  # fmt: skip
        asked = {"n_way": n_way, "n_query": n_query, "test_dataset": test_dataset}
        given = {name: value for name, value in asked.items() if value is not None}
        return function(*words, task=given, **options)

    options = [
        click.option("--n-way", type=click.IntRange(min=2),
                     help="Classes of an episode; by default 5 if there are such records."),
        click.option("--n-query", type=click.IntRange(min=1),
                     help="Queries of each class; by default 15 if there are such records."),
        click.option("--test-dataset", metavar="NAME",
                     help="Tests on another data set than the training's."),
    ]  # fmt: skip
    decorated: F = with_options(call, options)
    return decorated


def source_options(function: F) -> F:
    """Which records are read."""
    options = [
        click.option("--dataset", default="glyphs", show_default=True, help="Data set."),
        click.option("--from", "source", type=click.Choice(["runs", "results"]),
                     help="Records to read; by default those in runs/ if there are any, "
                          "else those in results/."),
        click.option("--recipe", default="authors-code", show_default=True, help="Recipe."),
        click.option("--budget", help="Budget; by default the largest of each cell."),
    ]  # fmt: skip
    function = runs_option("read")(task_options(function))
    decorated: F = with_options(function, options)
    return decorated


def read_source(
    dataset: str, source: str | None, runs: Path, damaged: list[RecordError] | None = None
) -> tuple[list[records.Record], str]:
    """The records asked for, and whether they are ``runs`` or ``results``.

    ``folder@1a2b3c4d`` are those on the images (pack digest) that begin so.

    Args:
        damaged: takes the errors of records that cannot be read, when others can.
    """
    dataset, _, images = dataset.partition("@")
    for name, root in (("runs", runs), ("results", RESULTS)):
        if source in (None, name):
            found = [
                record
                for record in records.read_records(root, dataset, damaged=damaged)
                if record.digests.get("data", "").startswith(images)
            ]
            if damaged and not found:
                raise damaged[0]
            if found or source == name:
                if not found:
                    raise no_records(dataset, str(root))
                return found, name
    from repro.data.registry import names

    there = {path.name for root in (runs, RESULTS) if root.is_dir() for path in root.iterdir()}
    if dataset not in {*names(), *there}:
        raise unknown("dataset", dataset, names())
    raise no_records(dataset, f"{runs} or {RESULTS}")


def no_records(dataset: str, where: str) -> RecordError:
    """Says how records are made, and where the published ones are if this is no checkout."""
    hint = "" if RESULTS.is_dir() else (
        "; published records lie in the folder results of a checkout: run the command there or "
        "name that folder with --runs"
    )  # fmt: skip
    return RecordError(
        f"no records of {dataset} under {where}; run `repro reproduce --dataset {dataset}` first"
        f"{hint}"
    )


def chosen_records(
    dataset: str, source: str | None, runs: Path, recipe: str, budget: str | None,
    seed: int | None = None, damaged: list[RecordError] | None = None,
    task: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[Selection, str]:  # fmt: skip
    """The records shown of each cell, and whether they are ``runs`` or ``results``.

    Args:
        damaged: as :func:`read_source`.
    """
    found, name = read_source(dataset, source, runs, damaged)
    chosen = select(found, recipe, budget, seed, task)
    if not chosen.records:
        raise RecordError(
            f"no record of {dataset} has recipe {recipe}"
            + (f" and budget {budget}" if budget else "")
            + (f" and seed {seed}" if seed is not None else "")
            + "".join(f" and --{name.replace('_', '-')} {value}" for name, value in task.items())
            + f"; there are budgets {', '.join(sorted({r.budget_name for r in found}))}"
            + f" and recipes {', '.join(sorted({r.recipe_name for r in found}))}"
        )
    return chosen, name


def figure_folder(output: Path | None, runs: Path, dataset: str, source: str) -> Path:
    """Where figures of the records go that are from ``runs`` or ``results``."""
    if output is not None:
        return output
    if source != "runs":
        return FIGURES / dataset
    from repro.records.remote.mirror import is_mirror

    # Who only reads from a URL writes nothing there, nor into its mirror.
    return (RUNS if is_mirror(runs) else runs) / dataset / "figures"
