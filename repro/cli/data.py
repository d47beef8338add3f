"""Commands about data, episodes and this machine."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import click

from repro.cli.options import SHAPE, selection_options, with_options
from repro.papers import paper
from repro.papers.config import EpisodeSpec
from repro.system import storage
from repro.system.errors import DataError, ReproError, unknown

if TYPE_CHECKING:
    from repro.data.dataset import Selection
    from repro.episodes import EpisodeSampler

shape_options = functools.partial(with_options, options=SHAPE)
PINNED_EPISODES = Path(__file__).parents[1] / "episodes" / "pinned_episodes.json"


@click.group()
def data() -> None:
    """List, check and prepare data sets.

    Example: repro data prepare mini-imagenet --data ~/mini-imagenet
    """


@data.command("list")
def list_data() -> None:
    """List the data sets, plug-ins included, and their prepared packs."""
    from repro.data.pack import packs_of, summary
    from repro.data.registry import hidden, names

    for name in names():
        told = [summary(pack) for pack in packs_of(name)]
        click.echo(f"{name}: {'; '.join(told) or 'not prepared yet'}")
    for sentence in hidden():
        click.echo(sentence)


@data.command("prepare")
@click.argument("dataset")
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@selection_options
def prepare_data(dataset: str, root: Path | None, selection: Selection) -> None:
    """Check the images and pack them into one file for fast reading.

    Example: repro data prepare mini-imagenet --data ~/mini-imagenet
    """
    from repro.data.preparing import prepare
    from repro.system.progress import ConsoleReporter

    with ConsoleReporter() as reporter:
        pack = prepare(
            dataset, root,
            lambda done, total: reporter.report(f"prepare {dataset}", done, total), selection,
            afresh=True,
        )  # fmt: skip
    click.echo(str(pack))


@data.command("check")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_data(path: Path, as_json: bool) -> None:
    """Check a copy of mini-ImageNet: print what it holds and what is wrong; exit with 1 if refused.

    Example: repro data check ~/mini-imagenet.tar.gz
    """
    from repro.data.mini_imagenet.check import examine
    from repro.system.progress import ConsoleReporter

    if not path.exists():
        raise DataError(f"nothing is at {path}; give the folder or archive of the images")
    with ConsoleReporter() as reporter:
        report = examine(path, lambda done, total: reporter.report("check", done, total))
    if as_json:
        click.echo(json.dumps(report.describe(), indent=1))
    else:
        click.echo("\n".join(report.lines()).encode(errors="replace").decode())
    if not report.accepted:
        click.echo(
            "this was checked as a copy of mini-ImageNet; images of your own, one folder per "
            f"class, are read by `repro data prepare folder --data {path}`",
            err=True,
        )
        raise SystemExit(DataError.exit_code)


@click.group()
def episodes() -> None:
    """Write and verify lists of episodes.

    Example: repro episodes write glyphs --k-shot 1 --output episodes.json
    """


def _sampler(
    dataset: str, root: Path | None, split: str, spec: EpisodeSpec, seed: int
) -> EpisodeSampler:
    from repro.data.preparing import load_split
    from repro.episodes import EpisodeSampler

    return EpisodeSampler(load_split(dataset, root, split).class_rows, split, spec, seed)


@episodes.command("write")
@click.argument("dataset")
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option(
    "--k-shot",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Support images per class.",
)
@shape_options
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Episode seed."
)
@click.option(
    "--n",
    type=click.IntRange(min=1),
    default=paper.N_TEST_EPISODE,
    show_default=True,
    help="Number of episodes.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="JSON file to write."
)
def write_episodes(
    dataset: str, root: Path | None, split: str, k_shot: int, n_way: int, n_query: int,
    seed: int, n: int, output: Path,
) -> None:  # fmt: skip
    """Write a manifest of episodes.

    Example: repro episodes write glyphs --k-shot 5 --output episodes.json
    """
    from repro.episodes import manifest

    sampler = _sampler(dataset, root, split, EpisodeSpec(n_way, k_shot, n_query), seed)
    content = manifest(sampler, n, dataset.partition("@")[0])
    storage.write_text(output, json.dumps(content))
    click.echo(f"{output}: {n} episodes, digest {content['digest']}")


@episodes.command("verify")
@click.argument("dataset")
@click.argument("manifest_path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
def verify_episodes(dataset: str, manifest_path: Path | None, root: Path | None) -> None:
    """Check that the episodes drawn here are those of a manifest, or the 600 published ones.

    Example: repro episodes verify mini-imagenet
    """
    from repro.episodes import episodes_digest, verify_manifest

    if manifest_path is not None:
        content = storage.read_json(manifest_path)
        try:
            split, seed = content["split"], int(content["seed"])
            sizes = [int(content[name]) for name in ("n_way", "k_shot", "n_query")]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{manifest_path} is not an episode manifest (field {error})"
            ) from error
        sampler = _sampler(dataset, root, split, EpisodeSpec(*sizes), seed)
        verify_manifest(content, sampler, str(manifest_path))
        click.echo(f"{manifest_path}: {content['n_episode']} episodes are the ones drawn now")
        return
    pinned = storage.read_json(PINNED_EPISODES)
    plain = dataset.partition("@")[0]
    if plain not in pinned:
        raise unknown("pinned dataset", plain, pinned)
    for k_shot, digest in pinned[plain].items():
        spec = EpisodeSpec(k_shot=int(k_shot))
        drawn = _sampler(dataset, root, "test", spec, 0).first(paper.N_TEST_EPISODE)
        if episodes_digest(drawn) != digest:
            raise DataError(
                f"the {k_shot}-shot test episodes of {dataset} are not the published ones; "
                "the data has other classes or counts"
            )
        click.echo(f"{dataset} {k_shot}-shot: the published 600 test episodes, {digest[:12]}")


@click.command()
def doctor() -> None:
    """Show versions, threads, accelerator and prepared data.

    Example: repro doctor
    """
    import torch

    from repro.data.pack import cache_folder, packs_of, verify_pack
    from repro.data.registry import names
    from repro.learner.kernels.library import used
    from repro.run.cell import resolve_precision

    click.echo(f"python {platform.python_version()} on {platform.platform()}")
    for name in ("repro-fewshot", "torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib"):
        try:
            click.echo(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"{name}: not installed as a package")
    click.echo(f"threads: {torch.get_num_threads()} of {os.cpu_count()} cores")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    click.echo(f"accelerator: {torch.cuda.get_device_name() if device == 'cuda' else 'none'}")
    click.echo(f"precision auto at 84 px: {resolve_precision('auto', 84, device)}")
    click.echo(f"kernels: {used(device)}")
    click.echo(f"cache: {cache_folder()}")
    for name in names():
        packs = packs_of(name)
        if not packs:
            click.echo(f"{name}: not prepared yet")
        for pack in packs:
            try:
                verify_pack(pack)
                click.echo(f"{name}: {pack.name}, pixels verified")
            except ReproError as error:
                click.echo(f"{name}: {error}")
