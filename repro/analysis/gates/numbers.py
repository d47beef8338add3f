"""Statistics of the gates of Figure 3, and whether they confirm the paper's statements on it.

A file of gates keeps, per layer, the mean over episodes, updates and coordinates, and the variance
between episodes of one coordinate's mean over updates, averaged over coordinates. The variance of
an average is at most the average of the variances, so t s / sqrt(n) with that variance is at least
as wide as the interval of the layer's mean would be: every interval here errs to the wide side.
The gates before training hardly differ between episodes and are taken as known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scipy import stats as distributions

from repro.analysis.statistics.intervals import Interval
from repro.analysis.text import fixed
from repro.papers import paper

NEAR_ONE = 0.1  # "slightly below 1": at most this far below
FIXED = 0.01  # a gate whose values scatter less than this between episodes acts as a fixed rule
CONFIRMED, NOT_CONFIRMED, UNDECIDED = "confirmed", "not confirmed", "undecided"
# What the first two become where the models are others than the paper's.
OF_THESE = {CONFIRMED: "true of these models", NOT_CONFIRMED: "not true of these models"}


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
class Background:
    """What the gates were trained with.

    Attributes:
        unfinished: by shot, how far a training came that has not ended.
        seeds: gates of other training seeds of the same configurations.
        not_comparable: why the trainings are not comparable with the paper's; empty if they are.
    """

    unfinished: Mapping[int, str] = field(default_factory=dict)
    seeds: Sequence[list[LayerGate]] = ()
    not_comparable: str = ""


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
    """The paper's last shot minus its first by gate and layer; empty unless both were run."""
    first, last = min(paper.SHOTS), max(paper.SHOTS)
    of = {(item.gate, item.layer, item.k_shot): item for item in found}
    return {
        (gate, layer): shot_difference(of[gate, layer, first], of[gate, layer, last])
        for gate, layer, shot in of
        if shot == first and (gate, layer, last) in of
    }


def gate_interval(found: Interval, sign: str = "") -> str:
    """An interval of gates: ``0.9700 ± 0.0012``."""
    return f"{fixed(found.mean, 4, sign)} ± {fixed(found.half_width, 4)}"


def episode_spread(item: LayerGate) -> str:
    """The standard deviation between episodes with its interval."""
    low, high = fixed(item.episode_sd_low, 4), fixed(item.episode_sd_high, 4)
    return f"{fixed(item.episode_sd, 4)} ({low} to {high})"


def _listed(items: list[LayerGate]) -> str:
    return ", ".join(f"{item.layer} at {item.k_shot}-shot" for item in items)


def _verdict(against: list[LayerGate], undecided: list[LayerGate]) -> str:
    """One layer that speaks against a claim refutes it; one that straddles leaves it open."""
    if against:
        return NOT_CONFIRMED
    return UNDECIDED if undecided else CONFIRMED


def _decay(found: list[LayerGate]) -> Reading:
    """Confirmed only if training brought it about: the initialisation is itself below 1."""
    claim = "The forget gates are slightly below 1 in every layer: a learned weight decay."
    gates = [item for item in found if item.gate == "forget"]
    edge = 1 - NEAR_ONE
    # Below 1, not far below, and moved down by training rather than left where it began.
    outside = [item for item in gates if item.mean.high <= edge or item.mean.low >= 1]
    unlearned = [item for item in gates if item.change.low > -FIXED]
    undecided = [
        item
        for item in gates
        if item not in outside
        and item not in unlearned
        and not (edge < item.mean.low and item.mean.high < 1 and item.change.high < 0)
    ]
    span = [item.mean.mean for item in gates]
    initial = [item.initial for item in gates]
    because = (
        f"Means of layers lie between {min(span):.3f} and {max(span):.3f}; before any training "
        f"between {min(initial):.3f} and {max(initial):.3f}."
    )
    if outside:
        because += f" Not within {edge:g} and 1: {_listed(outside)}."
    if unlearned:
        because += f" Not lowered by training (by {FIXED:g}): {_listed(unlearned)}."
    if undecided:
        because += (
            f" The interval of the mean or of its change includes the limit: {_listed(undecided)}."
        )
    verdict = _verdict(outside + unlearned, undecided)
    if verdict == CONFIRMED:
        because += " Training lowered the gate in every layer."
    return Reading(claim, verdict, because)


def _variation(found: list[LayerGate]) -> Reading:
    claim = "The input gates vary between episodes: it is no fixed rule."
    gates = [item for item in found if item.gate == "input"]
    if any(not math.isfinite(item.episode_sd_high) for item in gates):
        return Reading(claim, UNDECIDED, "One episode alone says nothing about the variation.")
    constant = [item for item in gates if item.episode_sd_high < FIXED]
    unclear = [item for item in gates if item.episode_sd_low < FIXED <= item.episode_sd_high]
    spread = [item.episode_sd for item in gates]
    because = (
        f"A coordinate's mean over updates has a standard deviation between episodes of "
        f"{min(spread):.4f} to {max(spread):.4f}, by layer (a fixed rule: less than {FIXED:g})."
    )
    if constant:
        varying = "" if len(constant) + len(unclear) == len(gates) else " The others vary."
        because += f" Practically fixed: {_listed(constant)}.{varying}"
    if unclear:
        because += f" Not decided: {_listed(unclear)}."
    return Reading(claim, _verdict(constant, unclear), because)


def _shots(found: list[LayerGate], background: Background) -> Reading:
    """Shots are trained apart, so another seed of one shot is the control where there is one."""
    claim = "The input gates differ between 1-shot and 5-shot."
    by_layer = {layer: i for (gate, layer), i in between_shots(found).items() if gate == "input"}
    if not by_layer:
        return Reading(claim, UNDECIDED, "Not both of these shots were run.")
    said = "5-shot minus 1-shot by layer: " + ", ".join(
        f"{layer} {fixed(i.mean, 3, '+')} ± {fixed(i.half_width, 3)}"
        for layer, i in by_layer.items()
    )
    unfinished = sorted((k, v) for k, v in background.unfinished.items() if k in paper.SHOTS)
    if unfinished:
        lengths = "; ".join(f"{k}-shot {v}" for k, v in unfinished)
        return Reading(claim, UNDECIDED, f"{said}; a training had not come to its end ({lengths}).")
    moved = between_seeds(*(_papers(seed) for seed in (found, *background.seeds)))
    same = [layer for layer, i in by_layer.items() if max(i.high, -i.low) < FIXED]
    apart = [
        layer
        for layer, i in by_layer.items()
        if layer not in same and max(i.low, -i.high) > moved.get(("input", layer), 0.0)
    ]
    control = "no other seed was run as a control"
    if moved:
        largest = max(value for (gate, _), value in moved.items() if gate == "input")
        control = f"another seed of one shot differs by up to {largest:.3f}"
    what = "0 and what another seed does" if moved else "0"
    if len(apart) == len(by_layer):
        return Reading(claim, CONFIRMED, f"{said}; every interval excludes {what} ({control}).")
    if apart:
        said += f"; the intervals of {', '.join(apart)} exclude {what}"
    if same:
        within = f"{', '.join(same)} within {FIXED:g}"
        return Reading(claim, NOT_CONFIRMED, f"{said}; practically the same: {within} ({control}).")
    which = "the other intervals" if apart else "the intervals"
    return Reading(claim, UNDECIDED, f"{said}; {which} include the limit ({control}).")


def _papers(found: list[LayerGate]) -> list[LayerGate]:
    """The gates of the two shots that Figure 3 shows."""
    return [item for item in found if item.k_shot in paper.SHOTS]


def between_seeds(*seeds: list[LayerGate]) -> dict[tuple[str, str], float]:
    """The largest difference between two seeds of one shot, by gate and layer; empty without."""
    means: dict[tuple[str, str, int], list[float]] = {}
    for item in (item for seed in seeds for item in seed):
        means.setdefault((item.gate, item.layer, item.k_shot), []).append(item.mean.mean)
    largest: dict[tuple[str, str], float] = {}
    for (gate, layer, _), values in means.items():
        if len(values) > 1:
            span = max(values) - min(values)
            largest[gate, layer] = max(span, largest.get((gate, layer), 0.0))
    return largest


def readings(
    found: list[LayerGate], background: Background | None = None
) -> tuple[Reading, Reading, Reading]:
    """The paper's three readings of Figure 3 (Sec. 5), each confirmed or not, with the reason.

    Where an interval straddles the edge of a claim, or a training had not come to its end, it is
    undecided. Trainings that are not the paper's confirm nothing of it: the reading says what is
    true of them.

    Source: Ravi & Larochelle 2017, Sec. 5.
    """
    background = background or Background()
    all_three = _decay(found), _variation(found), _shots(found, background)
    if not background.not_comparable:
        return all_three
    told = f" These trainings are not the paper's ({background.not_comparable})."
    first, second, third = (
        replace(r, verdict=OF_THESE.get(r.verdict, r.verdict), because=r.because + told)
        for r in all_three
    )
    return first, second, third


def text(found: list[LayerGate], background: Background | None = None) -> str:
    """Intervals per panel and the three readings, for a terminal."""
    lines = ["gate    layer   shot     mean              trained - initial   sd between episodes"]
    for item in found:
        lines.append(
            f"{item.gate:7} {item.layer:7} {item.k_shot:>4}     "
            f"{gate_interval(item.mean)}   {gate_interval(item.change, '+')}    "
            f"{episode_spread(item)}"
        )
    for (gate, layer), difference in between_shots(found).items():
        lines.append(f"{gate:7} {layer:7} 5-shot minus 1-shot {gate_interval(difference, '+')}")
    lines.append("(95% intervals over episodes with these trained models, on the wide side)")
    for reading in readings(found, background):
        lines += ["", f"{reading.claim} {reading.verdict.upper()}.", f"  {reading.because}"]
    return "\n".join(lines) + "\n"
