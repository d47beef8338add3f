"""Training curves: accuracy on training batches and on meta-validation, with intervals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from repro import paper
from repro.analysis import style
from repro.analysis.table1 import select_records
from repro.errors import RecordError
from repro.record_files import CURVE, read_beside
from repro.record_schema import Line, TrainLine
from repro.rows import order

if TYPE_CHECKING:
    from repro.records import Record

FILE = CURVE
_LINES = msgspec.json.Decoder(Line)
SMOOTHING = 0.1  # share of the curve's points that a running mean covers
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """Accuracies are fractions; training and validation have their own steps."""

    step: Values
    accuracy: Values
    validation_step: Values
    validation: Values
    half_width: Values

    @property
    def smoothed(self) -> Values:
        """Centred running mean over :data:`SMOOTHING` of the points, shorter at the ends."""
        window = max(1, round(SMOOTHING * len(self.accuracy)))
        series = pd.Series(self.accuracy)
        return series.rolling(window, center=True, min_periods=1).mean().to_numpy(np.float64)


def read_curve(record: Record) -> Curve:
    """The curve of a record's training with the validation at its shot.

    Raises:
        RecordError: the file is missing, damaged or not that of the record.
    """
    shot = str(record.k_shot)
    train: list[tuple[float, float]] = []
    validation: list[tuple[float, float, float]] = []
    try:
        for line in _LINES.decode_lines(read_beside(record, FILE)):
            if isinstance(line, TrainLine):
                train.append((line.step, line.accuracy))
            elif shot in line.accuracy:
                validation.append((line.step, line.accuracy[shot], line.half_width[shot]))
    except (KeyError, ValueError) as error:
        raise RecordError(
            f"{record.path / FILE} is not a readable training curve ({error}); test the cell "
            "again with --force"
        ) from error
    first = np.array(train, np.float64).reshape(-1, 2)
    second = np.array(validation, np.float64).reshape(-1, 3)
    return Curve(first[:, 0], first[:, 1], second[:, 0], second[:, 1], second[:, 2])


def _steps(value: float, _: int | None = None) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _panel(axes: Axes, record: Record, curve: Curve, color: str) -> None:
    axes.plot(curve.step, curve.accuracy, color=color, lw=0.6, alpha=0.35)
    axes.plot(curve.step, curve.smoothed, color=color, lw=1.6)
    axes.errorbar(
        curve.validation_step,
        curve.validation,
        yerr=curve.half_width,
        fmt="o",
        ms=3.2,
        color=style.INK,
        mfc="white",
        mew=1,
        elinewidth=0.9,
        capsize=1.8,
        zorder=3,
    )
    chance = 1 / float(record.config.get("n_way", paper.N_WAY))
    axes.axhline(chance, color=style.MUTED, lw=0.9, ls=":")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(_steps))


def _draw(curves: dict[tuple[str, int], tuple[Record, Curve]]) -> Figure:
    titles = {record.method: record.title for record, _ in curves.values()}
    methods = sorted(titles, key=order)
    colors = style.colors(methods)
    shots = sorted({shot for _, shot in curves})
    fig = style.new_figure(max(5.0, 2.35 * len(methods) + 0.5), 2.2 * len(shots) + 0.9)
    panels = fig.subplots(len(shots), len(methods), sharey=True, sharex="col", squeeze=False)
    for column, method in enumerate(methods):
        panels[0, column].set_title(titles[method], parse_math=False)
        for row, shot in enumerate(shots):
            axes = panels[row, column]
            if (method, shot) in curves:
                _panel(axes, *curves[method, shot], colors[method])
            else:
                axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center")
        # Now that both shots are drawn: it ends the scaling of the axis that they share.
        panels[0, column].set_xlim(left=0)
    for row, shot in enumerate(shots):
        panels[row, 0].set_ylabel(f"{shot}-shot accuracy")
        panels[row, 0].set_ylim(0, 1)
        panels[row, 0].yaxis.set_major_formatter(style.percent_axis())
    fig.supxlabel("training step", fontsize=9)
    handles = [
        Line2D([], [], color=style.MUTED, lw=1.6),
        Line2D([], [], color=style.INK, marker="o", mfc="white", ms=4, lw=0.9),
        Line2D([], [], color=style.MUTED, lw=0.9, ls=":"),
    ]
    # Three columns do not fit the width of two panels.
    labels = [
        "training (baselines: over all training classes)",
        "meta-validation, 95% interval",
        "chance in an episode",
    ]
    fig.legend(handles, labels, loc="outside upper center", ncols=3 if len(methods) > 2 else 1)
    return fig


def plot_curves(records: Iterable[Record], out_dir: Path) -> list[Path]:
    """Draw ``training_curves.png`` and ``.svg``: a panel per method and shot that was trained.

    Raises:
        RecordError: no record has a training curve, or one is damaged.
    """
    trained = [record for record in records if (record.path / FILE).exists()]
    curves = {(r.method, r.k_shot): (r, read_curve(r)) for r in select_records(trained, None)}
    if not curves:
        raise RecordError(f"no record with a {FILE}; run `repro reproduce` first")
    with style.applied():
        return style.save(_draw(curves), out_dir / "training_curves")
