"""Verdicts: TOST against its definition, precedence, and error rates."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.statistics.intervals import Interval, mean_interval
from repro.analysis.statistics.seeds import estimate
from repro.analysis.table import verdicts
from repro.papers import paper
from tests.analysis.analysis_doubles import spread

PAPER = paper.TABLE_1["meta_lstm", 5]


def judged(mean: float, s: float = 0.09, margin: float = 0.01, reason: str = "") -> str:
    return verdicts.judge(estimate(spread(mean, s=s)), PAPER, reason, margin).label


def test_with_one_seed_the_interval_is_the_unpaired_one_of_two_measurements() -> None:
    values = spread(0.5851, s=0.0884)
    found = verdicts.judge(estimate(values), PAPER)
    ours = mean_interval(values)
    mean = ours.mean - PAPER.mean
    assert found.difference.mean == pytest.approx(mean)
    # Independent errors add in quadrature.
    half_width = np.hypot(ours.half_width, PAPER.half_width)
    assert found.difference.half_width == pytest.approx(half_width)
    assert found.p == pytest.approx(2 * reference.norm.sf(-mean / found.standard_error))


def test_the_smallest_margin_is_where_the_larger_of_two_one_sided_p_values_is_5_percent() -> None:
    mean, error, df = -0.006, 0.004, 11.0
    margin = verdicts.smallest_margin(mean, error, df)
    below = reference.t.sf((mean + margin) / error, df)
    above = reference.t.cdf((mean - margin) / error, df)
    assert max(below, above) == pytest.approx(0.05)


def test_labels_follow_their_precedence() -> None:
    assert judged(0.55) == "lower"
    assert judged(0.65) == "higher"
    assert judged(0.606) == "equivalent"
    assert judged(0.606, margin=0.005) == "not distinguishable"
    assert judged(0.606, reason="budget quick") == "not comparable"
    # A small but certain difference: the margin asked for is met, so it is no longer higher.
    assert judged(0.62) == "higher"
    assert judged(0.62, margin=0.03) == "equivalent"
    with pytest.raises(ValueError, match="margin"):
        judged(0.6, margin=0)


def test_our_seed_variance_goes_into_the_papers_error() -> None:
    rng = np.random.default_rng(0)
    n_seed, between, n, covered, without = 4, 0.01, 1500, 0, 0
    for _ in range(n):
        ours = 0.6 + rng.normal(0, between, (n_seed, 1)) + rng.normal(0, 0.09, (n_seed, 200))
        theirs = 0.6 + rng.normal(0, between) + rng.normal(0, 0.0071 / 1.96)
        found = verdicts.judge(estimate(ours), Interval(theirs, 0.0071))
        covered += not found.difference.excludes_zero
        half = estimate(ours).interval.half_width
        without += abs(found.difference.mean) <= math.hypot(half, 0.0071)
    assert 0.92 <= covered / n <= 0.98
    assert without < covered


def test_at_the_edge_of_the_margin_equivalence_is_claimed_once_in_twenty() -> None:
    rng, n, claimed = np.random.default_rng(1), 3000, 0
    for _ in range(n):
        mean = 0.606 + 0.03 + rng.normal(0, 0.09 / math.sqrt(600))
        theirs = 0.606 + rng.normal(0, 0.0071 / 1.96)
        found = verdicts.judge(estimate(spread(mean, s=0.09)), Interval(theirs, 0.0071))
        claimed += found.smallest_margin <= 0.03
    assert abs(claimed / n - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / n)


def test_holm_counts_the_comparable_cells_only() -> None:
    found = [
        verdicts.judge(estimate(spread(mean)), PAPER, reason)
        for mean, reason in ((0.59, ""), (0.40, "budget quick"), (0.61, ""))
    ]
    first, apart, last = verdicts.adjusted(found)
    assert apart.p_holm is None
    assert first.p_holm == pytest.approx(2 * found[0].p)
    assert last.p_holm == pytest.approx(found[2].p)


def test_every_row_of_the_protocols_re_runs_is_there_and_other_protocols_say_why() -> None:
    assert set(paper.RERUNS) == {
        ("meta_lstm", 1), ("meta_lstm", 5), ("matching_net_fce", 1), ("matching_net_fce", 5),
        ("finetune", 1), ("finetune", 5),
    }  # fmt: skip
    port = paper.RERUNS["meta_lstm", 5][0]
    assert port.half_width == pytest.approx(1.96 * 0.086 / math.sqrt(600), abs=5e-5)
    assert verdicts.rerun_reason(port, "port", "") == ""
    assert "authors-code" in verdicts.rerun_reason(port, "authors-code", "")
    assert "augmented" in verdicts.rerun_reason(paper.RERUNS["finetune", 1][0], "port", "")


def test_a_verdict_of_one_seed_a_side_says_up_to_which_spread_of_seeds_it_holds() -> None:
    found = verdicts.judge(estimate(spread(0.5742, s=0.0912)), PAPER)
    holds = found.holds_to_seed_sd
    assert holds is not None and holds == pytest.approx(0.0109, abs=1e-4)
    expected = "lower (one seed each; holds while seeds spread less than 1.08 points)"
    assert found.told == expected
    # At that spread on both sides the interval just reaches 0.
    error = math.hypot(found.standard_error, math.sqrt(2) * holds)
    assert 1.96 * error == pytest.approx(abs(found.difference.mean))
    # What is printed is rounded so that the claim holds there.
    at_printed = math.hypot(found.standard_error, math.sqrt(2) * 0.0108)
    assert 1.96 * at_printed < abs(found.difference.mean)
    for reason, mean in (("budget quick", 0.5742), ("", 0.606)):
        same = verdicts.judge(estimate(spread(mean)), PAPER, reason)
        assert (same.holds_to_seed_sd, same.told) == (None, same.label)
    three = np.stack([spread(0.57 + s / 1000) for s in range(3)])
    assert verdicts.judge(estimate(three), PAPER).told == "lower"
    assert verdicts.judge(estimate(three[:2]), PAPER).told == "lower (2 seeds)"


def test_ties_of_two_single_seeds_are_told_apart_no_further_than_their_spread() -> None:
    rng, sd, between, n = np.random.default_rng(3), 0.0884, 0.007, 3000
    theirs = Interval(0.606, 0.0071)
    plain, beyond = 0, 0
    for _ in range(n):
        error = math.hypot(sd / math.sqrt(600), 0.0071 / 1.96)
        drawn = 0.606 + rng.normal(0, math.hypot(error, math.sqrt(2) * between))
        found = verdicts.judge(estimate(spread(drawn, s=sd)), theirs)
        plain += found.label in ("higher", "lower")
        beyond += (found.holds_to_seed_sd or 0) > between
    assert 0.33 < plain / n < 0.43  # what the bare label claims of a true tie
    assert beyond / n == pytest.approx(0.05, abs=0.015)
