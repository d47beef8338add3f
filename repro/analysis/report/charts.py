"""The report's charts, each a picture 360 px wide at most, so that a phone shows it whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from repro.analysis.confusion import Confusion
from repro.analysis.curves import Drawn
from repro.analysis.statistics.intervals import HasInterval, accuracy_histogram
from repro.analysis.svg import Frame, element
from repro.analysis.table.cell import NOT_IN_PAPER
from repro.analysis.table.table1 import Table
from repro.analysis.text import percent, percent_interval
from repro.papers import paper

if TYPE_CHECKING:
    from repro.records import Record

WIDTH = 360.0
_ROW = 46.0  # height of a method's row, px
N_CURVE_POINT = 150  # of a training curve; more cannot be seen at this width


def _percent_ticks(low: float, high: float, step: float) -> list[tuple[float, str]]:
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(i * step, f"{percent(i * step, digits=0)}%") for i in range(first, last + 1)]


def _mark(frame: Frame, interval: HasInterval, y: float, kind: str) -> Markup:
    half = interval.half_width if math.isfinite(interval.half_width) else 0.0
    x = frame.x(interval.mean)
    left, right = frame.x(interval.mean - half), frame.x(interval.mean + half)
    parts = [element("line", x1=left, x2=right, y1=y, y2=y, class_="whisker")]
    parts += [
        element("line", x1=at, x2=at, y1=y - 3.5, y2=y + 3.5, class_="whisker")
        for at in (left, right)
    ]
    if kind == "reported":
        parts.append(
            element("rect", x=x - 3.5, y=y - 3.5, width=7.0, height=7.0, class_="reported")
        )
    else:
        parts.append(element("circle", cx=x, cy=y, r=4.0, class_=f"mark {kind}"))
    side = right + 5 if right < frame.width - 90 else left - 5
    end = "" if right < frame.width - 90 else " end"
    parts.append(element("text", percent_interval(interval), x=side, y=y + 4, class_=f"tick{end}"))
    return Markup("").join(parts)


def bars(table: Table, k_shot: int) -> Markup:
    """Reported (squares) and measured (discs) accuracy with intervals, a row per method."""
    cells = [cell for cell in table.cells if cell.k_shot == k_shot]
    shown = [i.mean for c in cells for i in (c.reported, c.measured) if i is not None]
    shown += [mean for cell in cells for mean in cell.seed_means]
    low = math.floor(10 * min(0.2, *shown)) / 10
    high = math.ceil(10 * max(shown) + 0.1) / 10
    height = (_ROW + 14) * len(cells) + 34
    frame = Frame(WIDTH, height, (low, min(1.0, high)), (0, 1), left=12, right=14)
    parts = [frame.x_axis(_percent_ticks(low, min(1.0, high), 0.1 if high - low < 0.6 else 0.2))]
    said = []
    for row, cell in enumerate(cells):
        y = frame.top + row * (_ROW + 14)
        parts.append(element("text", cell.title, x=frame.left, y=y + 13, class_="name"))
        told, middle = f"{cell.title}: {NOT_IN_PAPER}", (low + high) / 2
        if cell.reported is not None:
            parts.append(_mark(frame, cell.reported, y + 27, "reported"))
            told = f"{cell.title}: reported {percent_interval(cell.reported)}"
            middle = cell.reported.mean
        if cell.measured is None:
            parts.append(
                element("text", cell.verdict, x=frame.x(middle), y=y + 49,
                        class_="tick middle")
            )  # fmt: skip
            said.append(f"{told}, {cell.verdict}")
        else:
            parts.append(_mark(frame, cell.measured, y + 45, cell.method))
            if len(cell.seeds) > 1:
                parts += [
                    element("line", x1=frame.x(mean), x2=frame.x(mean), y1=y + 49, y2=y + 57,
                            class_="whisker seed")
                    for mean in cell.seed_means
                ]  # fmt: skip
            by_seed = f" (seeds {', '.join(map(percent, cell.seed_means))})"
            several = by_seed if len(cell.seeds) > 1 else ""
            said.append(f"{told}, measured {percent_interval(cell.measured)}{several}")
    return frame.picture(f"{k_shot}-shot, accuracy in percent. {'. '.join(said)}.", *parts)


def distribution(records: Sequence[Record], k_shot: int) -> Markup:
    """How many episodes had which accuracy: a histogram per method, one bin per query."""
    chosen = [record for record in records if record.k_shot == k_shot]
    height = (_ROW + 14) * len(chosen) + 34
    frame = Frame(WIDTH, height, (0, 1), (0, 1), left=12, right=12)
    parts, said = [frame.x_axis(_percent_ticks(0, 1, 0.2))], []
    for row, record in enumerate(chosen):
        base = frame.top + (row + 1) * (_ROW + 14)
        n_query = int(record.config.get("n_way", paper.N_WAY)) * int(
            record.config.get("n_query", paper.N_QUERY)
        )
        counts, edges = accuracy_histogram(record.accuracy, n_query)
        for count, low, high in zip(counts, edges, edges[1:], strict=False):
            if count:
                size = (_ROW - 12) * float(count) / float(counts.max())
                width = frame.x(high) - frame.x(low) - 0.6
                parts.append(
                    element("rect", x=frame.x(low), y=base - size, width=width, height=size,
                            class_=f"fill {record.method}")
                )  # fmt: skip
        mean = float(record.accuracy.mean())
        at = frame.x(mean)
        parts.append(element("line", x1=at, x2=at, y1=base - _ROW + 12, y2=base, class_="whisker"))
        parts.append(element("line", x1=frame.left, x2=WIDTH - 12, y1=base, y2=base, class_="axis"))
        name = record.title
        parts.append(element("text", name, x=frame.left, y=base - _ROW + 4, class_="name"))
        low, half, high = np.percentile(record.accuracy, (5, 50, 95))
        said.append(
            f"{name}: median {percent(half, digits=0)}, 5 to 95 percent of episodes between "
            f"{percent(low, digits=0)} and {percent(high, digits=0)}"
        )
    return frame.picture(f"{k_shot}-shot, per-episode accuracy. {'. '.join(said)}.", *parts)


def _thinned(length: int) -> list[int]:
    """Places of at most :data:`N_CURVE_POINT` points, the last among them."""
    places = np.linspace(0, length - 1, min(length, N_CURVE_POINT))
    return sorted({round(place) for place in places.tolist()})


def training(shown: Drawn, name: str) -> Markup:
    """Smoothed training accuracy as a line, meta-validation as points with intervals."""
    record, curve = shown.record, shown.curve
    steps = [*curve.step.tolist(), *curve.validation_step.tolist()]
    last = max(steps, default=1.0)
    frame = Frame(WIDTH, 190, (0, last), (0, 1), right=22, bottom=38)
    parts = [frame.y_axis(_percent_ticks(0, 1, 0.25))]
    parts.append(frame.x_axis([(i * last / 2, f"{i * last / 2:,.0f}") for i in range(3)]))
    parts.append(element("text", "training step", x=190.0, y=186.0, class_="tick middle"))
    chance = 1 / float(record.config.get("n_way", paper.N_WAY))
    parts.append(frame.line([(0, chance), (last, chance)], class_="chance"))
    if len(curve.step):
        smooth = curve.smoothed
        points = [(float(curve.step[i]), float(smooth[i])) for i in _thinned(len(smooth))]
        parts.append(frame.line(points, class_=f"curve {record.method}"))
    validated = zip(
        curve.validation_step.tolist(), curve.validation.tolist(), curve.half_width.tolist(),
        strict=True,
    )  # fmt: skip
    for step, mean, half in validated:
        x = frame.x(step)
        y1, y2 = frame.y(mean - half), frame.y(mean + half)
        parts.append(element("line", x1=x, x2=x, y1=y1, y2=y2, class_="whisker"))
        parts.append(element("circle", cx=x, cy=frame.y(mean), r=2.4, class_="reported"))
    told = (
        f"best meta-validation {percent(float(curve.validation.max()), digits=1)} percent"
        if len(curve.validation)
        else "no meta-validation"
    )
    return frame.picture(f"{name}: accuracy over {last:,.0f} training steps, {told}.", *parts)


def gate(found: Mapping[str, Any], label: str) -> Markup:
    """Bands over all coordinates, one coordinate a curve per episode, dashed the initial mean."""
    n_step = len(found["untrained"])
    xs = [float(i) for i in range(1, n_step + 1)]
    frame = Frame(190, 140, (1, max(2, n_step)), (0, 1.05), left=32, bottom=34)
    band = found["band"]
    parts = [
        frame.y_axis([(v / 4, f"{v / 4:g}") for v in range(5)]),
        frame.x_axis([(v, str(v)) for v in sorted({1, (n_step + 1) // 2, n_step})]),
        element("text", "update", x=107.0, y=137.0, class_="tick middle"),
        frame.area(xs, band["5"], band["95"], class_="band"),
        frame.area(xs, band["25"], band["75"], class_="band"),
        *(frame.line(zip(xs, row, strict=True), class_="thread") for row in found["trace"]),
        frame.line(zip(xs, found["untrained"], strict=True), class_="initial"),
    ]
    told = (
        f"{label}: mean {found['mean']:.3f}, before training {found['untrained_mean']:.3f}; "
        f"5 to 95 percent of coordinates at the last update from {band['5'][-1]:.3f} to "
        f"{band['95'][-1]:.3f}."
    )
    return frame.picture(told, *parts)


def confusion(found: Confusion, label: str) -> Markup:
    """True classes down, predicted across; the darker, the larger the share of chances taken."""
    n, cell, margin = len(found.names), 13.0, 18.0
    parts = []
    for row, shares in enumerate(found.share.tolist()):
        parts.append(
            element("text", str(row + 1), x=margin - 4, y=margin + row * cell + 10,
                    class_="tiny end")
        )  # fmt: skip
        parts.append(
            element("text", str(row + 1), x=margin + row * cell + 6.5, y=margin - 4,
                    class_="tiny middle")
        )  # fmt: skip
        for column, share in enumerate(shares):
            if not math.isnan(share) and share > 0:
                parts.append(
                    element("rect", x=margin + column * cell, y=margin + row * cell,
                            width=cell - 1, height=cell - 1, class_="heat",
                            fill_opacity=f"{share:.2f}")
                )  # fmt: skip
    size = margin + n * cell
    parts.append(
        element("rect", x=margin - 0.5, y=margin - 0.5, width=n * cell, height=n * cell,
                class_="frame")
    )  # fmt: skip
    return Frame(size, size, (0, 1), (0, 1)).picture(label, *parts)
