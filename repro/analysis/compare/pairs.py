"""Paired comparisons of two sides: one pair, all pairs, and as JSON."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from repro.analysis.compare.sides import Side
from repro.analysis.seeds import block_size, stacked
from repro.analysis.selection import LeftOut
from repro.analysis.statistics.classes import class_half_width, episode_classes
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.paired import Paired, compare_paired, holm
from repro.analysis.statistics.seeds import BOTH, EPISODES, Estimate, difference_of_seeds
from repro.analysis.table.verdicts import holds_to_seed_sd
from repro.records import check_revision
from repro.system.errors import RecordError

SCHEMA = 2  # of the JSON


@dataclass(frozen=True)
class Comparison:
    """First minus second on the same episodes of one data set at one shot.

    Attributes:
        paired: of the accuracies, averaged over a side's seeds: about these checkpoints.
        crossed: over seeds and episodes; None where both sides have one seed.
        class_half_width: of the 95% interval over the choice of test classes.
        p_holm: Holm's over the pairs shown, of :attr:`p`.
    """

    dataset: str
    k_shot: int
    first: Side
    second: Side
    paired: Paired
    crossed: Estimate | None
    class_half_width: float | None = None
    p_holm: float = 1.0

    @property
    def label(self) -> str:
        """As people read it: ``meta_lstm − finetune``."""
        return f"{self.first.label} − {self.second.label}"

    @property
    def interval(self) -> Interval:
        """The 95% interval: over seeds and episodes where a side has several seeds."""
        return self.crossed.interval if self.crossed else self.paired.interval

    @property
    def p(self) -> float:
        """Of the t test that belongs to :attr:`interval`."""
        return self.crossed.p if self.crossed else self.paired.p_t

    @property
    def covers(self) -> str:
        return BOTH if self.crossed else EPISODES

    @property
    def holds_to_seed_sd(self) -> float | None:
        """Up to which spread of seeds a difference of one seed a side excludes 0."""
        n_side = len(self.trained)
        if self.crossed or self.same_training or not n_side:
            return None
        return holds_to_seed_sd(self.interval, n_side)

    @property
    def trained(self) -> list[Side]:
        """The sides that have a training, and so a seed."""
        return [side for side in (self.first, self.second) if side.trained]

    @property
    def same_training(self) -> bool:
        """Whether both sides test the same trained models: their seeds are no difference."""
        found = [[r.config.get("training") for r in s.records] for s in (self.first, self.second)]
        return found[0] == found[1] and None not in found[0]

    @property
    def borrowed(self) -> Side | None:
        """The side whose variance between seeds stands for both, the other having one seed."""
        several = [side for side in self.trained if len(side.seeds) > 1]
        return several[0] if len(several) == 1 and len(self.trained) == 2 else None

    def content(self) -> dict[str, Any]:
        """As JSON: accuracies and shares are fractions, infinite is null."""
        paired = self.paired
        bounds = self.crossed.bootstrap if self.crossed else None
        source = self.borrowed.label if self.borrowed else "each side" if self.crossed else None
        if self.crossed and len(self.trained) == 1:
            source = self.trained[0].label
        return {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "k_shot": self.k_shot,
            "first": self.first.label,
            "second": self.second.label,
            "first_seeds": list(self.first.seeds),
            "second_seeds": list(self.second.seeds),
            "difference_mean": self.interval.mean,
            "difference_half_width": _finite(self.interval.half_width),
            "difference_half_width_classes": self.class_half_width,
            "covers": self.covers,
            "holds_to_seed_sd": self.holds_to_seed_sd,
            "seed_variance_from": source,
            "bootstrap": list(bounds) if bounds else None,
            "p_about": "seeds and episodes" if self.crossed else "these checkpoints",
            "p_t": self.p,
            "p_sign_flip": paired.p_sign_flip,
            "p_sign_flip_about": "these checkpoints",
            "p_holm": self.p_holm,
            "won": paired.won,
            "tied": paired.tied,
            "lost": paired.lost,
            "effect_size": _finite(paired.effect_size),
            "narrower": paired.narrower,
            "n_episode": paired.n_episode,
            "n_unit": paired.n_unit,
            "block": paired.block,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def compare(first: Side, second: Side) -> Comparison:
    """Compare two sides, episode by episode.

    Raises:
        RecordError: they have different images or episodes, or are the same record.
    """
    first, second = of_common_seeds(first, second)
    a, b = first.records[0], second.records[0]
    named, others = ({(r.path, r.method) for r in side.records} for side in (first, second))
    if named & others:
        raise RecordError(f"{first.label} and {second.label} are the same record; name two")
    sizes = [(side.k_shot, side.task.n_way, side.task.n_query) for side in (a, b)]
    if sizes[0] != sizes[1]:
        raise RecordError(
            f"{first.label} is {a.k_shot}-shot, {a.task.told or '5-way'}, and {second.label} is "
            f"{b.k_shot}-shot, {b.task.told or '5-way'}; only records of the same task are compared"
        )
    # What is tested has to be the same; what was trained on may be what is compared.
    for name, what, one, other in (
        ("data", "images", a.tested_images, b.tested_images),
        ("episodes", "episodes", *(str(side.digests.get("episodes")) for side in (a, b))),
    ):
        if one != other:
            raise RecordError(
                f"{first.label} and {second.label} have different {what}: {name} digest "
                f"{one[:8]} in {a.path}, {other[:8]} in {b.path}; only records of the same "
                f"{what} are compared"
            )
    for record in (*first.records, *second.records):
        check_revision(record)
    ours, theirs = stacked(first.records), stacked(second.records)
    place = a.where if a.where == b.where else f"tested on {a.tested_on}"
    if ours.shape[1] != theirs.shape[1]:
        raise RecordError(
            f"{first.label} has {ours.shape[1]} episodes and {second.label} {theirs.shape[1]}; "
            "run them with the same budget"
        )
    block = max(block_size(a), block_size(b))
    crossed = None
    if max(len(ours), len(theirs)) > 1:
        # A side without training is the same under every seed of the other.
        if len(ours) == 1 and not first.trained:
            ours = np.repeat(ours, len(theirs), 0)
        if len(theirs) == 1 and not second.trained:
            theirs = np.repeat(theirs, len(ours), 0)
        crossed = difference_of_seeds(ours, theirs, block)
    paired = compare_paired(ours.mean(0), theirs.mean(0), block)
    classes = class_half_width(ours.mean(0) - theirs.mean(0), episode_classes(a))
    return Comparison(place, a.k_shot, first, second, paired, crossed, classes)


def of_common_seeds(first: Side, second: Side) -> tuple[Side, Side]:
    """The sides, of two tests of the same trainings with the seeds that both have.

    Another seed would be taken as independent of those of the other side, and the same trained
    model is not.
    """
    trained = [
        {r.seed: r.config["training"] for r in side.records if r.config.get("training")}
        for side in (first, second)
    ]
    common = {seed for seed, training in trained[0].items() if trained[1].get(seed) == training}
    if not common or set(first.seeds) == set(second.seeds):
        return first, second

    pair = f"{first.label} − {second.label}"

    def kept(side: Side, other: Side) -> Side:
        reason = f"not in {pair}, as {other.label} has no test of this training"
        return replace(
            side,
            records=tuple(r for r in side.records if r.seed in common),
            left_out=(
                *side.left_out,
                *(LeftOut(r, reason) for r in side.records if r.seed not in common),
            ),
        )

    return kept(first, second), kept(second, first)


def all_pairs(groups: Sequence[Sequence[Side]]) -> list[Comparison]:
    """All pairs among the sides of each group, Holm's p-values over all of them together."""
    return with_holm(
        [compare(a, b) for group in groups for a, b in itertools.combinations(group, 2)]
    )


def with_holm(pairs: Sequence[Comparison]) -> list[Comparison]:
    """The pairs with Holm's p-values over all of them."""
    adjusted = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True)]


def as_json(pairs: Sequence[Comparison]) -> str:
    """Pairs as a JSON list."""
    return json.dumps([pair.content() for pair in pairs], indent=1, allow_nan=False) + "\n"
