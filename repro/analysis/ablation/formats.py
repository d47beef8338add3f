"""An ablation as text, Markdown and JSON, with notes on what its numbers cover."""

from __future__ import annotations

import json
from collections.abc import Sequence

from repro.analysis.ablation.effects import Ablation, Effect
from repro.analysis.statistics.seeds import BOTH, TWO_SEEDS
from repro.analysis.table.formats import aligned, markdown_table, wrapped
from repro.analysis.text import p_text, percent
from repro.papers.catalogue import BUILT_IN
from repro.system.errors import unknown

FORMATS = ("text", "markdown", "json")
SEED_ROW = "base, another seed"  # of the charts
HEADER = ("switch", "accuracy", "effect", "p", "p Holm", "seeds", "seed SD", "training")


def format_ablation(found: Ablation, style: str) -> str:
    """An ablation as ``text``, ``markdown`` or ``json``.

    Raises:
        UsageError: another format.
    """
    if style == "json":
        return json.dumps(found.content(), indent=1, sort_keys=True, allow_nan=False) + "\n"
    if style not in FORMATS:
        raise unknown("format", style, FORMATS)
    listed = [HEADER, *rows(found)]
    if style == "text":
        lines = [*wrapped([title(found)]), "", *aligned(listed, (0, 7)), ""]
        lines += wrapped(notes(found))
    else:
        lines = [f"**{title(found)}**", "", *markdown_table(listed, (0, 7))]
        for note in notes(found):
            lines += ["", note]
    return "\n".join(lines) + "\n"


def _row_title(method: str) -> str:
    return BUILT_IN[method].title if method in BUILT_IN else method


def title(found: Ablation) -> str:
    """One line that says what was ablated and on what."""
    return (
        f"{_row_title(found.method)}, {found.k_shot}-shot, {found.dataset}: switches of "
        f"{found.base} on {found.n_episode} meta-validation episodes (accuracy in %, effect in "
        "points)"
    )


def effect_text(effect: Effect) -> str:
    """``+1.20 ± 0.45``; a half-width that nothing is known about is left out."""
    shown = percent(effect.effect, signed=True)
    return shown if effect.half_width is None else f"{shown} ± {percent(effect.half_width)}"


def rows(found: Ablation) -> list[tuple[str, ...]]:
    """The table below :data:`HEADER`: the base, then a row per switch."""
    return [_base_row(found), *(_row(effect) for effect in found.effects)]


def _sd(value: float | None) -> str:
    return percent(value) if value is not None else "–"


def _steps(reached: Sequence[int], wanted: Sequence[int]) -> str:
    told = sorted({(a, b) for a, b in zip(reached, wanted, strict=True) if a != b})
    return ", ".join(f"{a:,} of {b:,} steps" for a, b in told)


def _base_row(found: Ablation) -> tuple[str, ...]:
    mean = sum(found.base_by_seed) / len(found.base_by_seed)
    training = _steps(found.reached_step, found.n_step) or "its own"
    return (
        *("base", percent(mean), "", "", ""),
        *(str(len(found.seeds)), _sd(found.base_seed_sd), training),
    )


def _row(effect: Effect) -> tuple[str, ...]:
    own = "its own" if effect.retrained else "the base's"
    own = own if max(effect.n_step) else "none"
    steps = _steps(effect.reached_step, effect.n_step)
    return (
        effect.label,
        percent(effect.accuracy),
        effect_text(effect),
        p_text(effect.p),
        p_text(effect.p_holm),
        str(len(effect.seeds)),
        _sd(effect.seed_sd),
        f"{own}, {steps}" if steps else own,
    )


def notes(found: Ablation) -> list[str]:
    """What is said below the table."""
    unit = f"blocks of {found.block} episodes" if found.block > 1 else "single episodes"
    told = [
        f"Effect: the base with this one switch changed, minus the base, on the same episodes "
        f"under the same training seeds (common initial values and training episodes). Budget "
        f"{found.budget} ({max(found.n_step):,} training steps), {found.precision}. Errors are "
        f"computed over {unit}. p Holm: p corrected over the {len(found.effects)} switches shown."
    ]
    crossed = [effect for effect in found.effects if effect.covers == BOTH]
    if crossed:
        only = "" if len(crossed) == len(found.effects) else " of switches with several seeds"
        told.append(
            f"±{only} is a 95% interval over training seeds and episodes, crossed (two-way random "
            "effects, Satterthwaite); it covers no other classes or images."
        )
        if any(len(effect.seeds) == 2 for effect in crossed):
            told.append(f"{TWO_SEEDS}.")
    if len(crossed) < len(found.effects):
        only = " of switches with one seed" if crossed else ""
        told.append(
            f"±{only} covers episodes only, and p is about these two checkpoints: one training "
            "seed says nothing about other seeds."
        )
    if found.between_seeds is not None:
        told.append(
            f"Seed SD: standard deviation of the mean accuracy between seeds; pooled over all "
            f"trainings {percent(found.seed_sd or 0.0)} ({found.seed_df} degrees of freedom if "
            f"seeds are independent between switches, else fewer). With it, two runs of one "
            f"recipe under different seeds differ by up to {percent(found.between_seeds)} points "
            "in 95 of 100 cases; one run per side cannot tell a smaller effect from chance."
        )
    if any(effect.label == "parameters_tested=best" for effect in found.effects):
        told.append(
            "The best parameters were chosen on other episodes of these meta-validation classes, "
            "so their accuracies here are slightly too high."
        )
    if found.unfinished or any(effect.unfinished for effect in found.effects):
        told.append("The number of steps marks trainings that are not finished.")
    return told
