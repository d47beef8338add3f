"""The gates of Figure 3 in numbers, and whether they bear out what the paper reads from it.

A file of gates keeps, per layer, the mean over episodes, updates and coordinates, and the variance
between episodes of one coordinate's mean over updates, averaged over coordinates. The variance of
an average is at most the average of the variances, so t s / sqrt(n) with that variance is at least
as wide as the interval of the layer's mean would be: every interval here errs to the wide side.
The gates before training hardly differ between episodes and are taken as known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy import stats as distributions

from repro.analysis.stats import Interval

NEAR_ONE = 0.1  # "slightly below 1": at most this far below
FIXED = 0.01  # a gate whose values scatter less than this between episodes acts as a fixed rule
CONFIRMED, NOT_CONFIRMED, UNTOLD = "confirmed", "not confirmed", "cannot be told"


@dataclass(frozen=True)
class LayerGate:
    """One gate in one layer at one shot; gates lie between 0 and 1.

    Attributes:
        mean: over episodes, updates and coordinates. change: ``mean`` minus that before training.
        episode_sd: between episodes, of a coordinate's mean over updates, root mean square over
            the layer's coordinates; episode_sd_low and _high are its 95% interval if all
            coordinates moved together (chi-square), which is the widest it can be.
    """

    gate: str
    layer: str
    k_shot: int
    n_episode: int
    initial: float
    mean: Interval
    change: Interval
    episode_sd: float
    episode_sd_low: float
    episode_sd_high: float


@dataclass(frozen=True)
class Reading:
    """One thing the paper reads from Figure 3 and what these gates say about it."""

    claim: str
    verdict: str
    because: str


def layer_gate(
    found: Mapping[str, Any], gate: str, layer: str, k_shot: int, n_episode: int
) -> LayerGate:
    """Numbers of one panel of a ``gates.json``; one episode alone has infinite intervals."""
    variance, mean = float(found["episode_variance"]), float(found["mean"])
    half, low, high = math.inf, 0.0, math.inf
    if n_episode > 1 and math.isfinite(variance):
        free = n_episode - 1
        half = float(distributions.t.ppf(0.975, free)) * math.sqrt(variance / n_episode)
        low = math.sqrt(variance * free / float(distributions.chi2.ppf(0.975, free)))
        high = math.sqrt(variance * free / float(distributions.chi2.ppf(0.025, free)))
    initial = float(found["untrained_mean"])
    return LayerGate(
        gate, layer, k_shot, n_episode, initial,
        Interval(mean, half), Interval(mean - initial, half),
        math.sqrt(variance) if math.isfinite(variance) else math.inf, low, high,
    )  # fmt: skip


def numbers(contents: Mapping[int, Mapping[str, Any]]) -> list[LayerGate]:
    """All panels of the files by shot, gate by gate and layer by layer."""
    return [
        layer_gate(content["gates"][gate][layer], gate, layer, shot, int(content["n_episode"]))
        for gate in ("forget", "input")
        for shot, content in sorted(contents.items())
        for layer in content["layers"]
    ]


def shot_difference(one: LayerGate, other: LayerGate) -> Interval:
    """Mean of ``other`` minus that of ``one``.

    The two are measured on the same classes and queries, yet by models trained apart; half-widths
    are added, which holds whatever the correlation.
    """
    return Interval(other.mean.mean - one.mean.mean, other.mean.half_width + one.mean.half_width)


def between_shots(found: list[LayerGate]) -> dict[tuple[str, str], Interval]:
    """Last shot minus first by gate and layer; empty when there is one shot only."""
    shots = sorted({item.k_shot for item in found})
    if len(shots) < 2:
        return {}
    of = {(item.gate, item.layer, item.k_shot): item for item in found}
    return {
        (gate, layer): shot_difference(of[gate, layer, shots[0]], of[gate, layer, shots[-1]])
        for gate, layer, shot in of
        if shot == shots[0] and (gate, layer, shots[-1]) in of
    }


def _listed(items: list[LayerGate]) -> str:
    return ", ".join(f"{item.layer} at {item.k_shot}-shot" for item in items)


def _decay(found: list[LayerGate]) -> Reading:
    """Confirmed only if training brought it about: the initialisation is itself below 1."""
    claim = "The forget gates are slightly below 1 in every layer: a learned weight decay."
    gates = [item for item in found if item.gate == "forget"]
    # Below 1, not far below, and moved down by training rather than left where it began.
    outside = [item for item in gates if not (item.mean.high < 1 and item.mean.low > 1 - NEAR_ONE)]
    unlearned = [item for item in gates if not item.change.high < 0]
    span = [item.mean.mean for item in gates]
    initial = [item.initial for item in gates]
    because = (
        f"Means of layers lie between {min(span):.3f} and {max(span):.3f}; before any training "
        f"between {min(initial):.3f} and {max(initial):.3f}."
    )
    if not outside and not unlearned:
        return Reading(claim, CONFIRMED, f"{because} Training lowered the gate in every layer.")
    if outside:
        because += f" Not within {1 - NEAR_ONE:g} and 1 with its interval: {_listed(outside)}."
    if unlearned:
        because += f" Not lowered by training: {_listed(unlearned)}."
    return Reading(claim, NOT_CONFIRMED, because)


def _variation(found: list[LayerGate]) -> Reading:
    claim = "The input gates vary between episodes: it is no fixed rule."
    gates = [item for item in found if item.gate == "input"]
    if any(not math.isfinite(item.episode_sd_high) for item in gates):
        return Reading(claim, UNTOLD, "One episode alone says nothing about the variation.")
    fixed = [item for item in gates if item.episode_sd_high < FIXED]
    unclear = [item for item in gates if item.episode_sd_low < FIXED <= item.episode_sd_high]
    spread = [item.episode_sd for item in gates]
    because = (
        f"A coordinate's mean over updates has a standard deviation between episodes of "
        f"{min(spread):.4f} to {max(spread):.4f}, by layer (a fixed rule: less than {FIXED:g})."
    )
    if not fixed and not unclear:
        return Reading(claim, CONFIRMED, because)
    if fixed:
        varying = "" if len(fixed) + len(unclear) == len(gates) else " The others vary."
        because += f" Practically fixed: {_listed(fixed)}.{varying}"
    if unclear:
        because += f" Not decided: {_listed(unclear)}."
    return Reading(claim, NOT_CONFIRMED if fixed else UNTOLD, because)


def _shots(found: list[LayerGate]) -> Reading:
    claim = "The input gates differ between 1-shot and 5-shot."
    by_layer = {layer: i for (gate, layer), i in between_shots(found).items() if gate == "input"}
    if not by_layer:
        return Reading(claim, UNTOLD, "Only one of the two shots was run.")
    said = "5-shot minus 1-shot by layer: " + ", ".join(
        f"{layer} {i.mean:+.3f} ± {i.half_width:.3f}" for layer, i in by_layer.items()
    )
    apart = [layer for layer, i in by_layer.items() if i.excludes_zero]
    if len(apart) == len(by_layer):
        return Reading(claim, CONFIRMED, f"{said}; every interval excludes 0.")
    if apart:
        return Reading(claim, CONFIRMED, f"{said}; of these, {', '.join(apart)} leave 0 out.")
    return Reading(claim, NOT_CONFIRMED, f"{said}; no interval excludes 0.")


def readings(found: list[LayerGate]) -> tuple[Reading, Reading, Reading]:
    """The paper's three readings of Figure 3 (Sec. 5), each confirmed or not, with the reason.

    Source: Ravi & Larochelle 2017, Sec. 5.
    """
    return _decay(found), _variation(found), _shots(found)


def text(found: list[LayerGate]) -> str:
    """Intervals per panel and the three readings, for a terminal."""
    lines = ["gate    layer   shot     mean              trained - initial   sd between episodes"]
    for item in found:
        lines.append(
            f"{item.gate:7} {item.layer:7} {item.k_shot:>4}     "
            f"{item.mean.mean:.4f} ± {item.mean.half_width:.4f}   "
            f"{item.change.mean:+.4f} ± {item.change.half_width:.4f}    "
            f"{item.episode_sd:.4f} ({item.episode_sd_low:.4f} to {item.episode_sd_high:.4f})"
        )
    for (gate, layer), difference in between_shots(found).items():
        lines.append(
            f"{gate:7} {layer:7} last shot minus first "
            f"{difference.mean:+.4f} ± {difference.half_width:.4f}"
        )
    lines.append("(95% intervals over episodes with these trained models, on the wide side)")
    for reading in readings(found):
        lines += ["", f"{reading.claim} {reading.verdict.upper()}.", f"  {reading.because}"]
    return "\n".join(lines) + "\n"
