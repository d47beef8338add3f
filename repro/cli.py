"""The command line: parse, call, print. Commands that compute import torch only when they run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from repro import __version__, paper
from repro.allocator import keep_large_buffers
from repro.cli_ablate import ablate
from repro.cli_bench import bench
from repro.cli_compare import compare, power
from repro.cli_data import data, doctor, episodes
from repro.cli_fetch import fetch_data
from repro.cli_report import report
from repro.cli_results import check, plot_curves, plot_gates, plot_table, publish, restore, table
from repro.cli_run import numbers, run_cells, run_options
from repro.errors import RecordError, ReproError, from_os_error, unknown


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


@cli.command()
@click.option(
    "--methods",
    default="paper",
    show_default=True,
    help="paper (the five rows) or a list such as meta_lstm,finetune.",
)
@click.option("--shots", default="1,5", show_default=True, help="Support images per class.")
@run_options
@click.pass_context
def reproduce(ctx: click.Context, /, methods: str, shots: str, **options: Any) -> None:
    """Train and test every cell, then show the table, the figures and the verdicts.

    Finished cells are not run again; an interrupted one goes on from its checkpoint.

    Example: repro reproduce --dataset mini-imagenet --data ~/mini-imagenet --budget smoke
    """
    from repro import config

    names = list(paper.METHODS) if methods == "paper" else methods.split(",")
    pack = run_cells(names, numbers(shots, "--shots"), **options)
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
    run_cells([method], [k_shot], **options, threads=threads, only_training=True)


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
    run_cells(
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
    ablate,
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
