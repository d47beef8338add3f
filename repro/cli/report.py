"""Commands that write the HTML report and pictures of episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from repro.cli.chosen import RESULTS, chosen_records, figure_folder, source_options
from repro.cli.data import episodes, shape_options
from repro.cli.options import paper_option
from repro.papers.pack import Paper
from repro.system import storage
from repro.system.errors import UsageError


@click.command()
@source_options
@click.option(
    "--seed", type=int, help="Use only this training seed; by default all seeds of a cell."
)
@click.option(
    "--images/--no-images",
    default=None,
    help="Show images of episodes. By default only of the prepared glyphs, "
    "and only in a file that git ignores.",
)
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@paper_option
@click.option("--format", "style", type=click.Choice(["html", "mlrc"]), default="html",
              show_default=True, help="html, or mlrc: Markdown in the sections of the ML "
                              "Reproducibility Challenge.",
              )  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
def report(
    dataset: str, source: str | None, runs: Path, recipe: str, budget: str | None,
    seed: int | None, images: bool | None, root: Path | None, of: Paper, style: str,
    output: Path | None, task: dict[str, Any],
) -> None:  # fmt: skip
    """Write all results of the records into one self-contained HTML file, or as Markdown.

    Example: repro report --dataset mini-imagenet --from results --output report.html
    """
    from repro.analysis.ablation.effects import of_presets
    from repro.analysis.report.episode_picture import could_be_committed, refuse_committed
    from repro.analysis.report.mlrc import render_mlrc
    from repro.analysis.report.page import render
    from repro.data.pack import cache_folder
    from repro.data.preparing import load_split
    from repro.records.variants import read_validation

    chosen, name = chosen_records(dataset, source, runs, recipe, budget, seed, task=task)
    file = "report.html" if style == "html" else "report.md"
    target = output or figure_folder(None, runs, dataset, name) / file
    if style == "mlrc":
        page = render_mlrc(chosen.records, dataset, chosen.left_out, chosen.apart, of)
        storage.write_text(target, page)
        click.echo(f"{target}: {len(page.encode()):,} bytes")
        return
    split, tested_on = None, chosen.records[0].tested_on
    if tested_on == dataset.partition("@")[0]:
        tested_on = dataset  # with the pack that was named
    if images:
        refuse_committed(target, tested_on)
        split = load_split(tested_on, root, "test")
    elif images is None and tested_on == "glyphs" and not could_be_committed(target):
        # A committed page should not depend on what is in a cache.
        prepared = any(cache_folder().glob("packs/glyphs-*/pack.json"))
        split = load_split(tested_on, root, "test") if prepared else None
    first = chosen.records[0]
    there = of_presets(read_validation(runs if name == "runs" else RESULTS, first.dataset))
    data = first.digests.get("data")
    tested = [found for found in there if found.digests["data"] == data]
    page = render(chosen.records, dataset, split, tested, chosen.left_out, chosen.apart, of)
    storage.write_text(target, page)
    click.echo(f"{target}: {len(page.encode()):,} bytes")


@episodes.command("draw")
@click.argument("dataset")
@click.option(
    "--data", "root", type=click.Path(path_type=Path), help="Folder or archive with the images."
)
@click.option(
    "--index",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Index of the episode.",
)
@click.option("--split", default="test", show_default=True, help="train, val or test.")
@click.option("--k-shot", default=1, show_default=True, type=click.IntRange(min=1))
@shape_options
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Episode seed."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file; default: runs/DATASET/episode-SPLIT-SHOT-N.png.",
)
def draw_episode(
    dataset: str, root: Path | None, index: int, split: str, k_shot: int, n_way: int,
    n_query: int, seed: int, output: Path | None,
) -> None:  # fmt: skip
    """Draw an episode: support and query images, one row per class.

    Example: repro episodes draw glyphs --index 3 --k-shot 5 --output episode.png
    """
    from repro.analysis.report.episode_picture import draw, png, refuse_committed
    from repro.data.preparing import load_split
    from repro.episodes import EpisodeSampler
    from repro.papers import paper
    from repro.papers.config import EpisodeSpec

    named = f"episode-{split}-{k_shot}-shot-{index}.png"
    target = output or Path("runs") / dataset / named
    if target.suffix.lower() != ".png":
        raise UsageError(f"the picture is a PNG file, not {target.suffix or 'without a suffix'}; "
                         f"name it {target.with_suffix('.png').name}")  # fmt: skip
    refuse_committed(target, dataset)
    images = load_split(dataset, root, split)
    spec = EpisodeSpec(n_way, k_shot, n_query)
    episode = EpisodeSampler(images.class_rows, split, spec, seed)[index]
    storage.write_bytes(target, png(draw(episode, images)))
    classes = ", ".join(images.class_ids[i] for i in episode.class_indices)
    published = split == "test" and seed == 0 and index < paper.N_TEST_EPISODE
    which = "" if published else f" (not one of the {paper.N_TEST_EPISODE} published episodes)"
    click.echo(f"{target}: classes from top to bottom {classes}{which}")
