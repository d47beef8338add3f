"""Commands that hold records against each other, and tell what more of them would show."""

from __future__ import annotations

from pathlib import Path

import click

from repro import records
from repro.analysis import compare as pairs
from repro.analysis.compare_formats import FORMATS, format_pairs
from repro.cli_results import read_source
from repro.errors import UsageError


@click.command()
@click.argument("selectors", nargs=-1, metavar="[A B]...")
@click.option("--dataset", "datasets", multiple=True, help="Data set; may be given several times.")
@click.option("--from", "source", type=click.Choice(["runs", "results"]),
              help="Default: runs when there are any, else results.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
              help="Where runs are.")  # fmt: skip
@click.option("--recipe", default="authors-code", show_default=True,
              help="Of sides that name none.")  # fmt: skip
@click.option("--budget", help="Of sides that name none; by default the largest of each cell.")
@click.option("--format", "style", default="text", show_default=True, type=click.Choice(FORMATS))
def compare(
    selectors: tuple[str, ...], datasets: tuple[str, ...], source: str | None, runs: Path,
    recipe: str, budget: str | None, style: str,
) -> None:  # fmt: skip
    """Hold A against B, episode by episode; more sides: all pairs; none: all methods.

    A side is a method (meta_lstm), a method with fields to choose its records by
    (meta_lstm@recipe=paper,budget=quick,seed=1,k_shot=5,dataset=glyphs), or the folder of a
    record. Without seed=, all training seeds of a side's configuration are used, and where both
    sides have several the interval covers seeds and episodes. Records of other episodes or images
    are refused.

    Example: repro compare meta_lstm finetune --dataset mini-imagenet --from results
    """
    if len(selectors) == 1:
        raise UsageError("name two sides or more, or none for all methods")
    chosen = [pairs.parse(text) for text in selectors]
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
    groups = pairs.gather(chosen, found, recipe, budget, folders, elsewhere)
    click.echo(format_pairs(pairs.all_pairs(groups), style), nl=False)
