"""``repro papers``: list the papers, check the file of one, and show where they disagree."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repro.system.errors import UsageError, near_miss

if TYPE_CHECKING:
    from repro.papers.disagreements import Disagreement
    from repro.papers.pack import Paper
    from repro.papers.reported import Reported


@click.group(invoke_without_command=True)
@click.pass_context
def papers(ctx: click.Context) -> None:
    """List the papers whose tables are known, check a paper of your own, and show disagreements.

    Example: repro papers check path/to/paper.toml
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_papers)


@papers.command("list")
def list_papers() -> None:
    """List the papers with their tables, and the errors of those that cannot be read.

    Example: repro papers list
    """
    from repro.papers import shelf

    found, errors = shelf.every()
    for paper in found:
        click.echo("\n".join(_lines(paper)))
    for error in errors:
        click.echo(error, err=True)


def _lines(paper: Paper) -> list[str]:
    lines = [f"{paper.key}: {paper.bibliography}"]
    for table in paper.tables:
        n_cell = sum(len(row.shots) for row in table.rows)
        lines.append(
            f"  {paper.key}:{table.key}: {table.name}, {table.dataset}, {table.n_way}-way; "
            f"{n_cell} cells, {len(table.methods)} of {len(table.rows)} rows have a method"
        )
    return lines


@papers.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def check_paper(file: Path) -> None:
    """Check that FILE (a paper.toml, or its folder) can be used with --paper.

    Example: repro papers check path/to/paper.toml
    """
    from repro.papers import reading, recipes, shelf

    path = file / reading.FILE if file.is_dir() else file
    found = reading.read(path)
    recipes.add(found)
    click.echo("\n".join(_lines(found)))
    if found.key in shelf.known() and found != shelf.find(found.key):
        click.echo(f"note: the key {found.key} is taken; use this file by its path")
    for sentence in _notes(found):
        click.echo(f"note: {sentence}")
    click.echo(f"{file} can be used: repro table --paper {file}")


def _notes(paper: Paper) -> list[str]:
    """What is allowed and may be a mistake."""
    import importlib.metadata

    from repro.data.registry import names
    from repro.papers.catalogue import BUILT_IN

    installed = {entry.name for entry in importlib.metadata.entry_points(group="repro.methods")}
    told = []
    for table in paper.tables:
        if table.dataset not in names():
            near = near_miss(table.dataset, names())
            told.append(
                f"{table.key}: the data set {table.dataset} is neither built in nor installed"
                f"{near}; no run can be held against this table"
            )
        for row in table.rows:
            for name in filter(None, (row.method, row.printed_as, *row.stands_for)):
                if name not in {*BUILT_IN, *installed}:
                    near = near_miss(name, [*BUILT_IN, *installed])
                    told.append(
                        f"{table.key}, {row.title}: the method {name} is neither built in nor "
                        f"installed{near}; to run it, name its file with --method FILE.py:CLASS"
                    )
    return told


@papers.command("disagree")
@click.option("--paper", "words", multiple=True, metavar="FILE",
              help="Also a paper of your own; may be given several times.")  # fmt: skip
@click.option("--dataset", help="Only the tables of this data set.")
@click.option("--format", "style", default="text", show_default=True,
              type=click.Choice(["text", "json"]))  # fmt: skip
def disagree(words: tuple[str, ...], dataset: str | None, style: str) -> None:
    """Show the cells that papers and public re-runs report differently, and known errata.

    Example: repro papers disagree --dataset mini-imagenet
    """
    from repro.papers import shelf
    from repro.papers.disagreements import disagreements

    known, errors = shelf.every([shelf.find(word) for word in words])
    datasets = {table.dataset for paper in known for table in paper.tables}
    if dataset is not None and dataset not in datasets:
        raise UsageError(
            f"no paper has a table on {dataset!r}{near_miss(dataset, datasets)} (there are tables "
            f"on: {', '.join(sorted(datasets))})"
        )
    found = [d for d in disagreements(known) if dataset in (None, d.dataset)]
    if style == "json":
        click.echo(json.dumps([_as_json(one) for one in found], indent=1, ensure_ascii=False))
        return
    for one in found:
        click.echo("\n".join([*_text(one), ""]))
    for paper in known:
        for erratum in paper.errata:
            click.echo(f"erratum of {paper.cite}: {erratum}")
    for error in errors:
        click.echo(error, err=True)


def _number(reported: Reported) -> str:
    mean = f"{100 * reported.mean:.2f}"
    if not math.isfinite(reported.half_width):
        return mean
    return f"{mean} ± {100 * reported.half_width:.2f}"


def _text(one: Disagreement) -> list[str]:
    lines = [f"{one.title}, {one.k_shot}-shot ({one.dataset}, {one.n_way}-way)"]
    for printed in one.printed:
        what = [*(["re-run"] if printed.rerun else []), *filter(None, [printed.told])]
        told = f" ({'; '.join(what)})" if what else ""
        lines.append(f"  {_number(printed.reported):12}  {printed.source}{told}")
    return lines


def _as_json(one: Disagreement) -> dict[str, object]:
    return {
        "dataset": one.dataset,
        "n_way": one.n_way,
        "k_shot": one.k_shot,
        "method": one.method,
        "printed": [
            {
                "mean": printed.reported.mean,
                "half_width": printed.reported.half_width
                if math.isfinite(printed.reported.half_width)
                else None,
                "source": printed.source,
                "told": printed.told,
                "rerun": printed.rerun,
            }
            for printed in one.printed
        ],
    }
