"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

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
