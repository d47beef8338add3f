"""Histograms of the accuracies of episodes, one per method and shot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from repro.analysis import style
from repro.analysis.statistics.intervals import accuracy_histogram
from repro.analysis.text import percent, seeds_text
from repro.papers.catalogue import order
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

_BAND = (5, 95)  # percent of the episodes


def title(records: Sequence[Record]) -> str:
    """What every figure over several records says above itself."""
    shown = {
        "": {record.dataset for record in records},
        "recipe ": {record.recipe_name for record in records},
        "budget ": {record.budget_name for record in records},
    }
    named = [f"{what}{' and '.join(sorted(values))}" for what, values in shown.items()]
    return ", ".join([*named, seeds_text({record.seed for record in records})])


def progress(record: Record) -> str:
    """How far a training came that has not ended; empty for the others."""
    if not record.unfinished:
        return ""
    return f"{record.n_step:,} of {int(record.training['n_step']):,} steps"


def _panel(axes: Axes, record: Record, color: str) -> None:
    n_query = int(record.config["n_way"]) * int(record.config["n_query"])
    counts, edges = accuracy_histogram(record.accuracy, n_query)
    axes.stairs(counts, edges, fill=True, color=color, alpha=0.75, lw=0)
    low, high = np.percentile(record.accuracy, _BAND)
    mean = float(record.accuracy.mean())
    top = 1.5 * float(counts.max())  # room for the numbers
    axes.plot([low, high], [-0.05 * top] * 2, color=style.INK, lw=1.6, solid_capstyle="butt")
    axes.plot([mean, mean], [0, float(counts.max())], color=style.INK, lw=1.1)
    chance = 1 / int(record.config["n_way"])
    axes.axvline(chance, color=style.MUTED, lw=0.9, ls=":")
    left = high > 0.8  # where the bars are not
    told = [f"mean {percent(mean)}, {percent(low, digits=0)} to {percent(high, digits=0)}"]
    axes.text(
        chance + 0.02 if left else 0.99,
        0.98,
        "\n".join(filter(None, [*told, progress(record)])),
        transform=axes.transAxes,
        ha="left" if left else "right",
        va="top",
        fontsize=7.5,
        linespacing=1.3,
    )
    axes.set_ylim(-0.1 * top, top)
    axes.set_yticks([])
    axes.grid(axis="y", visible=False)


def draw(records: Sequence[Record]) -> Figure:
    """A row per method, a column per shot; use within :func:`repro.analysis.style.applied`."""
    titles = {record.method: record.title for record in records}
    methods = sorted(titles, key=order)
    colors = style.colors(methods)
    shots = sorted({record.k_shot for record in records})
    by_cell = {(record.method, record.k_shot): record for record in records}
    fig = style.new_figure(3.6 * len(shots) + 1.6, 1.05 * len(methods) + 1.3)
    panels = fig.subplots(len(methods), len(shots), sharex=True, squeeze=False)
    for row, method in enumerate(methods):
        for column, shot in enumerate(shots):
            axes, record = panels[row, column], by_cell.get((method, shot))
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(style.percent_axis())
            axes.spines["left"].set_visible(False)
            if row == 0:
                axes.set_title(f"{shot}-shot")
            if record is None:
                axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center")
                axes.set_yticks([])
                continue
            _panel(axes, record, colors[method])
        name = "\n".join(textwrap.wrap(titles[method], 18))
        panels[row, 0].set_ylabel(name, rotation=0, ha="right", va="center")
    n_episode = " or ".join(map(str, sorted({record.n_episode for record in records})))
    for axes in panels[-1]:
        axes.set_xlabel("accuracy of an episode")
    style.heading(fig, f"{n_episode} episodes a cell: {title(records)}")
    handles = [
        Patch(color=style.MUTED, alpha=0.75, lw=0),
        Line2D([], [], color=style.INK, lw=1.1, marker="|", ls="", ms=9),
        Line2D([], [], color=style.INK, lw=1.6),
        Line2D([], [], color=style.MUTED, lw=0.9, ls=":"),
    ]
    labels = ["episodes", "mean", f"{_BAND[0]}–{_BAND[1]}% of episodes", "chance"]
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def plot_distributions(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw ``distributions.png`` and ``.svg``: a row per method, a column per shot.

    Two queries to a bin; the heights of one panel are not those of another.

    Raises:
        RecordError: there is no record.
    """
    if not records:
        raise RecordError("there is no record to draw; run `repro reproduce` first")
    with style.applied():
        return style.save(draw(records), out_dir / "distributions")
