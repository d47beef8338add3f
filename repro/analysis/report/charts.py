"""The report's charts: the figures' own drawings, a panel at a time, so that a phone shows each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from repro.analysis import curves, style
from repro.analysis.ablation import forest
from repro.analysis.compare import distributions
from repro.analysis.confusion import Confusion
from repro.analysis.gates import figure as gates
from repro.analysis.table import bars as table_bars
from repro.analysis.table.cell import NOT_IN_PAPER, Cell
from repro.analysis.table.table1 import Table
from repro.analysis.text import percent, percent_interval

if TYPE_CHECKING:
    from repro.analysis.ablation.effects import Ablation
    from repro.records import Record


def _picture(draw: Callable[[], Figure], label: str) -> Markup:
    with style.applied():
        return style.inline(draw(), label)


def bars(table: Table, k_shot: int) -> Markup:
    """Reported (squares) and measured (discs) accuracy with intervals, a row per method."""
    said = ". ".join(_said(cell) for cell in table.cells if cell.k_shot == k_shot)
    label = f"{k_shot}-shot, accuracy in percent. {said}."
    return _picture(lambda: table_bars.draw(table, [k_shot]), label)


def _said(cell: Cell) -> str:
    reported = f"reported {percent_interval(cell.reported)}" if cell.reported else NOT_IN_PAPER
    what = "imported" if cell.outside else "measured"
    measured = f"{what} {percent_interval(cell.measured)}" if cell.measured else cell.verdict
    several = len(cell.seeds) > 1
    seeds = f" (seeds {', '.join(map(percent, cell.seed_means))})" if several else ""
    return f"{cell.title}: {reported}, {measured}{seeds}"


def distribution(records: Sequence[Record], k_shot: int) -> Markup:
    """How many episodes had which accuracy: a histogram per method."""
    said = []
    for record in records:
        low, half, high = np.percentile(record.accuracy, (5, 50, 95))
        said.append(
            f"{record.title}: median {percent(half, digits=0)}, 5 to 95 percent of episodes "
            f"between {percent(low, digits=0)} and {percent(high, digits=0)}"
        )
    label = f"{k_shot}-shot, per-episode accuracy. {'. '.join(said)}."
    return _picture(lambda: distributions.draw(records), label)


def training(shown: curves.Drawn, name: str) -> Markup:
    """Training accuracy as a line, meta-validation as points with intervals."""
    curve = shown.curve
    last = max([*curve.step.tolist(), *curve.validation_step.tolist()], default=0.0)
    best = curve.validation.max(initial=0.0)
    told = (
        f"best meta-validation {percent(float(best), digits=1)} percent"
        if len(curve.validation)
        else "no meta-validation"
    )
    label = f"{name}: accuracy over {last:,.0f} training steps, {told}."
    one = {(shown.key, shown.record.k_shot): shown}
    return _picture(lambda: curves.draw(one, legend=False), label)


def gate(found: Mapping[str, Any], label: str) -> Markup:
    """Bands over all coordinates, one coordinate a curve per episode, dashed the initial mean."""

    def draw() -> Figure:
        fig = style.new_figure(2.3, 1.8)
        fig.set_layout_engine("none")  # there are many, all of one shape
        axes = fig.add_axes((0.2, 0.27, 0.75, 0.61))
        gates.draw_panel(axes, found)
        axes.set_xlabel("update")
        return fig

    band = found["band"]
    told = (
        f"{label}: mean {found['mean']:.3f}, before training {found['untrained_mean']:.3f}; "
        f"5 to 95 percent of coordinates at the last update from {band['5'][-1]:.3f} to "
        f"{band['95'][-1]:.3f}."
    )
    return _picture(draw, told)


def ablation(found: Ablation) -> Markup:
    """Effects with intervals, a row per switch."""
    said = ". ".join(f"{effect.label}: {percent(effect.effect, True)}" for effect in found.effects)
    label = f"Effects of the switches of {found.base} in points, {found.k_shot}-shot. {said}."
    return _picture(lambda: forest.draw(found), label)


def confusion(found: Confusion, label: str) -> Markup:
    """True classes down, predicted across; the darker, the larger the share of chances taken."""

    def draw() -> Figure:
        n = len(found.names)
        fig = style.new_figure(3.6, 3.6)
        axes = fig.subplots()
        shares = np.ma.masked_invalid(found.share)
        axes.imshow(shares, cmap=style.SHADES, vmin=0, vmax=1, interpolation="none")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks(range(n), [str(i + 1) for i in range(n)], fontsize=6)
            axis.set_tick_params(length=0)
        axes.xaxis.tick_top()
        axes.grid(visible=False)
        return fig

    return _picture(draw, label)
