"""Commands that compute: reproduce, train, evaluate and verify. torch is imported when they run."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import click

from repro.allocator import keep_large_buffers
from repro.cli_figures import (
    plot_curves,
    plot_differences,
    plot_distributions,
    plot_gates,
    plot_table,
)
from repro.cli_options import FolderOrUrl, engine_options
from repro.cli_results import (
    table,
)
from repro.cli_work import (
    at_step_option,
    k_shot_option,
    kernels_option,
    method_option,
    numbers,
    rows_named,
    run_cells,
    run_options,
    threads_option,
)
from repro.errors import RecordError


@click.command()
@click.option(
    "--methods",
    default="paper",
    show_default=True,
    help="paper (the five rows), all, or a list such as meta_lstm,file.py:Class.",
)
@click.option("--shots", default="1,5", show_default=True, help="Support images per class.")
@engine_options
@run_options
@click.pass_context
def reproduce(
    ctx: click.Context, /, methods: str, shots: str, files: tuple[str, ...], **options: Any
) -> None:  # fmt: skip
    """Train and test every cell, then show table, figures and verdicts.

    Finished cells are not run again; interrupted ones go on.

    Example: repro reproduce --dataset mini-imagenet --data PATH --budget smoke
    """
    from repro import config

    rows = rows_named([word.strip() for word in methods.split(",")], files)
    pack = run_cells(rows, numbers(shots, "--shots"), **options)
    dataset, runs = options["dataset"], options["runs"]
    dataset = dataset.partition("@")[0]
    if dataset != "glyphs":  # there may be records of other images under this name
        dataset = f"{dataset}@{pack.name.rpartition('-')[2]}"
    recipe = config.recipe(options["recipe"]).name
    budget = config.budget(options["budget"], rows).name
    shown = {"dataset": dataset, "runs": runs, "source": "runs", "recipe": recipe,
             "budget": budget}  # fmt: skip
    ctx.invoke(table, **shown, style="text", seed=None, margin=1.0)
    figures = runs / dataset / "figures"
    drawn = {**shown, "output": figures}
    if "meta_lstm" in [row.name for row in rows]:
        ctx.invoke(plot_gates, **drawn)
    ctx.invoke(plot_curves, **drawn)
    ctx.invoke(plot_table, **drawn)
    ctx.invoke(plot_distributions, **drawn)
    if len(rows) > 1:
        ctx.invoke(plot_differences, **drawn)


@click.command()
@click.argument("method")
@k_shot_option
@threads_option
@functools.partial(run_options, one=True)
def train(
    method: str, k_shot: int, threads: int | None, files: tuple[str, ...], **options: Any
) -> None:  # fmt: skip
    """Train METHOD (a row, or FILE.py:CLASS), going on from its newest checkpoint.

    Example: repro train meta_lstm --k-shot 5 --budget quick,meta_lstm_5shot=3000
    """
    rows = rows_named([method], files, only=True)
    run_cells(rows, [k_shot], **options, jobs="1", threads=threads, only_training=True)


@click.command()
@click.argument("method")
@k_shot_option
@click.option(
    "--trained-k-shot", type=click.IntRange(min=1), help="Shot it was trained for, when another."
)
@threads_option
@click.option(
    "--unfinished", is_flag=True, help="Test the training as far as it got; not comparable."
)
@at_step_option
@functools.partial(run_options, one=True)
def evaluate(
    method: str, k_shot: int, trained_k_shot: int | None, threads: int | None, unfinished: bool,
    at_step: int | None, files: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Test METHOD (a row, or FILE.py:CLASS) on the fixed meta-test episodes.

    What is missing of its training is made first.

    Example: repro evaluate meta_lstm --k-shot 1 --trained-k-shot 5
    """
    run_cells(
        rows_named([method], files, only=True), [k_shot], **options, jobs="1", threads=threads,
        train_k_shot=trained_k_shot, unfinished=unfinished, at_step=at_step,
    )  # fmt: skip


@click.command()
@click.argument("record", type=FolderOrUrl())
@click.option("--data", "root", type=click.Path(path_type=Path), help="Folder of the images.")
@click.option("--n", "n_episode", type=click.IntRange(min=1), help="A seeded sample of episodes.")
@method_option
@kernels_option
def verify(
    record: Path | str, root: Path | None, n_episode: int | None, files: tuple[str, ...]
) -> None:  # fmt: skip
    """Test RECORD's parameters again and compare episode by episode.

    RECORD is the folder of a cell, or one above: then every record below it that has parameters.
    It may be a URL.

    Example: repro verify results/glyphs --n 20
    """
    keep_large_buffers()
    from repro.data import pack_of, prepare
    from repro.data.images import verify_pack
    from repro.interrupts import stop_requests
    from repro.progress import ConsoleReporter
    from repro.records import MODEL, read_record
    from repro.verify import verify as run_verify

    if isinstance(record, str):
        from repro.remote import session

        folder = session.read(record, "copy", functools.partial(click.echo, err=True))
    else:
        folder = record
    found = [
        path.parent
        for path in sorted(folder.rglob("record.json"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise RecordError(f"no record.json in or under {record}; give the folder of a cell")
    if len(found) > 1:
        found = [path for path in found if (path / MODEL).exists()]
    failed, verified = False, set[Path]()
    with ConsoleReporter() as reporter, stop_requests() as stop:
        for path in found:
            named = read_record(path)
            same = pack_of(named.dataset, str(named.config.get("data_digest")))
            pack = same if same and root is None else prepare(named.dataset, root)
            if pack not in verified:
                verify_pack(pack)
                verified.add(pack)
            verdict = run_verify(path, pack, reporter, stop, n_episode, files)
            named_apart = f"{path} ({named.apart})" if named.apart else path
            click.echo(verdict.sentence(named_apart))
            failed |= not verdict.ok
    sys.exit(1 if failed else 0)
