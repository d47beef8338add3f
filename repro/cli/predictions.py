"""``repro episodes export`` and ``repro import``: episodes to others, their predictions back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.data import episodes
from repro.cli.options import SHAPE, runs_option, with_options
from repro.system import storage
from repro.system.errors import UsageError

if TYPE_CHECKING:
    from repro.episodes.images import Episodes

F = TypeVar("F", bound=Callable[..., Any])


def episode_options(function: F) -> F:
    """Which fixed episodes are meant."""
    options = [
        click.option("--data", "root", type=click.Path(path_type=Path),
                     help="Folder or archive with the images."),
        click.option("--k-shot", type=click.IntRange(min=1), default=5, show_default=True,
                     help="Support images per class."),
        *SHAPE,
        click.option("--budget", default="paper", show_default=True, metavar="NAME[,field=n]",
                     help="As many test episodes as this budget has."),
    ]  # fmt: skip
    decorated: F = with_options(function, options)
    return decorated


def _episodes(
    dataset: str, root: Path | None, k_shot: int, n_way: int, n_query: int, budget: str,
    split: str = "test",
) -> Episodes:  # fmt: skip
    from repro.episodes.images import episodes as of

    return of(dataset, split, k_shot, budget=budget, n_way=n_way, n_query=n_query, data=root)


@episodes.command("export")
@click.argument("dataset")
@episode_options
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to write, .json or .csv.",
)
@click.option("--pixels", type=click.Path(path_type=Path, dir_okay=False),
              help="Also write the images of the split, a .npy file.")  # fmt: skip
def export_episodes(
    dataset: str, split: str, output: Path, pixels: Path | None, **options: Any
) -> None:
    """Write the fixed episodes for people without this package: images, order, labels, digest.

    Example: repro episodes export glyphs --k-shot 5 --output episodes.json
    """
    if pixels is not None and pixels.suffix.lower() != ".npy":
        raise UsageError(f"images are written as .npy, not as {pixels.suffix or pixels.name}")
    found = _episodes(dataset, split=split, **options)
    digest = found.export(output)
    click.echo(f"{output}: {found}; digest {digest}")
    if pixels is not None:
        with storage.atomic_path(pixels) as temporary:
            shutil.copyfile(found.pack / f"{split}.npy", temporary)
        shape = list(found.split.images.shape)
        click.echo(f"{pixels}: uint8 {shape}; a row of the episodes is a row of it")


def _columns(text: str | None) -> dict[str, str]:
    """``{"episode": "task"}`` from ``episode=task``."""
    found = {}
    for part in filter(None, (text or "").split(",")):
        field, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not name:
            raise UsageError(
                f"--columns is such as episode=task,query=index,label=predicted, not {text!r}"
            )
        found[field] = name
    return found


@click.command("import")
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="Name of the row, for people.")
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@episode_options
@click.option("--digest", help="Digest that the export printed; not needed where the file has it.")
@click.option(
    "--columns",
    metavar="FIELD=NAME[,…]",
    help="Names of the columns episode, query, label and digest in a CSV file.",
)
@click.option(
    "--row",
    metavar="NAME",
    help="Name of the row in options and folders, without outside_; by default made from --name.",
)
@click.option("--origin", default="", help="Where the predictions are from: a paper, a commit.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Training seed, where there are several.",
)
@click.option(
    "--transductive", is_flag=True, help="A prediction depends on the other queries of its episode."
)
@click.option("--force", is_flag=True, help="Replace other predictions of this name and seed.")
@runs_option("write")  # fmt: skip
def import_(
    predictions: Path, name: str, dataset: str, digest: str | None, columns: str | None,
    row: str | None, origin: str, seed: int, transductive: bool, force: bool, runs: Path,
    **options: Any,
) -> None:  # fmt: skip
    """Make a record of PREDICTIONS that were made elsewhere: an outside row.

    PREDICTIONS is a file: .csv with the columns episode, query and label (or score_0 to score_4),
    .jsonl with such lines or one line an episode, or .npy of labels [n_episode, n_query] or scores
    [n_episode, n_query, n_way]. Queries are in the order of `repro episodes export`.

    Example: repro import predictions.csv --name "Their method" --k-shot 5 --dataset mini-imagenet
    """
    from repro.analysis.statistics.intervals import mean_interval
    from repro.analysis.table import table1
    from repro.run.outside import import_predictions
    from repro.run.provenance import command_line

    found = _episodes(dataset, **options)
    record = import_predictions(
        predictions, found, name, digest=digest, columns=_columns(columns), row=row,
        origin=origin, seed=seed, transductive=transductive, runs=runs, force=force,
        command=command_line(),
    )[0]  # fmt: skip
    click.echo(table1.result(record))
    interval, chance = mean_interval(record.accuracy), 1 / found.spec.n_way
    if interval.low <= chance <= interval.high:
        click.echo("that is the accuracy of chance: are queries and labels in the order of the "
                   "export?", err=True)  # fmt: skip
    click.echo(f"its name in options is {record.method}: repro compare {record.method} METHOD "
               f"--dataset {record.dataset}")  # fmt: skip
