"""Intervals against scipy and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.statistics.intervals import Interval, mean_interval


def test_the_half_width_is_scipys_standard_error_times_1_96() -> None:
    values = np.random.default_rng(0).binomial(75, 0.43, 600) / 75
    found = mean_interval(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.half_width == pytest.approx(1.96 * reference.sem(values))


def test_it_is_the_normal_interval_and_close_to_students() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.1, 600)
    found, error = mean_interval(values), reference.sem(values)
    normal = reference.norm.interval(0.95, values.mean(), error)
    student = reference.t.interval(0.95, 599, values.mean(), error)
    assert (found.low, found.high) == pytest.approx(normal, abs=1e-6)
    assert student[0] < found.low and found.high < student[1]
    assert (found.low, found.high) == pytest.approx(student, abs=1e-4)


def test_a_small_case_by_hand() -> None:
    # mean 0.5, s^2 = (0.04 + 0 + 0.04) / 2
    assert mean_interval(np.array([0.3, 0.5, 0.7])).half_width == pytest.approx(
        1.96 * 0.2 / math.sqrt(3)
    )


def test_about_95_percent_of_2000_intervals_cover() -> None:
    p, n = 0.43, 600
    drawn = np.random.default_rng(2).binomial(75, p, (2000, n)) / 75
    found = [mean_interval(values) for values in drawn]
    covered = np.mean([i.low <= p <= i.high for i in found])
    assert abs(covered - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 2000)


def test_an_interval_that_touches_zero_does_not_exclude_it() -> None:
    assert not Interval(0.1, 0.1).excludes_zero
    assert Interval(-0.2, 0.1).excludes_zero


def test_odd_inputs() -> None:
    assert mean_interval(np.array([0.4])) == Interval(0.4, math.inf)
    with pytest.raises(ValueError, match="at least one"):
        mean_interval(np.array([]))
