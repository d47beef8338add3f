"""Commands that show records: table and check. Neither needs torch."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from repro import records
from repro.analysis.selection import at_shots, one_budget
from repro.analysis.table import check as checks
from repro.analysis.table import table1
from repro.analysis.table.formats import as_text
from repro.cli.chosen import RESULTS, chosen_records, margin_option, read_source, source_options
from repro.cli.options import paper_option
from repro.engines.planning import numbers
from repro.papers.pack import Paper
from repro.system.errors import RecordError


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
