"""The forest plot of an ablation: effects with intervals, beside the effect of another seed."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from repro.analysis import style
from repro.analysis.ablation.effects import Ablation, Effect
from repro.analysis.ablation.formats import SEED_ROW, effect_text, title
from repro.analysis.statistics.seeds import BOTH
from repro.analysis.text import percent
from repro.system.errors import RecordError

BAND = "#E9EDF2"


def _row(axes: Axes, effect: Effect, y: int, color: str) -> None:
    if len(effect.seeds) > 1:
        # Below the interval, which would cover them.
        below = [y + 0.3] * len(effect.seeds)
        axes.plot(effect.effect_by_seed, below, "|", color=style.MUTED, ms=5, mew=1.1)
    axes.errorbar(
        [effect.effect],
        [y],
        xerr=[effect.half_width or 0.0],
        fmt="o" if effect.retrained else "s",
        color=color,
        mfc=color if effect.p_holm < 0.05 else "white",
        ms=4.5,
        mew=1.2,
        elinewidth=1.6,
        capsize=3,
        zorder=3,
    )


def draw(found: Ablation) -> Figure:
    """A row per switch; use within :func:`repro.analysis.style.applied`."""
    effects, pairs = found.effects, found.seed_pairs
    labels = ([SEED_ROW] if pairs else []) + [effect.label for effect in effects]
    first = 1 if pairs else 0
    fig = style.new_figure(8.2, 1.75 + 0.3 * len(labels))
    axes = fig.subplots()
    color = style.colors([found.method])[found.method]
    band = found.between_seeds
    if band is not None:
        axes.axvspan(-band, band, color=BAND, zorder=0, lw=0)
    axes.axvline(0, color=style.INK, lw=0.9, zorder=1)
    if pairs:
        both = [*pairs, *(-pair for pair in pairs)]
        axes.plot(both, [0] * len(both), "|", color=style.ACCENT, ms=9, mew=1.4)
    for place, effect in enumerate(effects):
        y = first + place
        _row(axes, effect, y, color)
        axes.annotate(
            effect_text(effect) + ("*" if effect.unfinished else ""),
            (1.01, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            annotation_clip=False,
        )
    n_shared = sum(not effect.retrained for effect in effects)
    if 0 < n_shared < len(effects):
        axes.axhline(first + n_shared - 0.5, color=style.MUTED, lw=0.6, ls=":")
    if pairs:
        axes.axhline(0.5, color=style.MUTED, lw=0.6, ls=":")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    told = "effect on accuracy, points (filled: p below 0.05 after Holm"
    if any(effect.unfinished for effect in effects):
        told += "; *: a training that had not come to its end"
    axes.set_xlabel(f"{told})")
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: percent(value, signed=value != 0, digits=0)
                      if abs(100 * value - round(100 * value)) < 1e-6
                      else percent(value, signed=True, digits=1))
    )  # fmt: skip
    head, _, rest = title(found).partition(": ")
    fig.suptitle(f"{head}\n{rest.partition(' (')[0]}", fontsize=10)
    _legend(fig, found, color)
    return fig


def _legend(fig: Figure, found: Ablation, color: str) -> None:
    covers = {effect.covers for effect in found.effects}
    what = "seeds and episodes" if covers == {BOTH} else "episodes"
    if len(covers) > 1:
        what = "episodes, and seeds where several"
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=color, marker="o", mfc="white", ms=4.5, lw=1.6),
        Line2D([], [], color=color, marker="s", mfc="white", ms=4.5, lw=1.6),
    ]
    labels = [f"trained anew, 95% over {what}", "training of the base"]
    if found.between_seeds is not None:
        handles += [Line2D([], [], color=style.MUTED, marker="|", ms=7, lw=0), Patch(color=BAND)]
        labels += ["a seed", "95% of differences of two seeds"]
    fig.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)


def plot_forest(found: Ablation, out_dir: Path) -> list[Path]:
    """Draw ``ablation-….png`` and ``.svg``; filled: p below 0.05 after Holm.

    Raises:
        RecordError: no switch was tested.
    """
    if not found.effects:
        raise RecordError("only the base was tested; run the ablation with a switch or more")
    with style.applied():
        return style.save(draw(found), out_dir / found.name)
