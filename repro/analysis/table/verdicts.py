"""Verdicts: a measured accuracy against a published one, by a fixed precedence of labels.

The published number is of one unknown training seed. With several seeds of ours, their variance
goes into its error too; with one seed the verdict is about this one checkpoint. Fractions only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from repro.analysis.statistics.intervals import HasInterval, Interval
from repro.analysis.statistics.paired import holm, p_student, quantile
from repro.analysis.statistics.seeds import Estimate, Term, satterthwaite
from repro.analysis.text import spread_text
from repro.papers.paper import Z_95
from repro.papers.reported import Reported

NOT_COMPARABLE = "not comparable"
HIGHER, LOWER = "higher", "lower"
EQUIVALENT = "equivalent"
SAME = "not distinguishable"
MARGIN = 0.01  # one point
FEWEST_SEEDS = 3  # from which a verdict is about the method


@dataclass(frozen=True)
class Verdict:
    """What can be said of measured - published.

    Attributes:
        label: in this precedence: not comparable; higher or lower (the 95% interval excludes 0 and
            the margin asked for is not met); equivalent (within that margin); not
            distinguishable.
        reason: why it is not comparable, else empty.
        difference: with its 95% interval.
        smallest_margin: the smallest at which two one-sided tests at 5% call the two equivalent.
        p: two-sided, of no difference.
        p_holm: adjusted over the comparable cells shown (:func:`adjusted`); None before that.
        n_seed: of ours.
        holds_to_seed_sd: of higher or lower from one seed a side: the standard deviation between
            seeds from which the interval would no longer exclude 0; else None.
    """

    label: str
    reason: str
    difference: Interval
    standard_error: float
    df: float
    margin: float
    smallest_margin: float
    p: float
    p_holm: float | None = None
    n_seed: int = 1
    holds_to_seed_sd: float | None = None

    @property
    def told(self) -> str:
        """The label with what it rests on."""
        if self.holds_to_seed_sd is not None:
            return f"{self.label} ({one_seed_each(self.holds_to_seed_sd)})"
        if self.label in (HIGHER, LOWER) and self.n_seed < FEWEST_SEEDS:
            return f"{self.label} ({self.n_seed} seeds)"
        return self.label


def judge(
    measured: Estimate, published: HasInterval, reason: str = "", margin: float = MARGIN
) -> Verdict:
    """Hold a measured mean against a published one.

    Args:
        reason: why the two are not comparable; empty when they are.
        margin: of equivalence, a fraction.

    Raises:
        ValueError: the margin is not positive.
    """
    if not margin > 0:
        raise ValueError(f"a margin is above 0, not {margin}")
    mean = measured.interval.mean - published.mean
    if not math.isfinite(published.half_width):
        why = reason or "published without an interval"
        unknown = Interval(mean, math.inf)
        return Verdict(NOT_COMPARABLE, why, unknown, math.inf, math.inf, margin, math.inf, 1.0)
    theirs = Term(1.0, (published.half_width / Z_95) ** 2, math.inf)
    if measured.layout is None:
        variance, df = measured.standard_error**2 + theirs.mean_square, math.inf
        factor = Z_95  # as the paper's own intervals
    else:
        terms = (*measured.layout.terms(more_seeds=1.0), theirs)
        variance, df = satterthwaite(terms, measured.standard_error**2 + theirs.mean_square)
        factor = quantile(df)
    error = math.sqrt(variance)
    difference = Interval(mean, factor * error if error else 0.0)
    smallest = smallest_margin(mean, error, df)
    if reason:
        label = NOT_COMPARABLE
    elif difference.excludes_zero and smallest > margin:
        label = HIGHER if mean > 0 else LOWER
    else:
        label = EQUIVALENT if smallest <= margin else SAME
    p = p_student(mean, error, df)
    holds = None
    if label in (HIGHER, LOWER) and measured.n_seed == 1:
        holds = holds_to_seed_sd(difference)
    n_seed = measured.n_seed
    return Verdict(
        label, reason, difference, error, df, margin, smallest, p, n_seed=n_seed,
        holds_to_seed_sd=holds,
    )  # fmt: skip


def holds_to_seed_sd(difference: Interval, n_side: int = 2) -> float | None:
    """The spread of seeds up to which a difference of one seed a side would exclude 0.

    With a standard deviation σ between the seeds of either side, the half-width h of the episodes
    alone becomes √(h² + 2 · 1.96² σ²); it reaches the difference d at σ = √((d² − h²) / 2) / 1.96.
    None where the interval does not exclude 0 as it is.

    Args:
        n_side: sides that have seeds, 2 or 1.
    """
    if not difference.excludes_zero:
        return None
    return math.sqrt((difference.mean**2 - difference.half_width**2) / n_side) / Z_95


def one_seed_each(seed_sd: float) -> str:
    """What a difference from one seed a side rests on, in words."""
    return f"one seed each; holds while seeds spread less than {spread_text(seed_sd)} points"


def smallest_margin(mean: float, error: float, df: float = math.inf) -> float:
    """The smallest margin at which two one-sided tests at 5% hold (Schuirmann 1987).

    It is the end of the 90% interval that is farther from 0.
    """
    return abs(mean) + (quantile(df, 0.90) * error if error else 0.0)


def adjusted(verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts with Holm's p-values over the comparable ones among them."""
    places = [i for i, v in enumerate(verdicts) if v.label != NOT_COMPARABLE]
    found = list(verdicts)
    for place, p in zip(places, holm([verdicts[i].p for i in places]), strict=True):
        found[place] = replace(found[place], p_holm=p)
    return tuple(found)


def rerun_reason(rerun: Reported, recipe: str, reason: str) -> str:
    """Why a record of ``recipe`` cannot be held against a public re-run; empty when it can.

    Args:
        reason: why the record cannot be held against the paper, for the same would hold here.
    """
    if rerun.other_protocol:
        return f"re-run of another protocol: {rerun.other_protocol}"
    if rerun.recipe and rerun.recipe != recipe:
        return f"re-run with recipe {rerun.recipe}, not {recipe}"
    return reason
