"""``repro embed``, and the options by which other commands take frozen features."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.options import RUNS, selection_options, with_options
from repro.engines.frozen import Frozen, embedded, is_backbone, stored
from repro.engines.planning import device_here

if TYPE_CHECKING:
    from repro.data.dataset import Selection

F = TypeVar("F", bound=Callable[..., Any])
_NETWORK = (
    click.option("--weights", type=click.Path(path_type=Path), metavar="FILE",
                 help="Weights of the backbone; by default those in its library's cache."),
    click.option("--input-size", type=click.IntRange(min=8), metavar="PX",
                 help="Resize images to this for the backbone."),
)  # fmt: skip


def frozen_options(function: F) -> F:
    """Which features heads work on; the command receives ``frozen``."""

    @functools.wraps(function)
    def call(
        *words: Any, features: str | None, backbone: str | None, weights: Path | None,
        input_size: int | None, **options: Any,
    ) -> Any:  # fmt: skip
        lists = [_listed(text) for text in (features, backbone)]
        frozen = Frozen(lists[0], lists[1], weights, input_size)
        return function(*words, frozen=frozen, **options)

    options = [
        click.option("--features", metavar="[NAME=]FILE|NAME[,…]",
                     help="Frozen features for heads: files, or names of embedded ones."),
        click.option("--backbone", metavar="[NAME=]BACKBONE[,…]",
                     help="Backbones for heads: torchvision:NAME, timm:NAME, pretrain, pixels."),
        *_NETWORK,
    ]  # fmt: skip
    decorated: F = with_options(call, options)
    return decorated


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip()) if text else ()


@click.command()
@click.argument("backbone", metavar="[NAME=]BACKBONE|FILE")
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@click.option("--data", "root", type=click.Path(path_type=Path),
              help="Folder or archive with the images.")  # fmt: skip
@functools.partial(with_options, options=_NETWORK)
@click.option("--budget", default="quick", show_default=True, help="Of pretrain.")
@click.option("--recipe", default="authors-code", show_default=True, help="Of pretrain.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of pretrain.")  # fmt: skip
@click.option("--runs", type=click.Path(path_type=Path), default=RUNS, show_default=True,
              help="Folder of the runs, for pretrain.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; by default all.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
              show_default=True, help="Where the backbone runs.")  # fmt: skip
@selection_options
def embed(
    backbone: str, dataset: str, root: Path | None, weights: Path | None, input_size: int | None,
    budget: str, recipe: str, seed: int, runs: Path, threads: int | None, device: str,
    selection: Selection,
) -> None:  # fmt: skip
    """Turn all images of a data set into features, once, for heads of other commands.

    BACKBONE is torchvision:NAME or timm:NAME (their networks without the last layer), pretrain
    (our own, trained where it is not yet) or pixels. FILE holds features computed elsewhere: .npz,
    .safetensors or a folder of .npy. Nothing is downloaded.

    Example: repro embed pixels --dataset glyphs
    """
    from repro.data.preparing import prepare
    from repro.papers import config
    from repro.run.cell import plan
    from repro.run.context import RunContext
    from repro.system.interrupts import stop_requests
    from repro.system.progress import ConsoleReporter

    found_device = device_here(device)
    with ConsoleReporter() as reporter, stop_requests() as stop:
        pack = prepare(
            dataset, root,
            lambda done, total: reporter.report(f"prepare {dataset}", done, total), selection,
        )  # fmt: skip
        if is_backbone(backbone):
            (cell,) = plan(
                dataset.partition("@")[0], pack, ["nearest_neighbor"], [1], [seed],
                config.recipe(recipe), config.budget(budget), "auto", found_device,
            )  # fmt: skip
            context = RunContext(runs, pack, threads or os.cpu_count() or 1, found_device)
            found = embedded(backbone, weights, input_size, cell, context, reporter, stop)
        else:
            found = stored(backbone, pack)
    click.echo(
        f"{found.name}: {found.n_feature:,} features of {pack.name} ({found.backbone}), digest "
        f"{found.digest[:12]}, in {found.folder}"
    )
