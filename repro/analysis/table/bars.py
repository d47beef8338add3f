"""Table 1 as a figure: reported and measured accuracies with their 95% intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro.analysis import style
from repro.analysis.statistics.intervals import HasInterval
from repro.analysis.table.cell import NOT_IN_PAPER, Cell
from repro.analysis.table.table1 import Table
from repro.analysis.text import percent_interval
from repro.system.errors import RecordError

_OFFSET = 0.17  # of the two points of a row, in rows


def _point(
    axes: Axes, interval: HasInterval, y: float, color: str, filled: bool, note: str = ""
) -> None:  # fmt: skip
    """An interval with its numbers; one with a note is open, as its training has not ended."""
    half_width = interval.half_width if math.isfinite(interval.half_width) else 0.0
    axes.errorbar(
        [interval.mean],
        [y],
        xerr=[half_width],
        fmt="o" if filled else "s",
        color=color,
        mfc=color if filled and not note else "white",
        ms=4,
        mew=1.1,
        elinewidth=1.6,
        capsize=3,
    )
    axes.annotate(
        (percent_interval(interval) if math.isfinite(interval.half_width) else "")
        + (f"\n{note}" if note else ""),
        (interval.mean + half_width, y),
        xytext=(5, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=style.INK if filled else style.MUTED,
    )


def draw(table: Table, shots: Sequence[int]) -> Figure:
    """A row per method, a panel per shot; use within :func:`repro.analysis.style.applied`."""
    extra = max(-2, len(table.methods) - 5)  # rows beyond those that the figure has room for
    fig = style.new_figure(3.9 * len(shots) + 1.8, 4.3 + 0.7 * extra)
    colors = style.colors(table.methods)
    panels = fig.subplots(1, len(shots), sharey=True, squeeze=False)[0]
    shown = [i.mean for c in table.cells for i in (c.reported, c.measured) if i is not None]
    shown += [mean for cell in table.cells for mean in cell.seed_means]
    low = math.floor(10 * min(0.2, *shown)) / 10
    high = min(1.0, max(shown)) + 0.12  # room for the numbers
    for axes, k_shot in zip(panels, shots, strict=True):
        axes.set_xlim(low, high)
        for cell in table.cells:
            if cell.k_shot == k_shot:
                _row(axes, cell, table.methods.index(cell.method), colors[cell.method])
        axes.set_title(f"{k_shot}-shot")
        axes.set_xlabel("accuracy")
        axes.xaxis.set_major_formatter(style.percent_axis())
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(table.methods)), _labels(table), parse_math=False)
    panels[0].set_ylim(len(table.methods) - 0.5, -0.5)
    style.heading(fig, table.title)
    handles = [
        Line2D([], [], color=style.MUTED, marker="s", mfc="white", mew=1.1, lw=1.6),
        Line2D([], [], color=style.INK, marker="o", lw=1.6),
    ]
    labels = [
        "reported (by the paper, or by the row's authors)",
        "measured here (colour of the method)"
        + (", or imported (outside)" if any(cell.outside for cell in table.cells) else ""),
    ]
    if any(len(cell.seeds) > 1 for cell in table.cells):
        handles.append(Line2D([], [], color=style.INK, marker="|", ms=6, lw=0))
        labels.append("a training seed")
    if any(cell.progress for cell in table.cells):
        handles.append(Line2D([], [], color=style.INK, marker="o", mfc="white", mew=1.1, lw=1.6))
        labels.append("training has not ended")
    n_column = len(labels) if len(shots) > 1 else 1
    fig.legend(handles, labels, loc="outside lower center", ncols=n_column)
    return fig


def _labels(table: Table) -> list[str]:
    """Names of the rows; below those that the paper does not have, that it does not."""
    known = len(table.of.rows)
    outside = {cell.method for cell in table.cells if cell.outside}
    return [
        title
        if i < known
        else textwrap.fill(title, 26)
        if method in outside
        else f"{textwrap.fill(title, 26)}\n({NOT_IN_PAPER})"
        for i, (method, title) in enumerate(zip(table.methods, table.row_titles, strict=True))
    ]


def _row(axes: Axes, cell: Cell, y: int, color: str) -> None:
    if cell.reported is not None:
        _point(axes, cell.reported, y - _OFFSET, style.MUTED, filled=False)
    if cell.measured is not None:
        at = y + (_OFFSET if cell.reported else 0)
        _point(axes, cell.measured, at, color, filled=True, note=cell.progress)
        if len(cell.seeds) > 1:  # below the interval, which would cover them
            below = [at + _OFFSET] * len(cell.seeds)
            axes.plot(cell.seed_means, below, "|", color=color, ms=6, mew=1.2)
    else:
        x = cell.reported.mean if cell.reported else sum(axes.get_xlim()) / 2
        axes.annotate(cell.verdict, (x, y + _OFFSET), ha="center", va="center", fontsize=7.5)


def plot_table(table: Table, out_dir: Path) -> list[Path]:
    """Draw ``table1.png`` and ``table1.svg``: a row per method, a panel per shot.

    Raises:
        RecordError: nothing was measured.
    """
    if all(cell.measured is None for cell in table.cells):
        raise RecordError("no cell of the table was run; run `repro reproduce` first")
    with style.applied():
        return style.save(draw(table, table.shots), out_dir / "table1")
