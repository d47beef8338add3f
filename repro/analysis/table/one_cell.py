"""One cell of the table and all that is known of it: reported, public re-runs, every test here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from repro.analysis import style
from repro.analysis.seeds import ignoring_seed, stacked
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.seeds import estimate
from repro.analysis.table.cell import Cell
from repro.analysis.text import percent, percent_interval
from repro.papers.config import recipe
from repro.records import Record, other_revision
from repro.system.errors import RecordError

BASE = "authors-code"
REPORTED, RERUN, HERE = "reported", "public re-run", "measured here"


@dataclass(frozen=True)
class Line:
    """One line of the figure; ``seed_means`` where there are several training seeds."""

    label: str
    kind: str
    interval: Interval
    transductive: bool = False
    seed_means: tuple[float, ...] = ()


def _variant(record: Record, base: dict[str, object]) -> str:
    """What the test has that another of the cell might not have."""
    own = dict(record.config.get("recipe") or {})
    changed = [f"{k}={v}" for k, v in own.items() if k in base and base[k] != v]
    asked = f" of {int(record.training['n_step']):,}" if record.at_step is not None else ""
    told = [", ".join([BASE, *changed]), f"{record.n_step:,}{asked} steps"]
    if record.unfinished:
        told.append("not finished")
    return ", ".join(told)


def _of(cell: Cell, records: Iterable[Record], budget: str) -> list[Record]:
    """The tests of the cell, the newest last: of its row, shot, task, images and budget, trained
    for its shot, and of this code's arithmetic."""
    found = [
        record
        for record in sorted(records, key=lambda r: r.when)
        if (record.method, record.k_shot, record.task) == (cell.method, cell.k_shot, cell.task)
        and record.budget_name == budget
        and record.config.get("train_k_shot") is None
        and not other_revision(record)
    ]
    # A cell that only other recipes ran has no images of its own: the newest then say which.
    images = cell.images or next((r.digests.get("data") for r in reversed(found)), "")
    return [record for record in found if record.digests.get("data") == images]


def lines(cell: Cell, records: Iterable[Record], budget: str = "paper") -> list[Line]:
    """The reported number, the public re-runs and a line for each config tested here.

    Seeds of one config are one line. Earlier tests of a training have no interval.

    Args:
        cell: of the table. records: those that :func:`_of` leaves out are passed over.
    Raises:
        RecordError: the cell was not run with the paper's budget, or was imported.
    """
    if cell.outside:
        raise RecordError(
            f"{cell.title} was imported, not measured here, so there are no tests of it to draw; "
            "repro plot-table and repro compare show it"
        )
    found = []
    if cell.reported:
        interval = Interval(cell.reported.mean, cell.reported.half_width)
        found.append(Line(cell.reported.source, REPORTED, interval))
    for published in (rerun.published for rerun in cell.reruns):
        recipe_told = f" ({published.recipe})" if published.recipe else ""
        interval = Interval(published.mean, published.half_width)
        found.append(Line(published.source + recipe_told, RERUN, interval, published.transductive))
    groups: dict[str, dict[int, Record]] = {}
    for record in _of(cell, records, budget):
        groups.setdefault(ignoring_seed(record), {})[record.seed] = record
    base = recipe(BASE).switches()
    ours = []
    for group in groups.values():
        shown = [group[seed] for seed in sorted(group)]
        accuracy = stacked(shown)
        seeds = f"{len(shown)} seeds" if len(shown) > 1 else f"seed {shown[0].seed}"
        ours.append(
            Line(
                f"{_variant(shown[0], base)}, {seeds}", HERE, estimate(accuracy).interval,
                shown[0].transductive, tuple(accuracy.mean(1)) if len(shown) > 1 else (),
            )
        )  # fmt: skip
        ours += [
            Line(
                f"{BASE}, {int(test['reached_step']):,} steps, seed {record.seed}, "
                "an earlier test", HERE, Interval(float(test["accuracy"]), math.inf),
            )
            for record in shown
            for test in record.earlier_tests
            if record.recipe_name == BASE and test["reached_step"] != record.n_step
        ]  # fmt: skip
    if not ours:
        raise RecordError(
            f"there is no record of {cell.method} {cell.k_shot}-shot with budget {budget}; "
            "`repro table` shows what there is"
        )
    return found + sorted(ours, key=lambda line: (line.label, line.transductive))


def _draw(shown: Sequence[Line], cell: Cell) -> Figure:
    fig = style.new_figure(9.6, 1.3 + 0.36 * len(shown))
    axes = fig.subplots()
    colors = {
        REPORTED: style.ACCENT,
        RERUN: style.MUTED,
        HERE: style.colors([cell.method])[cell.method],
    }
    first = shown[0]
    if first.kind == REPORTED:
        low, high = first.interval.low, first.interval.high
        axes.axvspan(low, high, color=style.ACCENT, alpha=0.10, lw=0, zorder=0)
    for y, line in enumerate(shown):
        color = colors[line.kind]
        known = math.isfinite(line.interval.half_width)  # not of an earlier test
        axes.errorbar(
            [line.interval.mean], [y], color=color, ms=5,
            xerr=[line.interval.half_width if known else 0.0],
            fmt="s" if line.transductive else "o", mfc="white" if line.transductive else color,
            mew=1.2, elinewidth=1.6, capsize=3,
        )  # fmt: skip
        if line.seed_means:
            below = [y + 0.28] * len(line.seed_means)
            axes.plot(line.seed_means, below, "|", color=color, ms=6, mew=1.2)
        axes.annotate(
            percent_interval(line.interval) if known else percent(line.interval.mean), (1.01, y),
            xycoords=("axes fraction", "data"),
            va="center", fontsize=8, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(shown)), [line.label for line in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("accuracy, 95% interval over episodes, and over seeds where there are several")
    axes.xaxis.set_major_formatter(style.percent_axis())
    style.heading(fig, f"{cell.title}, {cell.k_shot}-shot: reported, "
                       "re-run by others, and measured here")  # fmt: skip
    handles = [
        *(Line2D([], [], color=colors[k], marker="o", lw=1.6, label=k)
          for k in dict.fromkeys(line.kind for line in shown)),
        Line2D([], [], color=style.INK, marker="s", mfc="white", lw=0, label="transductive test"),
    ]  # fmt: skip
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return fig


def plot_cell(
    cell: Cell, records: Iterable[Record], folder: Path, budget: str = "paper"
) -> list[Path]:
    """Draw ``cell-METHOD-K-shot.png`` and ``.svg``.

    Raises:
        RecordError: as :func:`lines`.
    """
    shown = lines(cell, records, budget)
    with style.applied():
        return style.save(_draw(shown, cell), folder / f"cell-{cell.method}-{cell.k_shot}-shot")
