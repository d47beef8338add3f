"""Training seeds crossed with test episodes: every seed is tested on the same episodes.

Accuracies ``[n_seed, n_episode]`` (fractions) are a two-way layout of random effects,
``y = mean + seed + unit + rest``, whose units are blocks of episodes. The mean's variance is a
combination of three mean squares, and its degrees of freedom are Satterthwaite's (1946). With
one seed only the episodes vary, and nothing is said about other seeds.

How often the 95% intervals cover, of a mean, of a difference from a side of one seed and of one
from a published number of one seed (``COVERAGE``): ``scripts/simulate_statistics.py``, with 150
blocks, 3 points between blocks and 3 of rest, and seeds 0 to 2 points apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.analysis.statistics.intervals import Interval, mean_interval
from repro.analysis.statistics.paired import block_error, block_sums, p_student, quantile
from repro.system.seeding import Stream, rng

# Of 95% intervals over seeds, by scripts/simulate_statistics.py.
COVERAGE = "88 to 97% with two seeds, 92 to 97% with three or five"
TWO_SEEDS = "With two seeds it may cover as little as 88% instead of 95%"
EPISODES = "episodes"
BOTH = "episodes and seeds"
BOOTSTRAP_SEEDS = 5  # fewer seeds cannot be resampled to any use
N_BOOTSTRAP = 2_000

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Term:
    """A mean square in a variance: its coefficient, value and degrees of freedom."""

    coefficient: float
    mean_square: float
    df: float


@dataclass(frozen=True)
class Layout:
    """Mean squares of ``[n_seed, n_unit]`` units (Scheffé 1959, Ch. 7).

    Expected: seed ``rest + n_unit * seed``, unit ``rest + n_seed * unit``, rest ``rest``.
    """

    mean: float
    n_seed: int
    n_unit: int
    seed: float
    unit: float
    rest: float

    @property
    def seed_variance(self) -> float:
        """Variance between training seeds of a model's true accuracy; never negative."""
        return max(0.0, (self.seed - self.rest) / self.n_unit)

    def terms(self, more_seeds: float = 0.0) -> tuple[Term, ...]:
        """The variance of the mean, plus ``more_seeds`` times the variance between seeds."""
        n, seeds, units = self.n_seed * self.n_unit, self.n_seed - 1, self.n_unit - 1
        extra = more_seeds / self.n_unit
        return (
            Term(1 / n + extra, self.seed, seeds),
            Term(1 / n, self.unit, units),
            Term(-1 / n - extra, self.rest, seeds * units),
        )


@dataclass(frozen=True)
class Estimate:
    """A mean accuracy or a mean difference of accuracies, and what its ± covers.

    Attributes:
        interval: 95%, fractions.
        df: degrees of freedom of its t quantile; infinite: the paper's 1.96.
        covers: ``episodes`` or ``episodes and seeds``; never classes or images.
        layout: mean squares; None with one seed.
        bootstrap: 95% bounds of the pigeonhole bootstrap, from 5 seeds on.
    """

    interval: Interval
    standard_error: float
    df: float
    n_seed: int
    covers: str
    layout: Layout | None = None
    bootstrap: tuple[float, float] | None = None

    @property
    def p(self) -> float:
        """Two-sided p-value of a mean of 0."""
        return p_student(self.interval.mean, self.standard_error, self.df)


def estimate(accuracy: Values, block: int = 1) -> Estimate:
    """The mean of ``[n_seed, n_episode]`` or ``[n_episode]`` accuracies and its interval.

    One seed: the paper's 1.96 s/√n over episodes. More: over seeds and blocks of episodes.

    Raises:
        ValueError: another shape or no values.
    """
    values = np.atleast_2d(np.asarray(accuracy, np.float64))
    if values.ndim != 2 or not values.size:
        raise ValueError(f"expected [n_seed, n_episode] accuracies, got shape {values.shape}")
    if len(values) == 1:
        interval = mean_interval(values[0])
        error = interval.half_width / 1.96
        return Estimate(interval, error, math.inf, 1, EPISODES)
    return _crossed(values, block)


def difference_of_seeds(first: Values, second: Values, block: int = 1) -> Estimate:
    """First minus second, ``[n_seed, n_episode]`` each, over seeds and episodes.

    With as many seeds on both sides, row i of both is taken as the same seed: differences are
    crossed as they are. Otherwise the seeds of the two sides are independent: their variances
    add, and the units stay paired. A side of one seed tells nothing of its own variance between
    seeds: that of the other side is taken for both, which is an assumption and to be told.

    Raises:
        ValueError: no side has two seeds, or other episodes.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or max(len(a), len(b)) < 2:
        raise ValueError(f"expected several seeds on the same episodes: {a.shape}, {b.shape}")
    if len(a) == len(b):
        return _crossed(a - b, block)
    difference = a.mean(0) - b.mean(0)
    if a.shape[1] < 2 * block:
        n_seed = min(len(a), len(b))
        return _estimate(float(difference.mean()), math.inf, 0.0, n_seed, None, None)
    error, n_unit = block_error(difference, block)
    terms = [Term(1.0, error**2, n_unit - 1)]
    for side, other in ((a, b), (b, a)):
        if len(side) > 1:
            found, shares = layout(side, block), 1 / len(side) + (len(other) == 1)
            coefficient, seeds = shares / found.n_unit, found.n_seed - 1
            terms.append(Term(coefficient, found.seed, seeds))
            terms.append(Term(-coefficient, found.rest, seeds * (found.n_unit - 1)))
    variance, df = satterthwaite(terms, floor=error**2)
    return _estimate(float(difference.mean()), variance, df, min(len(a), len(b)), None, None)


def layout(accuracy: Values, block: int = 1) -> Layout:
    """Mean squares of ``[n_seed, n_episode]``; episodes after the last whole block only move
    the mean."""
    values = np.asarray(accuracy, np.float64)
    n_seed, n_unit = len(values), values.shape[1] // block
    if n_seed < 2 or n_unit < 2:
        raise ValueError(f"needs 2 seeds and 2 blocks of {block} episodes, got {values.shape}")
    units = block_sums(values[:, : n_unit * block], block) / block
    by_seed, by_unit, mean = units.mean(1), units.mean(0), float(units.mean())
    rest = units - by_seed[:, None] - by_unit[None, :] + mean
    return Layout(
        mean=float(values.mean()),
        n_seed=n_seed,
        n_unit=n_unit,
        seed=n_unit * float(((by_seed - mean) ** 2).sum()) / (n_seed - 1),
        unit=n_seed * float(((by_unit - mean) ** 2).sum()) / (n_unit - 1),
        rest=float((rest**2).sum()) / ((n_seed - 1) * (n_unit - 1)),
    )


def satterthwaite(terms: Sequence[Term], floor: float = 0.0) -> tuple[float, float]:
    """The variance ``sum of coefficient * mean square`` (at least ``floor``) and its df."""
    variance = max(floor, sum(term.coefficient * term.mean_square for term in terms))
    spread = sum((t.coefficient * t.mean_square) ** 2 / t.df for t in terms if t.df > 0)
    return variance, variance**2 / spread if spread > 0 else math.inf


def crossed_variance(found: Layout) -> tuple[float, float]:
    """Variance of the mean, and Satterthwaite's df.

    A negative component counts as 0: the variance is never below that of its largest mean square.
    """
    largest = max(found.seed, found.unit, found.rest) / (found.n_seed * found.n_unit)
    return satterthwaite(found.terms(), largest)


def pigeonhole(
    accuracy: Values, block: int = 1, seed: int = 0, n_draw: int = N_BOOTSTRAP
) -> tuple[float, float]:
    """95% percentile bounds of the mean, seeds and units resampled each on their own (Owen 2007).

    It knows no quantile of t, so it is narrow with few seeds; it never sees a negative variance.
    """
    values = np.asarray(accuracy, np.float64)
    n_unit = values.shape[1] // block
    units = block_sums(values[:, : n_unit * block], block) / block
    n_seed = len(units)
    raw = rng(seed, Stream.PIGEONHOLE).raw(n_draw * (n_seed + n_unit)) >> np.uint64(32)
    raw = raw.reshape(n_draw, -1)
    rows = (raw[:, :n_seed] * np.uint64(n_seed) >> np.uint64(32)).astype(np.int64)
    columns = (raw[:, n_seed:] * np.uint64(n_unit) >> np.uint64(32)).astype(np.int64)
    means = np.einsum("ds,su,du->d", _counts(rows, n_seed), units, _counts(columns, n_unit))
    low, high = np.quantile(means / units.size, (0.025, 0.975))
    shift = float(values.mean() - units.mean())
    return float(low) + shift, float(high) + shift


def _counts(drawn: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.float64]:
    offset = drawn + n * np.arange(len(drawn))[:, None]
    return np.bincount(offset.ravel(), minlength=n * len(drawn)).reshape(-1, n).astype(np.float64)


def _crossed(values: Values, block: int) -> Estimate:
    if values.shape[1] < 2 * block:  # one unit says nothing about the spread of units
        return _estimate(float(values.mean()), math.inf, 0.0, len(values), None, None)
    found = layout(values, block)
    variance, df = crossed_variance(found)
    bounds = pigeonhole(values, block) if len(values) >= BOOTSTRAP_SEEDS else None
    return _estimate(found.mean, variance, df, found.n_seed, found, bounds)


def _estimate(
    mean: float, variance: float, df: float, n_seed: int, found: Layout | None,
    bootstrap: tuple[float, float] | None,
) -> Estimate:  # fmt: skip
    error = math.sqrt(variance)
    mean = 0.0 if abs(mean) < 1e-15 else mean  # the same predictions, summed in another order
    interval = Interval(mean, quantile(df) * error if error else 0.0)
    return Estimate(interval, error, df, n_seed, BOTH, found, bootstrap)
