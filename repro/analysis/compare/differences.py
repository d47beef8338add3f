"""The matrix of paired differences between methods, as a figure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro.analysis import style
from repro.analysis.compare.distributions import progress, title
from repro.analysis.report.differences_section import LEVEL, STRONG, Matrix, matrices, short
from repro.analysis.selection import one_each
from repro.analysis.text import percent
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

_DARK = 0.6  # shade from which ink cannot be read


def _panel(axes: Axes, found: Matrix, names: Sequence[str]) -> None:
    """Colour is the difference, bold text one that Holm's p-value tells from 0."""
    shades = np.array([[field.shade for field in fields] for _, fields in found.rows])
    axes.imshow(shades, cmap=seaborn.color_palette("vlag_r", as_cmap=True), vmin=-1, vmax=1)
    for row, (_, fields) in enumerate(found.rows):
        for column, field in enumerate(fields):
            mean, _, half_width = field.text.replace("\u00a0", " ").partition(" ± ")
            axes.text(
                column,
                row,
                f"{mean}\n± {half_width}" if half_width else mean.replace(" ", "\n"),
                ha="center",
                va="center",
                fontsize=8,
                fontweight="bold" if field.clear else "normal",
                color="white" if abs(field.shade) > _DARK else style.INK,
            )
    axes.set_xticks(range(len(names)), names, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xticks(np.arange(-0.5, len(names)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(visible=False, which="major")
    axes.grid(visible=True, which="minor", color="white", lw=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(f"{found.k_shot}-shot")


def _draw(found: Sequence[Matrix], records: Sequence[Record]) -> Figure:
    size = max(len(matrix.methods) for matrix in found)
    names = {record.method: short(record.method, record.title) for record in records}
    fig = style.new_figure((0.86 * size + 1.0) * len(found) + 0.2, 0.86 * size + 1.5)
    for axes, matrix in zip(fig.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _panel(axes, matrix, [names[method] for method in matrix.methods])
    style.heading(fig, f"Row minus column, same episodes, points: {title(records)}")
    several = len(one_each(records)) < len(records)
    seeds = ", and over seeds where several were run" if several else ""
    told = [
        f"± 95% over episodes{seeds}. Bold: p < {LEVEL:g} after Holm over all pairs shown. "
        f"Deepest colour: {percent(STRONG, digits=0)} points or more."
    ]
    unfinished = [
        f"{names[record.method]} {record.k_shot}-shot ({progress(record)})"
        for record in records
        if record.unfinished
    ]
    if unfinished:
        told.append(f"Unfinished trainings: {', '.join(unfinished)}.")
    width = round(16 * fig.get_figwidth())  # characters at this size of type
    lines = [line for sentence in told for line in textwrap.wrap(sentence, width)]
    fig.supxlabel("\n".join(lines), fontsize=8)
    return fig


def plot_differences(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw ``differences.png`` and ``.svg``: a matrix per shot, the numbers of the report.

    Raises:
        RecordError: no shot has two methods.
    """
    found = matrices(records)
    if not found:
        raise RecordError("a matrix of differences needs two methods at one shot; run more cells")
    with style.applied():
        return style.save(_draw(found, records), out_dir / "differences")
