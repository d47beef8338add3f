"""Commands that compute: reproduce, train, evaluate and verify. torch is imported when they run."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.allocator import keep_large_buffers
from repro.cli_options import FolderOrUrl, engine_options, runs_option, selection_options
from repro.cli_results import (
    plot_curves,
    plot_differences,
    plot_distributions,
    plot_gates,
    plot_table,
    table,
)
from repro.errors import RecordError, from_os_error

if TYPE_CHECKING:
    from repro.data.dataset import Selection
    from repro.ray_cluster import RayOptions
    from repro.rows import Row

F = TypeVar("F", bound=Callable[..., Any])


def _log_to(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    """From here on everything is written to the log, and a terminal that closes is ignored."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = path.open("ab")
    except OSError as error:
        raise from_os_error(error) from error
    click.echo(f"progress goes to {path}; the run goes on when this terminal closes", err=True)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # workers inherit it
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for descriptor in (1, 2):
        os.dup2(log.fileno(), descriptor)


def _debug(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ["REPRO_DEBUG"] = "1"  # workers inherit it


method_option = click.option(
    "--method", "files", multiple=True, metavar="FILE.py:CLASS",
    help="A method of your own; the file is run. May be repeated.",
)  # fmt: skip


def run_options(function: F) -> F:
    """The options of every command that trains or tests."""
    options = [
        click.option("--dataset", default="glyphs", show_default=True, help="Data set."),
        click.option("--data", "root", type=click.Path(path_type=Path), help="Its folder."),
        click.option(
            "--budget", default="quick", show_default=True, metavar="NAME[,field=n]",
            help="smoke, quick or paper, with fields changed if need be.",
        ),
        click.option(
            "--recipe", default="authors-code", show_default=True, metavar="NAME[,switch=value]",
            help="authors-code, paper or port, with switches changed if need be.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                     help="First training seed."),
        click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True,
                     help="How many seeds from it."),
        click.option("--precision", default="auto", show_default=True, help="auto, fp32 or bf16."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
        click.option("--jobs", default="auto", show_default=True,
                     help="Cells side by side; auto is one per core."),
        method_option,
        click.option("--debug", is_flag=True, expose_value=False, callback=_debug,
                     help="Show tracebacks of methods of your own."),
        click.option("--force", is_flag=True, help="Run finished cells again."),
        click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False),
                     is_eager=True, expose_value=False, callback=_log_to,
                     help="Write everything there; outlives the terminal."),
    ]  # fmt: skip
    function = runs_option("drive")(selection_options(function))
    for option in reversed(options):
        function = option(function)
    return function


def _numbers(text: str, name: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise click.UsageError(
            f"{name} is a list of whole numbers such as 1,5, not {text!r}"
        ) from None
    if min(numbers) < (1 if name == "--shots" else 0):
        raise click.UsageError(f"{name} cannot be {text}")
    return numbers


def _rows(words: list[str], files: tuple[str, ...], only: bool = False) -> list[Row]:
    """The rows asked for; with ``only``, files are loaded but no rows unless asked for."""
    keep_large_buffers()
    from repro.methods.registry import find, resolve

    if only:
        loaded = [find(word) for word in files]
        return [find(word, loaded) for word in words]
    return resolve(words, files)


def _run(
    rows: list[Row],
    shots: list[int],
    *,
    dataset: str,
    root: Path | None,
    budget: str,
    recipe: str,
    seed: int,
    seeds: int,
    precision: str,
    device: str,
    jobs: str,
    runs: Path,
    force: bool,
    selection: Selection,
    train_k_shot: int | None = None,
    threads: int | None = None,
    only_training: bool = False,
    unfinished: bool = False,
    ray: RayOptions | None = None,
) -> Path:
    """Plan the cells, run them, name what failed; the pack they ran on."""
    from repro import config

    wanted_recipe, wanted_budget = config.recipe(recipe), config.budget(budget, rows)
    keep_large_buffers()
    import torch

    from repro.cells import Place, plan, run_training
    from repro.data import prepare
    from repro.engine import default_jobs, needed
    from repro.engine import run as run_cells
    from repro.interrupts import stop_requests
    from repro.progress import ConsoleReporter
    from repro.provenance import command_line
    from repro.remote.session import active

    if ray is not None and device == "auto":
        device = "cuda" if ray.gpus_per_cell else "cpu"  # of the nodes, not of this machine
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    with ConsoleReporter() as reporter, stop_requests() as stop:
        pack = prepare(
            dataset, root,
            lambda done, total: reporter.report(f"prepare {dataset}", done, total), selection,
        )  # fmt: skip
        cells = plan(
            dataset, pack, rows, shots, range(seed, seed + seeds), wanted_recipe,
            wanted_budget, precision, device, train_k_shot,
        )  # fmt: skip
        if (shared := active()) is not None:
            shared.stops(stop)
            shared.need(needed(cells, runs, force or only_training))
        n_job = default_jobs(len(cells)) if jobs == "auto" else _numbers(jobs, "--jobs")[0]
        n_job = 1 if device != "cpu" else max(1, n_job)
        n_thread = threads or max(1, (os.cpu_count() or 1) // n_job)
        if ray is not None:
            n_thread = ray.threads
        place = Place(runs, pack, n_thread, device, force, unfinished)
        if only_training:
            for cell in cells:
                run_training(cell, place, reporter, stop)
            failures = []
        elif ray is not None:
            from repro import ray_engine

            failures = ray_engine.run(cells, place, ray, reporter, stop, command_line())
        else:
            failures = run_cells(cells, place, n_job, reporter, stop, command_line())
    for failure in failures:
        click.echo(f"error: {failure.message}", err=True)
    if failures:
        sys.exit(failures[0].exit_code)
    return pack


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
    """Train and test every cell, then show the table, the figures and the verdicts.

    Finished cells are not run again; an interrupted one goes on from its checkpoint.

    Example: repro reproduce --dataset mini-imagenet --data ~/mini-imagenet --budget smoke
    """
    from repro import config

    rows = _rows([word.strip() for word in methods.split(",")], files)
    pack = _run(rows, _numbers(shots, "--shots"), **options)
    dataset, runs = options["dataset"], options["runs"]
    from repro.data import find

    if find(dataset).accepts:  # there may be records of other images under this name
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
@click.option(
    "--k-shot", type=click.IntRange(min=1), default=5, show_default=True, help="The task's shot."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the processor; all by default."
)
@run_options
def train(
    method: str, k_shot: int, threads: int | None, files: tuple[str, ...], **options: Any
) -> None:  # fmt: skip
    """Train METHOD (a row, or FILE.py:CLASS), going on from its newest checkpoint.

    Example: repro train meta_lstm --k-shot 5 --budget quick,meta_lstm_5shot=3000
    """
    options["jobs"] = "1"
    rows = _rows([method], files, only=True)
    _run(rows, [k_shot], **options, threads=threads, only_training=True)


@click.command()
@click.argument("method")
@click.option(
    "--k-shot", type=click.IntRange(min=1), default=5, show_default=True, help="The task's shot."
)
@click.option(
    "--trained-k-shot", type=click.IntRange(min=1), help="Shot it was trained for, when another."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the processor; all by default."
)
@click.option(
    "--unfinished", is_flag=True, help="Test the training as far as it got; not comparable."
)
@run_options
def evaluate(
    method: str, k_shot: int, trained_k_shot: int | None, threads: int | None, unfinished: bool,
    files: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Test METHOD (a row, or FILE.py:CLASS) on the fixed meta-test episodes.

    What is missing of its training is made first.

    Example: repro evaluate meta_lstm --k-shot 1 --trained-k-shot 5
    """
    options["jobs"] = "1"
    _run(
        _rows([method], files, only=True), [k_shot], **options, train_k_shot=trained_k_shot,
        threads=threads, unfinished=unfinished,
    )  # fmt: skip


@click.command()
@click.argument("record", type=FolderOrUrl())
@click.option("--data", "root", type=click.Path(path_type=Path), help="Folder of the images.")
@click.option("--n", "n_episode", type=click.IntRange(min=1), help="A seeded sample of episodes.")
@method_option
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
    from repro.interrupts import stop_requests
    from repro.progress import ConsoleReporter
    from repro.records import MODEL, read_record
    from repro.verify import verify as run_verify

    if isinstance(record, str):
        from repro.remote import session

        folder = session.read(record, "copy", functools.partial(click.echo, err=True))
    else:
        folder = record
    found = [path.parent for path in sorted(folder.rglob("record.json"))]
    if not found:
        raise RecordError(f"no record.json in or under {record}; give the folder of a cell")
    if len(found) > 1:
        found = [path for path in found if (path / MODEL).exists()]
    failed = False
    with ConsoleReporter() as reporter, stop_requests() as stop:
        for path in found:
            named = read_record(path)
            same = pack_of(named.dataset, str(named.config.get("data_digest")))
            pack = same if same and root is None else prepare(named.dataset, root)
            verdict = run_verify(path, pack, reporter, stop, n_episode, files)
            click.echo(verdict.sentence(path))
            failed |= not verdict.ok
    sys.exit(1 if failed else 0)
