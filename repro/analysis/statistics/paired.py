"""The paired difference of two accuracy arrays of the same episodes, with its interval.

The unit is a block of episodes. Under permutation sampling ``n_class // n_way`` consecutive
episodes share out the classes of one permutation, so they are not independent of each other;
blocks are. Independent sampling has blocks of one. Everything is a fraction, never percent, and
one-seed comparisons are about these two checkpoints only (seeds: ``statistics.seeds``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from repro.analysis.statistics.intervals import Interval
from repro.system.seeding import Stream, rng

N_FLIP = 9_999
EXACT_UNITS = 13  # up to 2^13 patterns of signs are all listed instead of drawn

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Paired:
    """First minus second, episode by episode.

    Attributes:
        interval: mean difference and its 95% half-width (Student's t over the units).
        standard_error: of the mean difference.
        p_t: two-sided paired t test over the units.
        p_sign_flip: two-sided sign-flip permutation test over the units.
        won, tied, lost: shares of episodes in which the first was better, equal, worse.
        effect_size: Cohen's d_z, mean over standard deviation of the per-episode differences;
            infinite where all differences are the same and not 0.
        unpaired_half_width: what Welch's interval of the same units would have been.
        n_unit: blocks of ``block`` episodes (the last one may be shorter).
    """

    interval: Interval
    standard_error: float
    p_t: float
    p_sign_flip: float
    won: float
    tied: float
    lost: float
    effect_size: float
    unpaired_half_width: float
    n_episode: int
    n_unit: int
    block: int

    @property
    def narrower(self) -> float:
        """By which share the paired interval is narrower than the unpaired; negative: wider."""
        if not 0 < self.unpaired_half_width < math.inf:
            return 0.0
        return 1 - self.interval.half_width / self.unpaired_half_width


def compare_paired(first: Values, second: Values, block: int = 1, seed: int = 0) -> Paired:
    """Compare two accuracy arrays ``[n_episode]`` of the same episodes in the same order.

    Raises:
        ValueError: other lengths, no values, or a block shorter than one episode.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"not the same episodes: shapes {a.shape} and {b.shape}")
    difference = a - b
    mean = float(difference.mean())
    error, n_unit = block_error(difference, block)
    half_width = quantile(n_unit - 1) * error
    spread = float(difference.std(ddof=1)) if len(a) > 1 else 0.0
    spread = 0.0 if spread < 1e-12 else spread
    if abs(mean) < 1e-15:
        effect = 0.0
    else:
        effect = mean / spread if spread else math.copysign(math.inf, mean)
    close = np.abs(difference) < 1e-12  # equal counts of queries, whatever the last bit
    return Paired(
        interval=Interval(mean, half_width),
        standard_error=error,
        p_t=p_student(mean, error, n_unit - 1),
        p_sign_flip=sign_flip_p(block_sums(difference, block), seed),
        won=float(((difference > 0) & ~close).mean()),
        tied=float(close.mean()),
        lost=float(((difference < 0) & ~close).mean()),
        effect_size=effect,
        unpaired_half_width=_welch_half_width(a, b, block),
        n_episode=len(a),
        n_unit=n_unit,
        block=block,
    )


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return tuple(adjusted)


def block_sums(values: Values, block: int) -> npt.NDArray[np.float64]:
    """Sums over consecutive blocks along the last axis; what is left is a shorter last block."""
    if block < 1:
        raise ValueError(f"a block has at least one episode, not {block}")
    starts = np.arange(0, values.shape[-1], block)
    sums: npt.NDArray[np.float64] = np.add.reduceat(np.asarray(values, np.float64), starts, axis=-1)
    return sums


def block_error(values: Values, block: int) -> tuple[float, int]:
    """Standard error of the mean of ``[n]`` values in blocks, and the number of blocks.

    With equal blocks it is s/√B of the block means. A shorter last block counts for its length
    (ratio estimator, Cochran 1977, Sec. 2.11). One block says nothing: infinite.
    """
    sums = block_sums(values, block)
    n_unit, n = len(sums), len(values)
    if n_unit < 2:
        return math.inf, n_unit
    lengths = block_sums(np.ones(n), block)
    residuals = sums - lengths * float(np.mean(values))
    error = math.sqrt(n_unit / (n_unit - 1) * float(residuals @ residuals)) / n
    return (0.0 if error < 1e-15 else error), n_unit


def quantile(df: float, level: float = 0.95) -> float:
    """Two-sided quantile of Student's t: 1.96 for many degrees of freedom; infinite for none."""
    if df <= 0:
        return math.inf
    return float(stdtrit(df, (1 + level) / 2)) if math.isfinite(df) else quantile(1e12, level)


def p_student(mean: float, error: float, df: float) -> float:
    """Two-sided p-value of ``mean / error`` under Student's t."""
    if error == 0:
        return 1.0 if abs(mean) < 1e-15 else 0.0
    if df <= 0 or not math.isfinite(error):
        return 1.0
    return min(1.0, 2 * float(stdtr(min(df, 1e12), -abs(mean / error))))


def sign_flip_p(sums: Values, seed: int = 0, n_flip: int = N_FLIP) -> float:
    """Two-sided sign-flip permutation p-value of the sum of ``[n_unit]`` values.

    Exact up to :data:`EXACT_UNITS` units; beyond, ``(1 + hits) / (1 + n_flip)`` of seeded flips,
    which never is 0 (Phipson & Smyth 2010).
    """
    n_unit = len(sums)
    observed = abs(float(np.sum(sums)))
    least = observed - 1e-9 * float(np.abs(sums).sum())  # equal sums may differ in the last bit
    if n_unit <= EXACT_UNITS:
        patterns = np.arange(2**n_unit)[:, None] >> np.arange(n_unit) & 1
        return float((np.abs((2.0 * patterns - 1) @ sums) >= least).mean())
    n_word = -(-n_unit // 64)
    raw = rng(seed, Stream.SIGN_FLIP).raw(n_flip * n_word).astype("<u8")
    bits = np.unpackbits(raw.view(np.uint8).reshape(n_flip, -1), axis=1)[:, :n_unit]
    hits = int((np.abs((2.0 * bits - 1) @ sums) >= least).sum())
    return (1 + hits) / (1 + n_flip)


def _welch_half_width(a: Values, b: Values, block: int) -> float:
    """95% half-width of the difference as if the two had been measured on other episodes."""
    (error_a, n_unit), (error_b, _) = block_error(a, block), block_error(b, block)
    total = error_a**2 + error_b**2
    if not 0 < total < math.inf:
        return 0.0 if total == 0 else math.inf
    df = total**2 * (n_unit - 1) / (error_a**4 + error_b**4)
    return quantile(df) * math.sqrt(total)
