"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
from click.core import ParameterSource

from repro.engines.ray.cluster import RayOptions
from repro.engines.slurm.options import SlurmOptions
from repro.papers import paper
from repro.papers.config import MAX_WAY
from repro.papers.pack import Paper
from repro.system.errors import ReproError

F = TypeVar("F", bound=Callable[..., Any])
RUNS = Path("runs")


# The size of the episodes that are drawn.
SHAPE = [
    click.option("--n-way", type=click.IntRange(2, MAX_WAY), default=paper.N_WAY,
                 show_default=True, help="Classes per episode."),
    click.option("--n-query", type=click.IntRange(min=1), default=paper.N_QUERY,
                 show_default=True, help="Queries of each class."),
]  # fmt: skip


def with_options(function: Any, options: Sequence[Callable[[Any], Any]]) -> Any:
    """The function with click's options, shown in their order."""
    for option in reversed(options):
        function = option(function)
    return function


class FolderOrUrl(click.ParamType[Path | str]):
    """A folder as a path; what fsspec knows, such as s3://bucket/prefix, as the URL it is."""

    name = "folder or URL"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        if not isinstance(value, str):
            return Path(value)
        if value.startswith(("file://", "local://")):
            return Path(value.partition("://")[2])
        return value if "://" in value else Path(value)


def _given(name: str) -> bool:
    """Whether an option was named on the command line."""
    ctx = click.get_current_context(silent=True)
    return ctx is not None and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE


def runs_option(access: Literal["read", "copy", "write", "drive"]) -> Callable[[F], F]:
    """``--runs``; the command receives a folder, the mirror of what a URL names.

    Args:
        access: read records; copy everything; write: be the only one who writes there; or drive:
            as write, and the command receives ``session``, None for a folder.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(*words: Any, runs: Path | str, **options: Any) -> Any:
            take_over = options.pop("take_over", False)
            if "source" in options and options["source"] is None and _given("runs"):
                options["source"] = "runs"  # who names a place is not shown another one
            if access == "drive":
                options["session"] = None
            if isinstance(runs, Path):
                return function(*words, runs=runs, **options)
            from repro.records.remote import session
            from repro.records.remote.refusals import shown

            say = functools.partial(click.echo, err=True)
            if access in ("write", "drive"):
                with session.drive(runs, take_over, say) as driving:
                    if access == "drive":
                        options["session"] = driving
                    return function(*words, runs=driving.folder, **options)
            if options.get("source") == "results":
                return function(*words, runs=RUNS, **options)
            folder = session.read(runs, access, say)
            try:
                return function(*words, runs=folder, **options)
            except ReproError as error:  # the user knows the URL, not the cache
                error.args = (str(error).replace(str(folder), shown(runs)),)
                raise

        decorated: Any = call
        if access in ("write", "drive"):
            flag = click.option("--take-over", is_flag=True,
                                help="Write although another process holds the lease; "
                                "only if it has died.")  # fmt: skip
            decorated = flag(decorated)
        wanted = "Folder or URL of the runs."
        option = click.option("--runs", type=FolderOrUrl(), default=str(RUNS), show_default=True,
                              metavar="FOLDER|URL", help=wanted)  # fmt: skip
        found: F = option(decorated)
        return found

    return decorate


def _paper(_ctx: click.Context, _param: click.Parameter, word: str) -> Paper:
    from repro.papers import recipes, shelf

    found = shelf.find(word)
    recipes.add(found)
    return found


# The command receives ``of``: the paper, whose recipes have names from here on.
paper_option = click.option(
    "--paper", "of", default="ravi2017", show_default=True, metavar="KEY|FILE", callback=_paper,
    help="Paper to compare with.",
)  # fmt: skip


def selection_options(function: F) -> F:
    """What is chosen of a data set; the command receives ``selection``."""

    @functools.wraps(function)
    def call(
        *words: Any, split_shares: str | None, split_seed: int | None, split_file: Path | None,
        image_size: int | None, **options: Any,
    ) -> Any:  # fmt: skip
        from repro.data.dataset import Selection

        chosen = Selection(split_shares, split_seed, split_file, image_size)
        return function(*words, selection=chosen, **options)

    options = [
        click.option("--split", "split_shares", metavar="A/B/C",
                     help="Shares of classes, or the name of a split."),
        click.option("--split-seed", type=click.IntRange(min=0), help="Seed of the random split."),
        click.option("--split-file", type=click.Path(path_type=Path),
                     help="File that assigns classes to splits."),
        click.option("--image-size", type=click.IntRange(min=1),
                     help="Height and width of the images, px."),
    ]  # fmt: skip
    decorated: F = with_options(call, options)
    return decorated


def engine_options(function: F) -> F:
    """Where the cells run; the command receives ``ray`` and ``slurm``: their options, or None."""

    @functools.wraps(function)
    def call(
        *words: Any, engine: str, address: str | None, cpus_per_cell: float | None,
        gpus_per_cell: float | None, slurm: tuple[str, ...], **options: Any,
    ) -> Any:  # fmt: skip
        ray = None
        on_slurm = SlurmOptions.parse(slurm) if engine == "slurm" else None
        if slurm and on_slurm is None:
            raise click.UsageError("--slurm KEY=VALUE is for --engine slurm only")
        if engine == "ray":
            ray = RayOptions(address, cpus_per_cell or 1.0, gpus_per_cell or 0.0)
        elif (address, cpus_per_cell, gpus_per_cell) != (None, None, None):
            raise click.UsageError(
                "--address, --cpus-per-cell and --gpus-per-cell are for --engine ray only"
            )
        return function(*words, ray=ray, slurm=on_slurm, **options)

    options = [
        click.option("--engine", type=click.Choice(["local", "ray", "slurm"]), default="local",
                     show_default=True, help="Where cells run."),
        click.option("--address", metavar="HOST:PORT",
                     help="A Ray cluster, or auto on one of its nodes; who "
                          "reaches it can run code there."),
        click.option("--cpus-per-cell", type=click.FloatRange(min=0, min_open=True),
                     metavar="N", help="CPUs of a cell.  [default: 1]"),
        click.option("--gpus-per-cell", type=click.FloatRange(min=0),
                     metavar="N", help="GPUs of a cell.  [default: 0]"),
        click.option("--slurm", multiple=True, metavar="KEY=VALUE",
                     help="Asked of sbatch, such as time=600 (minutes)."),
    ]  # fmt: skip
    decorated: F = with_options(call, options)
    return decorated
