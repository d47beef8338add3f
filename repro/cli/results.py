"""Commands that read records: table, check, publish and the figures. None needs torch.

The figures import seaborn when they are drawn, so that every other command starts at once.
"""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from repro import records
from repro.analysis.compare import pairs as pairs
from repro.analysis.compare import sides
from repro.analysis.selection import Selection, at_shots, one_budget, select
from repro.analysis.table import check as checks
from repro.analysis.table import table1
from repro.analysis.table.formats import as_text
from repro.analysis.table.verdicts import MARGIN
from repro.cli.options import RUNS, paper_option, runs_option, with_options
from repro.engines.planning import numbers
from repro.papers.pack import Paper
from repro.records import published_trainings, publishing
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


@click.command()
@source_options
@click.option(
    "--seed", type=int, help="Use only this training seed; by default all seeds of a cell."
)
@click.option("--shots", metavar="K[,K]", help="Only these shots; by default all.")
@margin_option
@paper_option
@click.option(
    "--format",
    "style",
    default="text",
    show_default=True,
    type=click.Choice(["text", "markdown", "csv", "latex", "json"]),
)
def table(
    dataset: str, source: str | None, runs: Path, recipe: str, budget: str | None,
    seed: int | None, shots: str | None, margin: float, of: Paper, style: str,
    task: dict[str, Any],
) -> None:  # fmt: skip
    """Show the paper's table: reported and measured accuracies, their differences and verdicts.

    A damaged record is named and left out, and the exit code is 1.

    Example: repro table --dataset mini-imagenet --from results --format markdown
    """
    damaged: list[RecordError] = []
    chosen, _ = chosen_records(dataset, source, runs, recipe, budget, seed, damaged, task)
    wanted = numbers(shots, "--shots") if shots else []
    chosen = at_shots(chosen, wanted)
    shown: Sequence[records.Record] = chosen.records
    if style == "latex" and budget is None:
        shown, told = one_budget(shown)
        if told:
            click.echo(told, err=True)
    left_out, table_of = chosen.left_out, of.table(dataset)
    built = table1.build(shown, dataset, margin / 100, left_out, chosen.apart, table_of, wanted)
    if style == "text" and sys.stdout.isatty():
        click.echo(as_text(built, shutil.get_terminal_size().columns))
    else:
        click.echo(built.format(style))
    for error in damaged:
        click.echo(f"error: left out of the table: {error}", err=True)
    sys.exit(1 if damaged else 0)


@click.command()
@source_options
@click.option("--pinned", is_flag=True, help="Compare runs with the published records.")
@click.option("--curves", is_flag=True, help="Compare unfinished trainings with published curves.")
@click.option("--reported", is_flag=True, help="Compare records with the paper (default).")
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if a number of the paper was not "
    "reproduced; a difference counts from 3 seeds on.",
)
@margin_option
@paper_option
def check(
    dataset: str, source: str | None, runs: Path, recipe: str, budget: str | None,
    pinned: bool, curves: bool, reported: bool, strict: bool, margin: float, of: Paper,
    task: dict[str, Any],
) -> None:  # fmt: skip
    """Compare measured with published (--pinned, --curves) or reported (--reported) numbers.

    Example: repro check --pinned --dataset glyphs
    """
    failed = False
    if pinned:
        if not RESULTS.is_dir():
            raise RecordError(
                f"--pinned needs published records under {RESULTS}, which is not here; published "
                "records lie in the folder results of a checkout: run the command there"
            )
        mine = read_source(dataset, "runs", runs)[0]
        lines, ok = checks.pinned(mine, records.read_records(RESULTS, dataset))
        click.echo("\n".join(lines))
        failed |= not ok
    if curves:
        from repro.analysis.reference_curves import against_published

        root = RESULTS if source == "results" else runs
        click.echo("\n".join(against_published(root, RESULTS, dataset.partition("@")[0])))
    if reported or not (pinned or curves):
        found, _ = read_source(dataset, source, runs)
        table_of = of.table(dataset)
        lines, failures = checks.reported(
            found, dataset, recipe, budget, margin=margin / 100, of=table_of, task=task
        )
        click.echo("\n".join([*lines, *(checks.strict_lines(failures) if strict else [])]))
        failed |= strict and bool(failures)
    sys.exit(1 if failed else 0)


@click.command()
@click.argument("cells", nargs=-1)
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@runs_option("copy")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS, show_default=True)
@click.option("--unsealed", is_flag=True,
              help="Also publish old records, whose digest covers neither commit nor "
                   "curve.")  # fmt: skip
@click.option("--trainings", is_flag=True,
              help="Only the newest checkpoints of unfinished trainings, to continue elsewhere "
                   "with `repro restore`; no test is needed.")  # fmt: skip
def publish(
    cells: tuple[str, ...], dataset: str, runs: Path, output: Path, unsealed: bool, trainings: bool
) -> None:  # fmt: skip
    """Copy finished CELLS with their curves and small checkpoints to results/.

    A cell is the folder of its record, or named as in `repro compare`: a method, or a method with
    fields (meta_lstm@k_shot=5,budget=quick,seed=1). Without CELLS, all are copied.

    Example: repro publish meta_lstm finetune@k_shot=5 --dataset mini-imagenet
    """
    from repro.data.pack import verify_pack
    from repro.data.registry import pack_of

    if trainings:
        if cells or unsealed:
            raise click.UsageError("--trainings takes neither CELLS nor --unsealed")
        for folder in published_trainings.publish_trainings(runs, output, dataset):
            click.echo(str(folder))
        return
    chosen = [sides.parse(text, records.methods_in(runs)) for text in cells]
    there = records.read_records(runs, dataset)
    for selector in chosen:
        if not any(selector.names(record) for record in there):
            raise RecordError(f"no finished run of {dataset} under {runs} matches {selector.text}")

    def wanted(record: records.Record) -> bool:
        return not chosen or any(selector.names(record) for selector in chosen)

    for digest in {record.digests["data"] for record in filter(wanted, there)}:
        if (pack := pack_of(dataset, digest)) is not None:
            verify_pack(pack)  # not numbers of images that were changed
    for folder in publishing.publish(runs, output, dataset, unsealed=unsealed, wanted=wanted):
        click.echo(str(folder))


@click.command()
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@runs_option("write")
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    default=RESULTS,
    show_default=True,
    help="Folder of the published records.",
)
def restore(dataset: str, runs: Path, source: Path) -> None:
    """Copy published trainings to runs/, to continue them or to share them with other methods.

    Example: repro restore --dataset mini-imagenet
    """
    for folder in published_trainings.restore(source, runs, dataset):
        click.echo(str(folder))
