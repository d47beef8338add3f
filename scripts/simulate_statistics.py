"""The figures of docs/statistics.md: coverage and power by simulation, in percent.

python scripts/simulate_statistics.py
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.random import Generator, default_rng
from scipy.special import ndtr

from repro.analysis.confusion import read_predictions, redrawn_episodes
from repro.analysis.selection import select
from repro.analysis.statistics import power
from repro.analysis.statistics.classes import class_half_width
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.seeds import difference_of_seeds, estimate
from repro.analysis.statistics.strays import strays
from repro.analysis.table.verdicts import MARGIN, judge
from repro.episodes import draw_classes
from repro.records import Record, read_records

N_RUN = 1000


def classes(rng: Generator, between: float, pairs: float, images: float) -> tuple[float, float]:
    """Coverage of ± classes and of the paper's ± for the mean over new classes (points)."""
    drawn = np.stack([draw_classes("test", 20, 5, 0, "permutation", i) for i in range(600)])
    covered = np.zeros(2)
    for _ in range(N_RUN):
        skill, meet = rng.normal(0, between, 20), np.triu(rng.normal(0, pairs, (20, 20)), 1)
        meet += meet.T
        y = skill[drawn].mean(1) + meet[drawn[:, :, None], drawn[:, None]].mean((1, 2))
        y += rng.normal(0, images, 600)
        usual = 1.96 * y.std(ddof=1) / math.sqrt(600)
        covered += [abs(y.mean()) <= (class_half_width(y, drawn) or 0), abs(y.mean()) <= usual]
    return float(covered[0] / N_RUN), float(covered[1] / N_RUN)


def several_seeds(rng: Generator, n_seed: int, seed_sd: float, n_run: int) -> tuple[float, ...]:
    """Coverage of the interval of a mean, of its difference from a side of one seed, and from a
    published number of one seed; 150 blocks, 3 points between them and 3 of rest."""
    covered = np.zeros(3)
    for _ in range(n_run):
        of_unit = rng.normal(0, 0.03, (2, 1, 150))
        rest = rng.normal(0, 0.03, (n_seed + 1, 150))
        of_seed = rng.normal(0, seed_sd, (n_seed + 1, 1))
        ours = of_unit[0] + of_seed[:-1] + rest[:-1]
        other = of_unit[1] + of_seed[-1:] + rest[-1:]
        mean = estimate(ours)
        theirs = float(rng.normal(0, seed_sd) + rng.normal(0, 0.0065 / 1.96))
        intervals = (
            mean.interval,
            difference_of_seeds(ours, other).interval,
            judge(mean, Interval(theirs, 0.0065)).difference,
        )
        covered += [not interval.excludes_zero for interval in intervals]
    return tuple(covered / n_run)


def one_seed_verdicts(rng: Generator, seed_sd: float) -> tuple[float, float]:
    """How often a true tie of one seed a side is called higher or lower, and how often that is
    said to hold beyond the true spread."""
    labels = beyond = 0
    for _ in range(N_RUN):
        ours = rng.normal(0.6 + rng.normal(0, seed_sd), 0.0884, 600)
        theirs = 0.6 + rng.normal(0, seed_sd) + rng.normal(0, 0.0071 / 1.96)
        found = judge(estimate(ours), Interval(theirs, 0.0071), margin=MARGIN)
        labels += found.label in ("higher", "lower")
        beyond += (found.holds_to_seed_sd or 0.0) > seed_sd
    return labels / N_RUN, beyond / N_RUN


def separation(
    rng: Generator, n_episode: int, n_seed: int, seed: float, difference: float
) -> tuple[float, float]:
    """Power as computed and as found, of 2 seeds a side or more; blocks of 4 episodes."""
    noise, found = power.Noise(0.04, seed, 0.08), 0
    for _ in range(N_RUN):
        y = difference + np.repeat(rng.normal(0, 0.02, n_episode // 4), 4)
        y = y + rng.normal(0, seed, (n_seed, 1)) + rng.normal(0, 0.08, (n_seed, n_episode))
        found += difference_of_seeds(y, np.zeros_like(y), 4).interval.excludes_zero
    error, df = noise.methods(n_episode, n_seed, 4)
    return power.chance_of_separation(error, difference, df), found / N_RUN


def images(record: Record, n_episode: int) -> float:
    """Coverage of the paper's ± for other query images of the same classes, from the records.

    Two answers on one image in two episodes give the variance τ² between images of one class; a
    set of 12,000 images adds τ² / 12,000, which no number of episodes shrinks. Support images,
    which add to it, are left out.
    """
    episodes = redrawn_episodes(record, 20)
    assert episodes is not None, "the published records' episodes can be redrawn"
    rows = np.stack([episode.query_rows.ravel() for episode in episodes])
    right = (read_predictions(record) == np.repeat(np.arange(5), 15)).astype(float)
    by_class = np.array([right[rows // 600 == c].mean() for c in range(20)])
    rest, image = (right - by_class[rows // 600]).ravel(), rows.ravel()
    count, total, square = (
        np.bincount(image, weights, 12_000) for weights in (None, rest, rest**2)
    )
    between = (total**2 - square).sum() / (count * (count - 1)).sum()
    told = record.accuracy.std(ddof=1) / math.sqrt(n_episode)
    return float(2 * ndtr(1.96 * told / math.hypot(told, math.sqrt(between / 12_000))) - 1)


def main() -> None:
    """Print every table."""
    rng = default_rng(0)

    def told(*shares: float) -> str:
        return ", ".join(f"{100 * share:.1f}" for share in shares)

    print("± classes, the paper's ±; by spread of classes, of pairs, of an episode's images")
    for case in ((3, 3, 9), (5, 3, 9), (10, 0, 9), (10, 5, 9), (12, 8, 20), (3, 10, 5)):
        print(" ", case, told(*classes(rng, *case)))
    print("several seeds: of a mean, of a difference from one seed, from a published one seed")
    own = default_rng(0)
    for n_seed, n_run in ((2, 4 * N_RUN), (3, 4 * N_RUN), (5, N_RUN), (10, N_RUN)):
        for sd in (0.0, 0.003, 0.005, 0.007, 0.01, 0.013, 0.02):
            print(" ", n_seed, sd, told(*several_seeds(own, n_seed, sd, n_run)))
    print("one seed a side, true tie: called higher or lower; said to hold beyond the true spread")
    for sd in (0.003, 0.005, 0.007, 0.01, 0.02):
        print(" ", sd, told(*one_seed_verdicts(rng, sd)))
    print("power as computed, as found; by episodes, seeds, spread of seeds, difference")
    for design in (
        *((40, 2, 0.01, 0.04), (600, 3, 0.01, 0.025), (600, 5, 0.01, 0.015)),
        *((100, 30, 0.01, 0.015), (600, 100, 0.02, 0.006), (1000, 20, 0.005, 0.005)),
    ):
        print(" ", design, told(*separation(rng, *design)))
    print("± for other query images with 600, 2,000 and 10,000 episodes, published mini-ImageNet")
    for record in select(read_records(Path("results"), "mini-imagenet"), "authors-code").records:
        rates = [images(record, n) for n in (600, 2_000, 10_000)]
        print(" ", record.method, record.k_shot, told(*rates))
    print("cells with a stray seed, of normal seeds; by their spread and number")
    for sd in (0.005, 0.01, 0.02):
        rates = [
            float(np.mean([bool(strays(rng.normal(0.5, sd, n).tolist())) for _ in range(20_000)]))
            for n in (2, 3, 5, 10)
        ]
        print(" ", sd, told(*rates))


if __name__ == "__main__":
    main()
