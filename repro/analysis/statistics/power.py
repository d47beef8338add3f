"""The number of episodes and seeds that separate two methods or reach a margin of equivalence.

The tests are those that :mod:`repro.analysis.compare.pairs` and the verdicts make: Student's t over
blocks of episodes, Satterthwaite's degrees of freedom with several seeds, 1.96 against the paper.
Errors are split into what more episodes shrink, what more seeds shrink, what both shrink (the noise
of seed × episode), and what nothing of ours shrinks (the published number's own error). All values
are fractions; ``power`` is the probability asked for, 0.8 unless another is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtri, nctdtr, ndtr, ndtri

from repro.analysis.statistics.paired import quantile
from repro.analysis.statistics.seeds import Term, satterthwaite

POWER = 0.8
MOST_SEEDS = 1_000
MOST_EPISODES = 10**8
_ONE_SIDED = float(ndtri(0.95))
_TWO_SIDED = float(ndtri(0.975))
_CHANCES = (np.arange(200) + 0.5) / 200  # of the chi-square over which equivalence is averaged


@dataclass(frozen=True)
class Noise:
    """Where the error of a difference comes from.

    Attributes:
        episode_sd: n episodes leave ``episode_sd / √n``, however many seeds.
        seed_sd: k seeds leave ``seed_sd / √k``.
        both_sd: of seed × episode: n episodes and k seeds leave ``both_sd / √(n k)``.
        fixed: standard error that neither episodes nor seeds of ours shrink.
    """

    episode_sd: float
    seed_sd: float = 0.0
    both_sd: float = 0.0
    fixed: float = 0.0

    def checkpoints(self, n_episode: int) -> float:
        """Standard error between two checkpoints, one seed a side."""
        episodes = (self.episode_sd**2 + self.both_sd**2) / n_episode
        return math.sqrt(episodes + self.fixed**2)

    def methods(self, n_episode: int, n_seed: int, block: int = 1) -> tuple[float, float]:
        """Standard error between the methods with 2 seeds a side or more, and its degrees of
        freedom: Satterthwaite's at the expected mean squares."""
        units = n_episode // block
        unit, rest = self.episode_sd**2 / block, self.both_sd**2 / block
        n, free = units * n_seed, (n_seed - 1) * (units - 1)
        terms = [
            Term(1 / n, rest + units * self.seed_sd**2, n_seed - 1),
            Term(1 / n, rest + n_seed * unit, units - 1),
            Term(-1 / n, rest, free),
        ]
        variance, df = satterthwaite(terms)
        return math.sqrt(variance), df


def chance_of_equivalence(
    error: float, margin: float, difference: float = 0.0, df: float = math.inf
) -> float:
    """The probability that two one-sided tests at 5% call two numbers equivalent.

    Args:
        difference: the true one; 0 is a true tie.
        df: of the estimated error; infinite: it is known.
    """
    if error == 0:
        return float(abs(difference) <= margin)
    if df <= 0:
        return 0.0
    scale = np.sqrt(chdtri(df, _CHANCES) / df) if df < 1e4 else np.ones(1)
    room = np.maximum(0.0, margin - quantile(df, 0.90) * error * scale)
    inside = ndtr((room - difference) / error) - ndtr((-room - difference) / error)
    return float(inside.mean())


def chance_of_separation(error: float, difference: float, df: float = math.inf) -> float:
    """The probability that a true difference's 95% interval excludes 0."""
    if error == 0:
        return float(difference != 0)
    limit, shift = quantile(df), abs(difference) / error
    if not math.isfinite(limit):
        return 0.0
    if not math.isfinite(df) or df > 1e6:
        return float(ndtr(shift - limit) + ndtr(-shift - limit))
    below, above = nctdtr(df, shift, limit), nctdtr(df, shift, -limit)
    # Far from 0 both are too small to be computed.
    return float(1 - np.nan_to_num(below) + np.nan_to_num(above))


def smallest_reachable_margin(error: float, power: float = POWER) -> float:
    """The margin within which a true tie is called equivalent with this probability."""
    return (_ONE_SIDED + float(ndtri((1 + power) / 2))) * error


def smallest_separable(error: float, power: float = POWER, df: float = math.inf) -> float:
    """The true difference whose interval excludes 0 with this probability."""
    if not math.isfinite(df) or error == 0:
        return (_TWO_SIDED + float(ndtri(power))) * error
    most = 3 * (quantile(df) + 1)
    shift = brentq(lambda d: chance_of_separation(1.0, d, df) - power, 0.0, most)
    return float(shift) * error


def episodes_for_margin(
    noise: Noise, margin: float, power: float = POWER, block: int = 1, known: bool = False
) -> int | None:
    """Episodes with one seed a side for a true tie to be called equivalent; None: none suffice.

    Args:
        known: the error is taken as known, as in a verdict against the paper; else it is estimated
            over blocks.
    """
    if noise.fixed and smallest_reachable_margin(noise.fixed, power) >= margin:
        return None

    def reached(units: int) -> bool:
        df = math.inf if known else units - 1
        error = noise.checkpoints(units * block)
        return chance_of_equivalence(error, margin, df=df) >= power

    return _first_units(reached, block)


def episodes_to_separate(
    noise: Noise, difference: float, power: float = POWER, block: int = 1
) -> int | None:
    """Episodes with one seed a side to separate two checkpoints; None: none suffice."""
    if noise.fixed and smallest_separable(noise.fixed, power) >= abs(difference):
        return None

    def reached(units: int) -> bool:
        error = noise.checkpoints(units * block)
        return chance_of_separation(error, difference, units - 1) >= power

    return _first_units(reached, block)


def _first_units(reached: Callable[[int], bool], block: int) -> int | None:
    """The smallest number of episodes, in whole blocks and 2 at least, that reaches it."""
    high = 2
    while not reached(high):
        high *= 2
        if high * block > MOST_EPISODES:
            return None
    low = high // 2  # not reached, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high * block


def seeds_to_separate(
    noise: Noise, difference: float, n_episode: int, power: float = POWER, block: int = 1
) -> int | None:
    """Training seeds a side, each on the same ``n_episode`` episodes, to separate two methods.

    Never fewer than 2; None: not even :data:`MOST_SEEDS` suffice.
    """
    if n_episode < 2 * block:
        return None

    def reached(n_seed: int) -> bool:
        error, df = noise.methods(n_episode, n_seed, block)
        return chance_of_separation(error, difference, df) >= power

    if not reached(MOST_SEEDS):
        return None
    return next(n for n in range(2, MOST_SEEDS + 1) if reached(n))
