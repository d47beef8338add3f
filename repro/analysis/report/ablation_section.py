"""The report's ablations: a forest chart per base, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from repro.analysis.ablation.effects import Ablation
from repro.analysis.ablation.formats import HEADER, notes, rows, title
from repro.analysis.report import charts


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
        AblationView(title(one), charts.ablation(one), HEADER, tuple(rows(one)), tuple(notes(one)))
        for one in found
        if one.effects
    ]
