"""Seeds crossed with episodes: against least squares, closed forms, brute force and simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.statistics import seeds
from repro.analysis.statistics.intervals import mean_interval
from repro.analysis.statistics.paired import quantile


def crossed(
    rng: np.random.Generator, n_seed: int, n_unit: int, seed: float, unit: float, rest: float
) -> np.ndarray:
    return (
        rng.normal(0, seed, (n_seed, 1))
        + rng.normal(0, unit, (1, n_unit))
        + rng.normal(0, rest, (n_seed, n_unit))
    )


def test_mean_squares_are_those_of_least_squares_on_dummies() -> None:
    y = crossed(np.random.default_rng(0), 4, 12, 0.1, 0.2, 0.3)
    found = seeds.layout(y)
    rows, columns = np.indices(y.shape).reshape(2, -1)
    ones = np.ones((y.size, 1))
    by_seed = (rows[:, None] == np.arange(1, 4)).astype(float)
    by_unit = (columns[:, None] == np.arange(1, 12)).astype(float)

    def rss(*parts: np.ndarray) -> float:
        x = np.hstack(parts)
        return float(((y.ravel() - x @ np.linalg.lstsq(x, y.ravel())[0]) ** 2).sum())

    full = rss(ones, by_seed, by_unit)
    assert found.rest == pytest.approx(full / 33)
    assert found.seed == pytest.approx((rss(ones, by_unit) - full) / 3)
    assert found.unit == pytest.approx((rss(ones, by_seed) - full) / 11)


def test_the_expected_variance_of_the_mean_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    parts = (0.02, 0.05, 0.04)
    drawn = [crossed(rng, 3, 20, *parts) for _ in range(4000)]
    raw = [seeds.satterthwaite(seeds.layout(y).terms())[0] for y in drawn]
    expected = 0.02**2 / 3 + 0.05**2 / 20 + 0.04**2 / 60
    assert np.mean(raw) == pytest.approx(expected, rel=0.05)
    assert np.var([y.mean() for y in drawn]) == pytest.approx(expected, rel=0.07)
    between = [seeds.layout(y).seed_variance for y in drawn]
    assert np.mean(between) == pytest.approx(0.02**2, rel=0.1)


def test_one_mean_square_has_its_own_degrees_of_freedom_and_two_have_welchs() -> None:
    assert seeds.satterthwaite([seeds.Term(0.5, 3.0, 7)]) == pytest.approx((1.5, 7))
    a, b = np.random.default_rng(2).normal(0, 1, 9), np.random.default_rng(3).normal(0, 3, 14)
    terms = [seeds.Term(1 / 9, a.var(ddof=1), 8), seeds.Term(1 / 14, b.var(ddof=1), 13)]
    _, df = seeds.satterthwaite(terms)
    assert df == pytest.approx(reference.ttest_ind(a, b, equal_var=False).df)


def test_without_rest_it_is_the_t_interval_of_the_seed_means() -> None:
    values = np.array([0.50, 0.52, 0.57])
    found = seeds.estimate(np.repeat(values[:, None], 40, 1))
    low, high = reference.t.interval(0.95, 2, values.mean(), reference.sem(values))
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.covers == "episodes and seeds"


def test_one_seed_is_the_papers_interval_over_episodes_alone() -> None:
    values = np.random.default_rng(4).normal(0.5, 0.1, 60)
    found = seeds.estimate(values, block=4)
    assert found.interval == mean_interval(values)
    assert (found.n_seed, found.covers, found.bootstrap) == (1, "episodes", None)


def test_blocks_and_a_left_over_episode_keep_the_mean_of_all() -> None:
    y = crossed(np.random.default_rng(5), 3, 43, 0.01, 0.05, 0.05)
    found = seeds.estimate(y, block=4)
    assert found.interval.mean == pytest.approx(y.mean())
    assert found.layout is not None and found.layout.n_unit == 10
    whole = y[:, :40].reshape(3, 10, 4).mean(2)
    assert found.layout.unit == pytest.approx(3 * whole.mean(0).var(ddof=1))


# Coverage of the 95% interval, 150 blocks: seeds' standard deviation against 3 points a block.
@pytest.mark.parametrize(
    ("n_seed", "seed", "least"),
    [(2, 0.0, 0.94), (2, 0.01, 0.85), (3, 0.0, 0.94), (3, 0.01, 0.91), (5, 0.02, 0.92)],
)
def test_intervals_cover_both_seeds_and_episodes(n_seed: int, seed: float, least: float) -> None:
    rng, n = np.random.default_rng(6), 1500
    covered, naive = 0, 0
    for _ in range(n):
        y = crossed(rng, n_seed, 150, seed, 0.03, 0.03)
        variance, df = seeds.crossed_variance(seeds.layout(y))
        covered += abs(y.mean()) <= quantile(df) * math.sqrt(variance)
        naive += abs(y.mean()) <= mean_interval(y.mean(0)).half_width
    assert least <= covered / n <= 0.98
    if seed:
        assert naive / n < 0.7  # what an interval over episodes alone would cover


def test_the_pigeonhole_bootstrap_is_its_brute_force_and_covers_from_5_seeds_on() -> None:
    rng = np.random.default_rng(7)
    y = crossed(rng, 6, 30, 0.02, 0.03, 0.03)
    brute = [y[rng.integers(0, 6, 6)][:, rng.integers(0, 30, 30)].mean() for _ in range(20_000)]
    found = seeds.pigeonhole(y, n_draw=20_000)
    assert found == pytest.approx(tuple(np.quantile(brute, (0.025, 0.975))), abs=1e-3)
    assert found == seeds.pigeonhole(y, n_draw=20_000)
    assert seeds.estimate(y).bootstrap is not None
    assert seeds.estimate(y[:4]).bootstrap is None
    covered = 0
    for i in range(400):
        y = crossed(rng, 10, 50, 0.01, 0.03, 0.03)
        low, high = seeds.pigeonhole(y, seed=i, n_draw=200)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 400 <= 0.99


@pytest.mark.parametrize("n_other", [3, 4])
def test_a_difference_of_seeds_covers_whether_seeds_are_shared_or_not(n_other: int) -> None:
    rng, covered, n = np.random.default_rng(8), 0, 1000
    for _ in range(n):
        shared = rng.normal(0, 0.05, (1, 60))
        a = shared + rng.normal(0, 0.01, (3, 1)) + rng.normal(0, 0.03, (3, 60))
        b = shared + rng.normal(0, 0.01, (n_other, 1)) + rng.normal(0, 0.03, (n_other, 60))
        found = seeds.difference_of_seeds(a, b).interval
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / n <= 0.98


@pytest.mark.parametrize(("n_seed", "least"), [(2, 0.87), (3, 0.91), (5, 0.92)])
def test_a_side_of_one_seed_is_covered_when_its_seeds_vary_as_the_others(
    n_seed: int, least: float
) -> None:
    rng, covered, naive, n = np.random.default_rng(9), 0, 0, 1000
    for _ in range(n):
        shared = rng.normal(0, 0.05, (1, 60))
        a = shared + rng.normal(0, 0.02, (n_seed, 1)) + rng.normal(0, 0.03, (n_seed, 60))
        b = shared + rng.normal(0, 0.02, (1, 1)) + rng.normal(0, 0.03, (1, 60))
        found = seeds.difference_of_seeds(a, b).interval
        covered += found.low <= 0 <= found.high
        naive += abs(found.mean) <= mean_interval(a.mean(0) - b[0]).half_width
    assert least <= covered / n <= 0.98
    assert naive / n < 0.6


def test_the_variance_with_a_side_of_one_seed_is_the_closed_form() -> None:
    rng, n_seed, n_unit = np.random.default_rng(10), 4, 50
    seed, apart, rest = 0.03, 0.05, 0.04  # apart: what the methods' episodes do not share
    means, variances = [], []
    for _ in range(3000):
        a = crossed(rng, n_seed, n_unit, seed, apart, rest)
        b = crossed(rng, 1, n_unit, seed, 0, rest)
        for found, sign in ((seeds.difference_of_seeds(a, b), 1),
                            (seeds.difference_of_seeds(b, a), -1)):  # fmt: skip
            means.append(sign * found.interval.mean)
            variances.append(found.standard_error**2)
    expected = seed**2 * (1 + 1 / n_seed) + (apart**2 + rest**2 * (1 + 1 / n_seed)) / n_unit
    assert np.mean(variances) == pytest.approx(expected, rel=0.05)
    assert np.var(means[::2]) == pytest.approx(expected, rel=0.07)
    assert means[::2] == pytest.approx(means[1::2])


def test_odd_shapes_are_refused_and_equal_seeds_are_no_traceback() -> None:
    same = np.tile(np.linspace(0, 1, 8), (3, 1))
    assert seeds.estimate(same).interval.half_width > 0
    assert seeds.estimate(np.full((3, 8), 0.5)).interval.half_width == 0
    with pytest.raises(ValueError, match="2 seeds"):
        seeds.layout(np.zeros((1, 8)))
    with pytest.raises(ValueError, match="several seeds"):
        seeds.difference_of_seeds(same[:1], same[:1])


def test_the_same_predictions_under_other_numbers_of_seeds_do_not_differ() -> None:
    for number in range(20):
        one = np.random.default_rng(number).integers(0, 76, 100) / 75
        found = seeds.difference_of_seeds(np.stack([one] * 3), one[None], 4)
        assert not found.interval.excludes_zero and found.p == 1.0


@pytest.mark.parametrize("n_episode", [1, 3, 7])
def test_fewer_episodes_than_two_blocks_leave_the_interval_open(n_episode: int) -> None:
    few = np.random.default_rng(11).normal(0.5, 0.1, (3, n_episode))
    for found in (
        seeds.estimate(few, block=4),
        seeds.difference_of_seeds(few, few[::-1] + 0.1, 4),
        seeds.difference_of_seeds(few, few[:1], 4),
    ):
        assert math.isinf(found.interval.half_width) and found.p == 1.0
