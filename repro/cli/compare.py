"""``repro compare`` and ``repro power``."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from repro import records
from repro.analysis.compare import pairs as pairs
from repro.analysis.compare import power_answers, power_text, sides
from repro.analysis.compare.formats import FORMATS, format_pairs
from repro.analysis.selection import select
from repro.analysis.table import table1
from repro.cli.chosen import RESULTS, margin_option, read_source, task_options
from repro.cli.options import paper_option, runs_option
from repro.papers import paper
from repro.papers.pack import Paper
from repro.system.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def side_options(function: F) -> F:
    """Which records are held against each other."""
    options = [
        click.argument("selectors", nargs=-1, metavar="[A B]..."),
        click.option("--dataset", "datasets", multiple=True,
                     help="Data set; may be given several times."),
        click.option("--from", "source", type=click.Choice(["runs", "results"]),
                     help="Records to read; by default those in runs/ if there are any, "
                          "else those in results/."),
        click.option("--recipe", default="authors-code", show_default=True,
                     help="Recipe of the sides that name none."),
        click.option("--budget",
                     help="Budget of the sides that name none; by default the largest of "
                          "each cell."),
    ]  # fmt: skip
    function = runs_option("read")(task_options(function))
    for option in reversed(options):
        function = option(function)
    return function


def _pairs(
    selectors: tuple[str, ...], datasets: tuple[str, ...], source: str | None, runs: Path,
    recipe: str, budget: str | None, task: dict[str, Any],
) -> list[pairs.Comparison]:  # fmt: skip
    if len(selectors) == 1:
        raise UsageError("name two sides or more, or none for all methods")
    known = records.methods_in(runs, RESULTS)
    chosen = [sides.parse(text, known) for text in selectors]
    folders = {s.text: records.read_record(s.folder) for s in chosen if s.folder is not None}
    names = list(datasets) or ["glyphs"]
    if chosen and len(folders) == len(chosen):
        found: dict[str, list[records.Record]] = {"": []}  # folders alone need no data set
    else:
        named = [s.fields["dataset"] for s in chosen if "dataset" in s.fields]
        if named and not datasets and len(named) + len(folders) == len(chosen):
            names = named[:1]
        found = {name: read_source(name, source, runs)[0] for name in dict.fromkeys(names)}
    others = {s.fields["dataset"] for s in chosen if "dataset" in s.fields} - set(found)
    elsewhere = {name: read_source(name, source, runs)[0] for name in sorted(others)}
    groups = sides.gather(chosen, found, recipe, budget, folders, elsewhere, task)
    return pairs.all_pairs(groups)


@click.command()
@side_options
@click.option("--format", "style", default="text", show_default=True, type=click.Choice(FORMATS))
def compare(
    selectors: tuple[str, ...], datasets: tuple[str, ...], source: str | None, runs: Path,
    recipe: str, budget: str | None, style: str, task: dict[str, Any],
) -> None:  # fmt: skip
    """Compare A and B on the same episodes. Three or more names: every pair. None: all methods.

    A or B is a method (meta_lstm), a method with fields that choose its records
    (meta_lstm@recipe=paper,budget=quick,seed=1,k_shot=5,n_way=5,dataset=glyphs), or the folder of
    a record. The default data set is glyphs. A switch of the recipe is a field, too
    (meta_lstm@query_batch_norm=query), and at_step=40000 is the milestone of this step.

    Without seed=, all training seeds are used. If a side has several seeds, the interval covers
    seeds and episodes. If only one side has several, the other is assumed to vary as much, and
    the output says so. Two tests of the same trainings are compared on the seeds that both have.
    Records of different episodes or images cannot be compared.

    Example: repro compare meta_lstm finetune --dataset mini-imagenet --from results
    """
    found = _pairs(selectors, datasets, source, runs, recipe, budget, task)
    click.echo(format_pairs(found, style), nl=False)


@click.command()
@side_options
@margin_option
@paper_option
@click.option("--episodes", type=click.IntRange(min=2), default=paper.N_TEST_EPISODE,
              show_default=True, help="Test episodes of a run that is compared with the "
                              "paper.")  # fmt: skip
@click.option("--seed-sd", type=click.FloatRange(min=0, min_open=True), default=1.0,
              show_default=True, help="Standard deviation between training seeds in points, "
                              "where it was not measured.",
              )  # fmt: skip
@click.option("--format", "style", default="text", show_default=True,
              type=click.Choice(["text", "json"]))  # fmt: skip
def power(
    selectors: tuple[str, ...], datasets: tuple[str, ...], source: str | None, runs: Path,
    recipe: str, budget: str | None, margin: float, of: Paper, episodes: int, seed_sd: float,
    style: str, task: dict[str, Any],
) -> None:  # fmt: skip
    """Compute how many episodes and seeds are needed to tell A from B, or a run from the paper.

    A and B are named as in `repro compare`; their default data set is glyphs. Without A and B:
    for each cell of the paper's table, how probably a run with the paper's true accuracy is called
    equivalent, and how many episodes are needed. The tests have a 5% error rate, the target is
    80% power, and the default data set is mini-imagenet.

    Example: repro power meta_lstm finetune --dataset mini-imagenet --from results
    """
    if selectors:
        found = [
            power_answers.of_pair(pair, margin / 100, seed_sd / 100)
            for pair in _pairs(selectors, datasets, source, runs, recipe, budget, task)
        ]
        if style == "json":
            click.echo(power_answers.as_json(found), nl=False)
        for answer in found if style == "text" else ():
            click.echo("\n".join(power_text.of_pair(answer)))
        return
    listed = []
    for name in datasets or ("mini-imagenet",):
        chosen = select(read_source(name, source, runs)[0], recipe, budget, task=task)
        shown = of.table(name)
        table = table1.build(chosen.records, name, margin / 100, chosen.left_out, of=shown)
        cells = [
            power_answers.of_cell(
                cell,
                cell.reported,
                name,
                margin / 100,
                episodes,
                shown.n_episode or paper.N_TEST_EPISODE,
            )
            for cell in table.cells
            if cell.reported and cell.in_paper and math.isfinite(cell.reported.half_width)
        ]
        listed += cells
        if style == "text":
            of_task = table.task.told or f"{table.task.n_way}-way"
            none = [
                f"No cell has a reported number with an interval ({of_task}); name A and B instead."
            ]
            told = power_text.against_paper(cells, shown) if cells else none
            click.echo("\n".join([table.title, *told]))
    if style == "json":
        click.echo(power_answers.as_json(listed), nl=False)
