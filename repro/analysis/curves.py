"""Training curves: accuracy on training batches and on meta-validation, with intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from repro.analysis import style
from repro.analysis.table.table1 import select_records
from repro.papers import paper
from repro.papers.catalogue import order
from repro.papers.method_names import PRETRAIN
from repro.records.files import CURVE, read_beside
from repro.records.schema import Line, TrainLine
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

FILE = CURVE
_LINES = msgspec.json.Decoder(Line)
PRETRAINING = "Pre-training, validated by nearest neighbor"
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
        """Running mean over :data:`SMOOTHING` of the points, as many before a point as after it.

        At the ends it covers fewer, so that the line begins and ends where the points do.
        """
        n = len(self.accuracy)
        total = np.concatenate([[0.0], np.cumsum(self.accuracy)])
        place = np.arange(n)
        reach = np.minimum(np.minimum(place, n - 1 - place), round(SMOOTHING * n) // 2)
        found: Values = (total[place + reach + 1] - total[place - reach]) / (2 * reach + 1)
        return found


@dataclass(frozen=True)
class Drawn:
    """What is drawn of one training and shot.

    Attributes:
        key: the row, or ``pretrain`` for the training that rows share.
        title: of the row or training. note: what else has to be told; may be empty.
    """

    record: Record
    key: str
    title: str
    note: str
    curve: Curve

    @property
    def chance(self) -> float:
        """In an episode of the training and its validation, whatever the test's are."""
        return 1 / float(self.record.config.get("train_n_way") or paper.N_WAY)


def drawn(record: Record) -> Drawn:
    """The curve of a record, under the title of what was trained and validated.

    Of a training at another shot the line is left out: it is accuracy at that other shot.

    Raises:
        RecordError: the file is missing or damaged.
    """
    curve = read_curve(record)
    trained, told = record.training.get("k_shot"), []
    if trained and int(trained) != record.k_shot:
        empty = np.empty(0, np.float64)
        curve = replace(curve, step=empty, accuracy=empty)
        told.append(f"trained at {trained}-shot")
    if record.unfinished:
        told.append(f"{record.n_step:,} of {int(record.training['n_step']):,} steps")
    key, title = record.method, record.title
    if record.training.get("name") == PRETRAIN:
        key, title = PRETRAIN, PRETRAINING
    return Drawn(record, key, title, "\n".join(told), curve)


def read_curve(record: Record) -> Curve:
    """The curve of a record's training with the validation at its shot.

    Raises:
        RecordError: the file is missing, damaged or not that of the record.
    """
    return parse_curve(read_beside(record, FILE), record.path / FILE, record.k_shot)


def parse_curve(content: bytes, path: Path, k_shot: int) -> Curve:
    """The curve in a file's content, with the validation at ``k_shot``.

    Raises:
        RecordError: it is damaged; the path is named.
    """
    shot = str(k_shot)
    train: list[tuple[float, float]] = []
    validation: list[tuple[float, float, float]] = []
    try:
        for line in _LINES.decode_lines(content):
            if isinstance(line, TrainLine):
                train.append((line.step, line.accuracy))
            elif shot in line.accuracy:
                validation.append((line.step, line.accuracy[shot], line.half_width[shot]))
    except (KeyError, ValueError) as error:
        raise RecordError(
            f"{path} is not a readable training curve ({error}); test the cell again with --force"
        ) from error
    first = np.array(train, np.float64).reshape(-1, 2)
    second = np.array(validation, np.float64).reshape(-1, 3)
    return Curve(first[:, 0], first[:, 1], second[:, 0], second[:, 1], second[:, 2])


def _steps(value: float, _: int | None = None) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _panel(axes: Axes, shown: Drawn, color: str) -> None:
    curve = shown.curve
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
    axes.axhline(shown.chance, color=style.MUTED, lw=0.9, ls=":")
    axes.text(0.97, 0.97, shown.note, transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(FuncFormatter(_steps))


def draw(curves: Mapping[tuple[str, int], Drawn], legend: bool = True) -> Figure:
    """A column per training, a row per shot; use within :func:`repro.analysis.style.applied`."""
    titles = {shown.key: shown.title for shown in curves.values()}
    methods = sorted(titles, key=lambda key: order("nearest_neighbor" if key == PRETRAIN else key))
    colors = style.colors(key for key in methods if key != PRETRAIN)
    colors[PRETRAIN] = colors["nearest_neighbor"]
    shots = sorted({shot for _, shot in curves})
    fig = style.new_figure(max(5.0, 2.35 * len(methods) + 0.5), 2.2 * len(shots) + 0.9)
    panels = fig.subplots(len(shots), len(methods), sharey=True, sharex="col", squeeze=False)
    for column, method in enumerate(methods):
        panels[0, column].set_title(textwrap.fill(titles[method], 24), parse_math=False)
        for row, shot in enumerate(shots):
            axes = panels[row, column]
            if (method, shot) in curves:
                _panel(axes, curves[method, shot], colors[method])
            else:
                axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", va="center")
        # Now that both shots are drawn: it ends the scaling of the axis that they share.
        panels[0, column].set_xlim(left=0)
    for row, shot in enumerate(shots):
        panels[row, 0].set_ylabel(f"{shot}-shot accuracy")
        panels[row, 0].set_ylim(0, 1)
        panels[row, 0].yaxis.set_major_formatter(style.percent_axis())
    fig.supxlabel("training step", fontsize=9)
    if not legend:
        return fig
    handles = [
        Line2D([], [], color=style.MUTED, lw=1.6),
        Line2D([], [], color=style.INK, marker="o", mfc="white", ms=4, lw=0.9),
        Line2D([], [], color=style.MUTED, lw=0.9, ls=":"),
    ]
    # Three columns do not fit the width of two panels.
    labels = [
        "training (pre-training: over all training classes)",
        "meta-validation, 95% interval",
        "chance in an episode",
    ]
    fig.legend(handles, labels, loc="outside upper center", ncols=3 if len(methods) > 2 else 1)
    return fig


def plot_curves(records: Iterable[Record], out_dir: Path) -> list[Path]:
    """Draw ``training_curves.png`` and ``.svg``: a panel per training and shot.

    The pre-training that rows share is one panel, whichever of them was run.

    Raises:
        RecordError: no record has a training curve, or one is damaged.
    """
    trained = [record for record in records if (record.path / FILE).exists()]
    found = [drawn(record) for record in select_records(trained, None)]
    curves = {(shown.key, shown.record.k_shot): shown for shown in found}
    if not curves:
        raise RecordError(f"no record with a {FILE}; run `repro reproduce` first")
    with style.applied():
        return style.save(draw(curves), out_dir / "training_curves")
