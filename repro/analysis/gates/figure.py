"""Figure 3 of the paper: forget and input gates of the trained meta-LSTM over its updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from repro.analysis import style
from repro.analysis.gates import numbers as gate_numbers
from repro.analysis.gates.numbers import Background
from repro.analysis.seeds import siblings
from repro.analysis.table.table1 import not_comparable, select_records
from repro.papers import paper
from repro.records.files import GATES as FILE_OF_GATES
from repro.records.files import read_beside
from repro.records.schema import GatesFile
from repro.system import storage
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

FILE = FILE_OF_GATES
GATES = ("forget", "input")
_TITLES = {"forget": "forget gate  $f_t$", "input": "input gate  $i_t$"}
Content = dict[str, Any]


def _read(record: Record) -> Content:
    """The gates of one record.

    Raises:
        RecordError: missing, damaged or not those of the record.
    """
    path = record.path / FILE
    content = storage.parse_json(read_beside(record, FILE), path)
    try:
        storage.conform(content, GatesFile)
    except ValueError as error:
        raise RecordError(
            f"{path} is not a valid file of gates ({error}); test the cell again with --force"
        ) from error
    return dict(content)


def read_gates(records: Iterable[Record]) -> dict[int, Content]:
    """Gates by shot, of one record each (:func:`repro.analysis.table.table1.select_records`).

    Raises:
        RecordError: no record has gates, or one is damaged.
    """
    with_gates = [r for r in records if r.method == "meta_lstm" and (r.path / FILE).exists()]
    found = {}
    for r in select_records(with_gates, None):
        planned = int(r.training.get("n_step", 0))
        told = f"{r.n_step:,} of {planned:,} steps" if r.unfinished else ""
        found[r.k_shot] = {**_read(r), "progress": told}
    if not found:
        raise RecordError(
            f"no record of meta_lstm with a {FILE}; run the cell first, for instance "
            "`repro reproduce --methods meta_lstm`"
        )
    return found


def background(records: Iterable[Record]) -> Background:
    """What the gates of :func:`read_gates` were trained with, and those of other seeds."""
    traced = [r for r in records if r.method == "meta_lstm" and (r.path / FILE).exists()]
    shown = select_records(traced, None)
    unfinished = {
        r.k_shot: f"{r.n_step:,} of {int(r.training['n_step']):,} steps"
        for r in shown
        if r.unfinished
    }
    others = [
        gate_numbers.numbers({r.k_shot: _read(r)})
        for first in shown
        for r in siblings(first, traced)
        if r is not first
    ]
    reasons = (f"{r.k_shot}-shot: {why}" for r in shown if (why := not_comparable(r, r.dataset)))
    return Background(unfinished, others, "; ".join(reasons))


def draw_panel(axes: Axes, found: Mapping[str, Any]) -> None:
    """One layer's gate: all coordinates as a band, one coordinate as a curve per episode."""
    color = style.COLORS["meta_lstm"]
    steps = np.arange(1, len(found["untrained"]) + 1)
    for low, high, alpha in (("5", "95", 0.16), ("25", "75", 0.26)):
        band = found["band"]
        axes.fill_between(steps, band[low], band[high], color=color, alpha=alpha, lw=0, zorder=1)
    axes.plot(steps, np.transpose(found["trace"]), color=color, lw=0.6, alpha=0.55, zorder=2)
    axes.plot(steps, found["untrained"], color=style.ACCENT, lw=1.3, ls=(0, (4, 2)), zorder=3)
    axes.set_xlim(1, max(2, len(steps)))
    axes.set_xticks(sorted({1, (len(steps) + 1) // 2, len(steps)}))
    axes.set_ylim(0, 1.1)
    axes.set_yticks((0, 0.25, 0.5, 0.75, 1.0))
    # Above the panel: inside there may be no place without a curve.
    axes.text(
        0.5,
        1.03,
        f"mean {found['mean']:#.3g}, initial {found['untrained_mean']:#.3g}",
        transform=axes.transAxes,
        ha="center",
        va="bottom",
        fontsize=7,
        color=style.INK,
    )


def _draw(found: dict[int, Content]) -> Figure:
    shots = sorted(found)
    n_column = sum(len(found[shot]["layers"]) for shot in shots)
    fig = style.new_figure(max(7.5, 1.5 * n_column + 0.6), 4.4)
    upper, lower = fig.subfigures(2, 1, height_ratios=(12, 1), squeeze=False)[:, 0]
    blocks = upper.subfigures(1, len(shots), wspace=0.02, squeeze=False)[0]
    missing = [f"{shot}-shot" for shot in paper.SHOTS if shot not in found]
    for block, shot in zip(blocks, shots, strict=True):
        content = found[shot]
        layers = content["layers"]
        absent = f"   ({', '.join(missing)}: not run)" if missing else ""
        absent += f"   ({content['progress']})" if content["progress"] else ""
        block.suptitle(f"{shot}-shot{absent}", fontsize=11.5, fontweight="bold")
        axes = block.subplots(2, len(layers), sharex=True, sharey=True, squeeze=False)
        for row, gate in enumerate(GATES):
            for column, layer in enumerate(layers):
                panel = axes[row, column]
                draw_panel(panel, content["gates"][gate][layer])
                if row == 0:
                    panel.set_title(layer, pad=14)
            axes[row, 0].set_ylabel(_TITLES[gate], parse_math=True)
        block.supxlabel("update", fontsize=9)
    n_episode = sorted({int(found[shot]["n_episode"]) for shot in shots})
    color = style.COLORS["meta_lstm"]
    handles = [
        Line2D([], [], color=color, lw=1),
        Patch(color=color, alpha=0.38, lw=0),
        Patch(color=color, alpha=0.16, lw=0),
        Line2D([], [], color=style.ACCENT, lw=1.3, ls=(0, (4, 2))),
    ]
    labels = [
        f"one coordinate, {' or '.join(map(str, n_episode))} episodes",
        "all coordinates, 25–75%",
        "all coordinates, 5–95%",
        "before training",
    ]
    lower.legend(handles, labels, loc="center", ncols=4 if n_column > 5 else 2)
    return fig


def plot_gates(records: Iterable[Record], out_dir: Path) -> list[Path]:
    """Draw ``gates.png`` and ``gates.svg``: forget and input gates (rows) per layer (columns).

    1-shot and 5-shot stand side by side; a shot that was not run is said to be missing. Thin
    curves are one coordinate in each episode, bands the percentiles of all coordinates of the
    layer, the dashed line the mean before training.

    Raises:
        RecordError: no record has gates, or one is damaged.
    """
    found = read_gates(records)
    with style.applied():
        return style.save(_draw(found), out_dir / "gates")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  ".join(
            value.ljust(width) if i < 2 else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    ]


def summary(records: Iterable[Record]) -> str:
    """What Figure 3 shows as a table per gate and layer; gates lie between 0 and 1.

    Trained minus initial mean, variance between episodes (of the mean over updates, averaged
    over coordinates), and the last shot's mean minus the first's.

    Raises:
        RecordError: no record has gates, or one is damaged.
    """
    found = read_gates(records)
    shots = sorted(found)
    header = ["gate", "layer"]
    for shot in shots:
        header += [f"{shot}-shot mean", "- initial", "episode var."]
    if len(shots) > 1:
        header.append(f"{shots[-1]}- minus {shots[0]}-shot")
    rows = []
    for gate in GATES:
        for layer in found[shots[0]]["layers"]:
            row = [gate, layer]
            cells = [found[shot]["gates"][gate][layer] for shot in shots]
            for cell in cells:
                change = cell["mean"] - cell["untrained_mean"]
                row += [f"{cell['mean']:.5f}", f"{change:+.5f}", f"{cell['episode_variance']:.1e}"]
            if len(shots) > 1:
                row.append(f"{cells[-1]['mean'] - cells[0]['mean']:+.5f}")
            rows.append(row)
    lines = _table(header, rows)
    lines += [f"{shot}-shot: not run" for shot in paper.SHOTS if shot not in found]
    return "\n".join(lines) + "\n"
