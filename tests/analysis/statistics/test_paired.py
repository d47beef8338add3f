"""Paired comparisons against scipy, brute force and simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.statistics.paired import block_error, compare_paired, holm, sign_flip_p


def two(n: int = 200, shift: float = 0.01, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.5, 0.08, n)
    return shared + shift + rng.normal(0, 0.03, n), shared + rng.normal(0, 0.03, n)


def test_interval_and_p_value_are_scipys_paired_t_test() -> None:
    a, b = two()
    found, expected = compare_paired(a, b), reference.ttest_rel(a, b)
    low, high = expected.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.p_t == pytest.approx(expected.pvalue)
    welch = reference.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found.unpaired_half_width == pytest.approx((welch.high - welch.low) / 2)
    assert found.narrower == pytest.approx(1 - (high - low) / (welch.high - welch.low))
    assert found.narrower > 0.5
    assert found.effect_size == pytest.approx((a - b).mean() / (a - b).std(ddof=1))


def test_blocks_are_the_unit_under_permutation_sampling() -> None:
    a, b = two()
    found = compare_paired(a, b, block=4)
    expected = reference.ttest_1samp((a - b).reshape(-1, 4).mean(1), 0)
    assert found.n_unit == 50
    assert found.p_t == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))


def test_a_shorter_last_block_leaves_the_mean_of_all_episodes() -> None:
    a, b = two(203)
    found = compare_paired(a, b, block=4)
    assert found.interval.mean == pytest.approx((a - b).mean())
    assert found.n_unit == 51
    assert found.standard_error == pytest.approx(block_error(a[:200] - b[:200], 4)[0], rel=0.1)


def test_few_units_are_flipped_exactly() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 9)
    flips = [abs(np.dot(s, values)) for s in itertools.product((-1, 1), repeat=9)]
    expected = np.mean([f >= abs(values.sum()) - 1e-12 for f in flips])
    assert sign_flip_p(values) == pytest.approx(expected)


def test_seeded_flips_agree_with_scipys_permutation_test_and_with_themselves() -> None:
    a, b = two(shift=0.005)
    expected = reference.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20_000,
        rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    found = sign_flip_p(a - b)
    assert 0.01 < found < 0.5
    assert abs(found - expected) < 5 * math.sqrt(expected / 9_999)
    assert found == sign_flip_p(a - b) != sign_flip_p(a - b, seed=1)


def test_wins_ties_and_losses_are_shares_of_episodes() -> None:
    a, b = np.array([0.1 + 0.2, 0.5, 0.7, 0.2]), np.array([0.3, 0.4, 0.6, 0.9])
    found = compare_paired(a, b)
    assert (found.won, found.tied, found.lost) == (0.5, 0.25, 0.25)


def test_holm_is_the_step_down_of_its_definition() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, then the running maximum.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_equal_records_and_constant_differences_are_no_traceback() -> None:
    a = np.linspace(0, 1, 40)
    same = compare_paired(a, a, 4)
    assert (same.p_t, same.p_sign_flip, same.effect_size, same.narrower) == (1, 1, 0, 1)
    assert compare_paired(a + 0.1, a).effect_size == math.inf
    assert compare_paired(a + 0.1, a).p_t == 0
    alone = compare_paired(np.array([0.4]), np.array([0.2]))
    assert (alone.interval.half_width, alone.p_t) == (math.inf, 1.0)
    with pytest.raises(ValueError, match="not the same episodes"):
        compare_paired(a, a[:-1])
    with pytest.raises(ValueError, match="at least one episode"):
        compare_paired(a, a, 0)


def test_block_tests_keep_their_size_where_episodes_of_a_block_are_alike() -> None:
    rng = np.random.default_rng(5)
    n, rejected, flipped, naive, covered = 1000, 0, 0, 0, 0
    for _ in range(n):
        shared = np.repeat(rng.normal(0, 0.05, 30), 4)
        d = shared + rng.normal(0, 0.05, 120)
        found = compare_paired(d, np.zeros(120), 4)
        rejected += found.p_t <= 0.05
        covered += found.interval.low <= 0 <= found.interval.high
        naive += reference.ttest_1samp(d, 0).pvalue <= 0.05
        flipped += sign_flip_p(d.reshape(-1, 4).sum(1), n_flip=199) <= 0.05
    assert abs(rejected / n - 0.05) < 0.021
    assert covered == n - rejected
    assert abs(flipped / n - 0.05) < 0.021
    assert naive / n > 0.15
