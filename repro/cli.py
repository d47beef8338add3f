"""The command line: parse, call, print. Commands that compute import torch only when they run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro import __version__, paper
from repro.allocator import keep_large_buffers
from repro.cli_bench import bench
from repro.cli_compare import compare, power
from repro.cli_data import data, doctor, episodes
from repro.cli_fetch import fetch_data
from repro.cli_options import engine_options, selection_options
from repro.cli_report import report
from repro.cli_results import check, plot_curves, plot_gates, plot_table, publish, restore, table
from repro.errors import RecordError, ReproError, from_os_error, unknown

if TYPE_CHECKING:
    from repro.data.dataset import Selection
    from repro.ray_cluster import RayOptions

F = TypeVar("F", bound=Callable[..., Any])


class Commands(click.Group):
    """Suggests the near miss and turns a ReproError into one sentence and its exit code."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            click.echo(f"error: {unknown('command', args[0], self.commands)}", err=True)
            ctx.exit(2)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReproError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # the reader of a pipe went away: click handles it
        except OSError as error:
            click.echo(f"error: {from_os_error(error)}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped at once; the last checkpoints are kept", err=True)
            ctx.exit(130)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="repro")
def cli() -> None:
    """Few-shot learning methods on the same fixed episodes, beside the paper's Table 1.

    Example: repro reproduce --dataset glyphs --budget quick
    """


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
        click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"),
                     show_default=True, help="Where runs are written."),
        click.option("--force", is_flag=True, help="Run finished cells again."),
        click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False),
                     is_eager=True, expose_value=False, callback=_log_to,
                     help="Write everything there; outlives the terminal."),
    ]  # fmt: skip
    function = selection_options(function)
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


def _run(
    methods: list[str],
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

    wanted_recipe, wanted_budget = config.recipe(recipe), config.budget(budget)
    keep_large_buffers()
    import torch

    from repro.cells import Place, plan, run_training
    from repro.data import prepare
    from repro.engine import default_jobs
    from repro.engine import run as run_cells
    from repro.interrupts import stop_requests
    from repro.progress import ConsoleReporter
    from repro.provenance import command_line

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
            dataset, pack, methods, shots, range(seed, seed + seeds), wanted_recipe,
            wanted_budget, precision, device, train_k_shot,
        )  # fmt: skip
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


@cli.command()
@click.option(
    "--methods",
    default="paper",
    show_default=True,
    help="paper (the five rows) or a list such as meta_lstm,finetune.",
)
@click.option("--shots", default="1,5", show_default=True, help="Support images per class.")
@engine_options
@run_options
@click.pass_context
def reproduce(ctx: click.Context, /, methods: str, shots: str, **options: Any) -> None:
    """Train and test every cell, then show the table, the figures and the verdicts.

    Finished cells are not run again; an interrupted one goes on from its checkpoint.

    Example: repro reproduce --dataset mini-imagenet --data ~/mini-imagenet --budget smoke
    """
    from repro import config

    names = list(paper.METHODS) if methods == "paper" else methods.split(",")
    pack = _run(names, _numbers(shots, "--shots"), **options)
    dataset, runs = options["dataset"], options["runs"]
    from repro.data import find

    if find(dataset).accepts:  # there may be records of other images under this name
        dataset = f"{dataset}@{pack.name.rpartition('-')[2]}"
    recipe = config.recipe(options["recipe"]).name
    budget = config.budget(options["budget"]).name
    shown = {"dataset": dataset, "runs": runs, "source": "runs", "recipe": recipe,
             "budget": budget}  # fmt: skip
    ctx.invoke(table, **shown, style="text", seed=None, margin=1.0)
    figures = runs / dataset / "figures"
    drawn = {**shown, "output": figures}
    if "meta_lstm" in names:
        ctx.invoke(plot_gates, **drawn)
    ctx.invoke(plot_curves, **drawn)
    ctx.invoke(plot_table, **drawn)


@cli.command()
@click.argument("method")
@click.option(
    "--k-shot", type=click.IntRange(min=1), default=5, show_default=True, help="The task's shot."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the processor; all by default."
)
@run_options
def train(method: str, k_shot: int, threads: int | None, **options: Any) -> None:
    """Train METHOD, going on from its newest checkpoint.

    Example: repro train meta_lstm --k-shot 5 --budget quick,meta_lstm_5shot=3000
    """
    options["jobs"] = "1"
    _run([method], [k_shot], **options, threads=threads, only_training=True)


@cli.command()
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
    **options: Any,
) -> None:  # fmt: skip
    """Test METHOD on the fixed meta-test episodes (after training what is missing).

    Example: repro evaluate meta_lstm --k-shot 1 --trained-k-shot 5
    """
    options["jobs"] = "1"
    _run(
        [method], [k_shot], **options, train_k_shot=trained_k_shot, threads=threads,
        unfinished=unfinished,
    )  # fmt: skip


@cli.command()
@click.argument("record", type=click.Path(path_type=Path))
@click.option("--data", "root", type=click.Path(path_type=Path), help="Folder of the images.")
@click.option("--n", "n_episode", type=click.IntRange(min=1), help="A seeded sample of episodes.")
def verify(record: Path, root: Path | None, n_episode: int | None) -> None:
    """Test RECORD's parameters again and compare episode by episode.

    RECORD is the folder of a cell, or one above: then every record below it that has parameters.

    Example: repro verify results/glyphs --n 20
    """
    keep_large_buffers()
    from repro.data import pack_of, prepare
    from repro.interrupts import stop_requests
    from repro.progress import ConsoleReporter
    from repro.records import MODEL, read_record
    from repro.verify import verify as run_verify

    found = [path.parent for path in sorted(record.rglob("record.json"))]
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
            verdict = run_verify(path, pack, reporter, stop, n_episode)
            click.echo(verdict.sentence(path))
            failed |= not verdict.ok
    sys.exit(1 if failed else 0)


data.add_command(fetch_data)
for command in (
    data,
    episodes,
    doctor,
    bench,
    table,
    compare,
    power,
    check,
    publish,
    restore,
    plot_gates,
    plot_curves,
    plot_table,
    report,
):
    cli.add_command(command)


def main() -> None:
    """The console script."""
    cli(prog_name="repro")
