"""How many episodes and seeds would separate two rows, or reach a margin of equivalence.

Errors are split into what more episodes shrink, what more seeds shrink, and what nothing of ours
shrinks (the published number's own error). All values are fractions; ``power`` is the chance
asked for, 0.8 unless told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import nctdtr, ndtr, ndtri

from repro.analysis.paired import quantile

POWER = 0.8
MOST_SEEDS = 1_000
_ONE_SIDED = float(ndtri(0.95))
_TWO_SIDED = float(ndtri(0.975))


@dataclass(frozen=True)
class Noise:
    """Where the error of a difference comes from.

    Attributes:
        episode_sd: standard deviation such that n episodes leave ``episode_sd / √n``.
        seed_sd: standard deviation of the difference between training seeds; 0: seeds are left
            out, and what is said is about these checkpoints.
        fixed: standard error that neither episodes nor seeds of ours shrink.
    """

    episode_sd: float
    seed_sd: float = 0.0
    fixed: float = 0.0

    def error(self, n_episode: int, n_seed: int = 1) -> float:
        """Standard error of the difference with so many episodes and seeds."""
        return math.sqrt(self.episode_sd**2 / n_episode + self.seed_sd**2 / n_seed + self.fixed**2)

    def df(self, n_episode: int, n_seed: int, block: int = 1) -> float:
        """Satterthwaite's degrees of freedom of that error; the fixed part has infinitely many."""
        episodes, seeds = self.episode_sd**2 / n_episode, self.seed_sd**2 / n_seed
        spread = episodes**2 / max(1, n_episode // block - 1)
        if seeds:
            spread += seeds**2 / (n_seed - 1) if n_seed > 1 else math.inf
        return self.error(n_episode, n_seed) ** 4 / spread if spread else math.inf


def chance_of_equivalence(error: float, margin: float, difference: float = 0.0) -> float:
    """The chance that two one-sided tests at 5% call two numbers equivalent within the margin.

    Args:
        difference: the true one; 0 is a true tie.
    """
    if error == 0:
        return float(abs(difference) <= margin)
    room = margin - _ONE_SIDED * error  # what |measured difference| may be at most
    if room <= 0:
        return 0.0
    return float(ndtr((room - difference) / error) - ndtr((-room - difference) / error))


def chance_of_separation(error: float, difference: float, df: float = math.inf) -> float:
    """The chance that a true difference's 95% interval excludes 0."""
    if error == 0:
        return float(difference != 0)
    limit, shift = quantile(df), abs(difference) / error
    if not math.isfinite(limit):
        return 0.0
    if not math.isfinite(df) or df > 1e6:
        return float(ndtr(shift - limit) + ndtr(-shift - limit))
    return float(1 - nctdtr(df, shift, limit) + nctdtr(df, shift, -limit))


def smallest_reachable_margin(error: float, power: float = POWER) -> float:
    """The margin within which a true tie is called equivalent with this chance."""
    return (_ONE_SIDED + float(ndtri((1 + power) / 2))) * error


def smallest_separable(error: float, power: float = POWER) -> float:
    """The true difference that is told from 0 with this chance."""
    return (_TWO_SIDED + float(ndtri(power))) * error


def episodes_for_margin(noise: Noise, margin: float, power: float = POWER) -> int | None:
    """Episodes with one seed a side for a true tie to be called equivalent; None: none suffice."""
    return _episodes(noise, margin / smallest_reachable_margin(1.0, power))


def episodes_to_separate(noise: Noise, difference: float, power: float = POWER) -> int | None:
    """Episodes with one seed a side to tell a true difference from 0; None: none suffice."""
    return _episodes(noise, abs(difference) / smallest_separable(1.0, power))


def _episodes(noise: Noise, error: float) -> int | None:
    left = error**2 - noise.fixed**2 - noise.seed_sd**2
    if left <= 0:
        return None
    return max(2, math.ceil(noise.episode_sd**2 / left * (1 - 1e-12)))


def seeds_to_separate(
    noise: Noise, difference: float, n_episode: int, power: float = POWER, block: int = 1
) -> int | None:
    """Training seeds a side, each on the same ``n_episode`` episodes, to tell a difference.

    Student's t with Satterthwaite's degrees of freedom, so never fewer than 2; None: not even
    :data:`MOST_SEEDS` suffice, or the episodes alone do not allow it.
    """
    if chance_of_separation(noise.error(n_episode, 10**9), difference) < power:
        return None

    def reached(n_seed: int) -> bool:
        error, df = noise.error(n_episode, n_seed), noise.df(n_episode, n_seed, block)
        return chance_of_separation(error, difference, df) >= power

    return next((n for n in range(2, MOST_SEEDS + 1) if reached(n)), None)


def in_words(chance: float) -> str:
    """A chance as a reader counts it: ``about one run of four``."""
    if chance < 0.1:
        return "hardly ever"
    if chance > 0.95:
        return "nearly always"
    if chance < 0.45:
        numbers = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight"}
        count = round(1 / chance)
        return f"in about one run of {numbers.get(count, str(count))}"
    return f"in about {round(10 * chance)} runs of ten"
