"""Commands that draw the figures of chosen records."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from repro.analysis.selection import one_budget, select
from repro.analysis.table import table1
from repro.analysis.table.notes import left_out_note
from repro.cli.chosen import chosen_records, figure_folder, read_source, source_options
from repro.cli.options import runs_option
from repro.papers.pack import Table
from repro.records import Record
from repro.system.errors import UsageError

# (records, data set as asked for, folder) -> files
Draw = Callable[[Sequence[Record], str, Path], list[Path]]
DRAWS: dict[str, Draw] = {}  # by the name of the command


def _command(draw: Draw, all_seeds: bool = True) -> click.Command:
    """``plot_x`` as ``repro plot-x``: what it draws of the chosen records, told by their paths.

    Args:
        all_seeds: else the lowest seed of each cell, for what shows single models.
    """

    @click.command(draw.__name__.replace("_", "-"), help=inspect.getdoc(draw))
    @source_options
    @click.option(
        "--output", type=click.Path(path_type=Path), help="Folder to write the figures to."
    )
    def command(
        dataset: str, source: str | None, runs: Path, recipe: str, budget: str | None,
        output: Path | None, task: dict[str, Any],
    ) -> None:  # fmt: skip
        chosen, name = chosen_records(dataset, source, runs, recipe, budget, task=task)
        for note in left_out_note(chosen.left_out):
            click.echo(note, err=True)
        shown = list(chosen.records) if all_seeds else chosen.one_each
        if budget is None:
            shown, told = one_budget(shown)
            if told:
                click.echo(told, err=True)
        for path in draw(shown, dataset, figure_folder(output, runs, dataset, name)):
            click.echo(str(path))

    DRAWS[str(command.name)] = draw
    return command


@_command
def plot_gates(chosen: Sequence[Record], _: str, folder: Path) -> list[Path]:
    """Draw Figure 3, the input and forget gates of the meta-LSTM, and print their statistics.

    Example: repro plot-gates --dataset glyphs
    """
    from repro.analysis.gates import figure as gates
    from repro.analysis.gates import numbers as gate_numbers

    click.echo(gates.summary(chosen))
    found = gate_numbers.numbers(gates.read_gates(chosen))
    click.echo(gate_numbers.text(found, gates.background(chosen)))
    return gates.plot_gates(chosen, folder)


@functools.partial(_command, all_seeds=False)
def plot_curves(chosen: Sequence[Record], _: str, folder: Path) -> list[Path]:
    """Draw training and validation curves of every method.

    Example: repro plot-curves --dataset glyphs
    """
    from repro.analysis import curves

    return curves.plot_curves(chosen, folder)


def draw_table(
    chosen: Sequence[Record], dataset: str, folder: Path, of: Table = table1.OF
) -> list[Path]:
    """``plot-table`` against the table of a paper."""
    from repro.analysis.table import bars

    return bars.plot_table(table1.build(chosen, dataset, of=of), folder)


@_command
def plot_table(chosen: Sequence[Record], dataset: str, folder: Path) -> list[Path]:
    """Draw reported and measured accuracies with their intervals.

    Example: repro plot-table --dataset glyphs
    """
    return draw_table(chosen, dataset, folder)


@functools.partial(_command, all_seeds=False)
def plot_distributions(chosen: Sequence[Record], _: str, folder: Path) -> list[Path]:
    """Draw a histogram of the accuracies of episodes for each method and shot.

    Example: repro plot-distributions --dataset glyphs
    """
    from repro.analysis.compare import distributions

    return distributions.plot_distributions(chosen, folder)


@_command
def plot_differences(chosen: Sequence[Record], _: str, folder: Path) -> list[Path]:
    """Draw the matrix of paired differences between methods.

    Example: repro plot-differences --dataset glyphs
    """
    from repro.analysis.compare import differences

    return differences.plot_differences(chosen, folder)


@click.command("plot-cell")
@click.option("--method", default="meta_lstm", show_default=True, help="Name of the method.")
@click.option("--k-shot", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--dataset", default="glyphs", show_default=True, help="Data set.")
@click.option("--budget", default="paper", show_default=True, help="Budget of the records.")
@click.option("--from", "source", type=click.Choice(["runs", "results"]), help="Records to read.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write the figures to.")
@runs_option("read")
def plot_cell(
    method: str, k_shot: int, dataset: str, budget: str, source: str | None, runs: Path,
    output: Path | None,
) -> None:  # fmt: skip
    """Draw one cell: reported, re-run by others, and every test here, of all recipes and seeds.

    Example: repro plot-cell --method meta_lstm --dataset mini-imagenet --from results
    """
    from repro.analysis.table import one_cell

    found, name = read_source(dataset, source, runs)
    table = table1.build(select(found, one_cell.BASE, None).records, dataset)
    cells = [c for c in table.cells if (c.method, c.k_shot) == (method, k_shot)]
    if not cells:
        raise UsageError(f"there is no cell {method} {k_shot}-shot; `repro table` lists them")
    folder = figure_folder(output, runs, dataset, name)
    for path in one_cell.plot_cell(cells[0], found, folder, budget):
        click.echo(str(path))
