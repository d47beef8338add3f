"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from repro.ray_cluster import RayOptions

F = TypeVar("F", bound=Callable[..., Any])


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
                     help="Shares of classes, or a split's name."),
        click.option("--split-seed", type=click.IntRange(min=0), help="Which random split."),
        click.option("--split-file", type=click.Path(path_type=Path), help="Your own split."),
        click.option("--image-size", type=click.IntRange(min=1), help="Pixels a side."),
    ]  # fmt: skip
    decorated: Any = call
    for option in reversed(options):
        decorated = option(decorated)
    found: F = decorated
    return found


def engine_options(function: F) -> F:
    """Where the cells run; the command receives ``ray``: RayOptions, None for this machine."""

    @functools.wraps(function)
    def call(
        *words: Any, engine: str, address: str | None, cpus_per_cell: float | None,
        gpus_per_cell: float | None, **options: Any,
    ) -> Any:  # fmt: skip
        ray = None
        if engine == "ray":
            ray = RayOptions(address, cpus_per_cell or 1.0, gpus_per_cell or 0.0)
        elif (address, cpus_per_cell, gpus_per_cell) != (None, None, None):
            raise click.UsageError(
                "--address, --cpus-per-cell and --gpus-per-cell concern --engine ray only"
            )
        return function(*words, ray=ray, **options)

    options = [
        click.option("--engine", type=click.Choice(["local", "ray"]), default="local",
                     show_default=True, help="This machine, or a Ray cluster (repro[ray])."),
        click.option("--address", metavar="HOST:PORT",
                     help="Of the Ray cluster; auto on one of its nodes. None: one of its own on "
                     "this machine. Joining a cluster runs other people's code."),
        click.option("--cpus-per-cell", type=click.FloatRange(min=0, min_open=True),
                     help="Of a Ray node; also the threads of a cell.  [default: 1]"),
        click.option("--gpus-per-cell", type=click.FloatRange(min=0),
                     help="Of a Ray node.  [default: 0]"),
    ]  # fmt: skip
    decorated: Any = call
    for option in reversed(options):
        decorated = option(decorated)
    found: F = decorated
    return found
