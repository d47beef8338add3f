"""Shared by all commands that train or test: their options, and how cells are made from them."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from repro.cli.options import SHAPE, runs_option, selection_options, with_options
from repro.engines.planning import RunOptions, plan_cells
from repro.learner.kernels import library
from repro.system.allocator import keep_large_buffers
from repro.system.errors import from_os_error

if TYPE_CHECKING:
    from repro.engines.local import Failure
    from repro.papers.config import RunConfig
    from repro.papers.method_spec import MethodSpec
    from repro.run.context import RunContext
    from repro.system.interrupts import StopRequest
    from repro.system.progress import Reporter

    # (cells, context, jobs asked for, reporter, stop, command) -> what did not end well
    Work = Callable[[list[RunConfig], RunContext, int, Reporter, StopRequest, str], list[Failure]]

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
    click.echo(f"progress goes to {path}; the run continues when this terminal closes", err=True)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # workers inherit it
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for descriptor in (1, 2):
        os.dup2(log.fileno(), descriptor)


def _debug(_ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        os.environ["REPRO_DEBUG"] = "1"  # workers inherit it


k_shot_option = click.option(
    "--k-shot",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Shot of the task.",
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads; by default all."
)
at_step_option = click.option(
    "--at-step",
    type=click.IntRange(min=1),
    help="Test the milestone of this step.",
)
TEST = [
    click.option("--test-dataset", metavar="NAME",
                 help="Data set of the test, if another."),
    click.option("--test-data", "test_root", type=click.Path(path_type=Path),
                 help="Folder or archive of --test-dataset."),
]  # fmt: skip
test_options = functools.partial(with_options, options=TEST)
method_option = click.option(
    "--method", "files", multiple=True, metavar="FILE.py:CLASS",
    help="Your own method; may be given several times.",
)  # fmt: skip


def _kernels(_ctx: click.Context, _param: click.Parameter, choice: str | None) -> None:
    if choice is not None:
        library.choose(choice)  # workers inherit it


kernels_option = click.option(
    "--kernels", type=click.Choice(library.CHOICES), expose_value=False, callback=_kernels,
    help="Native kernels or torch's.  [default: auto]",
)  # fmt: skip


def run_options(
    function: F, recipe: str = "--recipe", files: bool = True, one: bool = False,
    shape: bool = True,
) -> F:  # fmt: skip
    """The options of every command that trains or tests.

    Args:
        shape: whether episodes of other sizes than the paper's can be asked for.
        recipe: what that option is called. files: whether there is ``--method``, for files.
        one: cells come one after the other, so there is no ``--jobs``.
    """
    options = [
        click.option("--dataset", default="glyphs", show_default=True, help="Data set."),
        click.option("--data", "root", type=click.Path(path_type=Path),
                     help="Folder or archive with the images."),
        click.option(
            "--budget", default="quick", show_default=True, metavar="NAME[,field=n]",
            help="smoke, quick or paper.",
        ),
        click.option(
            recipe, "recipe", default="authors-code", show_default=True,
            metavar="NAME[,switch=value]",
            help="authors-code, authors-2016-11, paper or port.",
        ),
        *(SHAPE if shape else []),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
                     help="First training seed."),
        click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Number of seeds."),
        click.option("--precision", default="auto", show_default=True,
                     help="auto, fp32 or bf16."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto",
                     show_default=True, help="Device for every run."),
        *([] if one else [
            click.option("--jobs", default="auto", show_default=True,
                         help="Cells in parallel.")
        ]),
        kernels_option,
        *([method_option] if files else []),
        click.option("--debug", is_flag=True, expose_value=False, callback=_debug,
                     help="Show tracebacks of your own method."),
        click.option("--milestones", metavar="STEP[,STEP]",
                     help="Steps whose checkpoints are kept."),
        click.option("--force", is_flag=True, help="Run finished cells again."),
        click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False),
                     is_eager=True, expose_value=False, callback=_log_to,
                     help="Write all output to this file."),
    ]  # fmt: skip
    function = runs_option("drive")(selection_options(function))
    decorated: F = with_options(function, options)
    return decorated


def rows_named(words: list[str], files: tuple[str, ...], only: bool = False) -> list[MethodSpec]:
    """The rows asked for; with ``only``, files are loaded but no rows unless asked for."""
    keep_large_buffers()
    from repro.methods.registry import find_apart, hidden, resolve

    for sentence in hidden():
        click.echo(sentence, err=True)
    if only:
        loaded = [find_apart(word) for word in files]
        return [find_apart(word, loaded) for word in words]
    return resolve(words, files)


def run_cells(
    rows: list[MethodSpec], shots: list[int], asked: RunOptions, work: Work | None = None,
    n_task: int | None = None,
) -> tuple[Path, list[RunConfig]]:  # fmt: skip
    """Plan the cells, run them, name what failed; the pack they ran on, and the cells.

    Args:
        work: what to do with the cells; by default they are trained and tested.
        n_task: how many tasks that is, where not one per cell.
    """
    keep_large_buffers()

    from repro.engines.local import run, run_trainings
    from repro.run.provenance import command_line
    from repro.system.interrupts import stop_requests
    from repro.system.progress import ConsoleReporter

    ray = asked.ray
    with ConsoleReporter() as reporter, stop_requests() as stop:
        planned = plan_cells(rows, shots, asked, reporter, stop, n_task)
        cells, context = planned.cells, planned.context
        if asked.only_training:
            failures = run_trainings(cells, context, reporter, stop, command_line())
        elif ray is not None:
            from repro.engines.ray import engine as ray_engine

            failures = ray_engine.run(cells, context, ray, reporter, stop, command_line())
        elif asked.slurm is not None:
            from repro.engines.slurm import engine as slurm_engine

            failures = slurm_engine.run(cells, context, asked.slurm, reporter, stop, command_line())
        else:
            failures = (work or run)(cells, context, planned.jobs, reporter, stop, command_line())
    for failure in failures:
        click.echo(f"error: {failure.message}", err=True)
    if failures:
        sys.exit(failures[0].exit_code or 1)
    return planned.pack, cells
