"""The report's ablations: a forest chart per base, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from repro.analysis.ablation.effects import Ablation
from repro.analysis.ablation.formats import HEADER, SEED_ROW, effect_text, notes, rows, title
from repro.analysis.report.charts import WIDTH
from repro.analysis.svg import Frame, element
from repro.analysis.text import percent

_ROW = 34.0  # height of a switch's row, px


@dataclass(frozen=True)
class AblationView:
    """One ablation, as a picture and as the rows of its table."""

    title: str
    picture: Markup
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def views(found: Sequence[Ablation]) -> list[AblationView]:
    """What the page shows of each ablation that tested a switch."""
    return [
        AblationView(title(one), forest(one), HEADER, tuple(rows(one)), tuple(notes(one)))
        for one in found
        if one.effects
    ]


def forest(found: Ablation) -> Markup:
    """Effects with intervals, a row per switch; above them what another seed does to the base."""
    band, pairs = found.between_seeds or 0.0, found.seed_pairs
    reach = max(
        band,
        0.005,
        *(abs(e.effect) + (e.half_width or 0.0) for e in found.effects),
        *(abs(x) for e in found.effects for x in e.effect_by_seed),
    )
    first = 1 if pairs else 0
    height = _ROW * (first + len(found.effects)) + 34
    frame = Frame(WIDTH, height, (-1.05 * reach, 1.05 * reach), (0, 1), left=12, right=12)
    parts = []
    if band:
        parts.append(frame.area([-band, band], [0, 0], [1, 1], class_="band"))
    parts.append(frame.x_axis(_ticks(reach)))
    zero = frame.x(0)
    parts.append(
        element("line", x1=zero, x2=zero, y1=frame.top, y2=height - frame.bottom, class_="axis")
    )
    if pairs:
        y = frame.top + 24
        parts.append(element("text", SEED_ROW, x=frame.left, y=y - 11, class_="name"))
        parts += [_tick(frame, x, y, "initial") for pair in pairs for x in (pair, -pair)]
    said = []
    for place, effect in enumerate(found.effects):
        y = frame.top + _ROW * (first + place) + 24
        parts.append(element("text", effect.label, x=frame.left, y=y - 11, class_="name"))
        parts.append(
            element("text", effect_text(effect), x=WIDTH - 12, y=y - 11, class_="tick end")
        )
        half = effect.half_width or 0.0
        left, right = frame.x(effect.effect - half), frame.x(effect.effect + half)
        parts += [_tick(frame, x, y, "chance") for x in effect.effect_by_seed]
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="whisker"))
        sure = f"mark {found.method}" if effect.p_holm < 0.05 else "reported"
        parts.append(element("circle", cx=frame.x(effect.effect), cy=y, r=4.0, class_=sure))
        said.append(f"{effect.label}: {effect_text(effect)}")
    told = f"Effects in points. {'. '.join(said)}."
    if band:
        told += f" Two seeds of one recipe lie up to {percent(band)} points apart."
    return frame.picture(told, *parts)


def _tick(frame: Frame, x: float, y: float, kind: str) -> Markup:
    at = frame.x(x)
    return element("line", x1=at, x2=at, y1=y - 4, y2=y + 4, class_=kind)


def _ticks(reach: float) -> list[tuple[float, str]]:
    step = next(s for s in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if reach / s <= 3)
    n = int(reach / step)
    digits = 1 if step < 0.01 else 0
    return [(i * step, percent(i * step, i != 0, digits)) for i in range(-n, n + 1)]
