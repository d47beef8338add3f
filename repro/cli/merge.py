"""``repro merge``: the records of several people in one folder."""

from __future__ import annotations

from pathlib import Path

import click

from repro.records import merging


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    metavar="A B...",
    type=click.Path(path_type=Path, file_okay=False),
)
@click.option(
    "--into",
    "target",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write; not there yet.",
)
@click.option("--dataset", "datasets", multiple=True,
              help="Only this data set; may be given several times.")  # fmt: skip
def merge(folders: tuple[Path, ...], target: Path, datasets: tuple[str, ...]) -> None:
    """Join the records of the folders of runs A and B in a new folder.

    Records of other images, episodes or numerics revisions than the rest, damaged ones, and cells
    with two outcomes are refused by name; then nothing is written. A cell that both have is taken
    once. Checkpoints and ablations are not copied.

    Example: repro merge runs ~/theirs/runs --into both
    """
    if len(folders) < 2:
        raise click.UsageError("name two folders of runs or more")
    cells = merging.merge(folders, target, datasets)
    click.echo(f"{target}: {len(cells):,} cells; repro table --runs {target} shows them")
