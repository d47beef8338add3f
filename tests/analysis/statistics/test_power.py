"""Power: against simulation of the very tests it speaks of, and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.compare import power_text
from repro.analysis.compare.pairs import compare
from repro.analysis.compare.power_answers import PairPower, of_cell, of_pair
from repro.analysis.compare.sides import Side
from repro.analysis.statistics import power
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.paired import compare_paired
from repro.analysis.statistics.seeds import difference_of_seeds, estimate, layout
from repro.analysis.table.table1 import build
from repro.analysis.table.verdicts import judge
from repro.papers import paper
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread


def test_the_chance_of_equivalence_is_how_often_the_verdict_says_so() -> None:
    rng, n, sd, half, claimed = np.random.default_rng(0), 1500, 0.0884, 0.0071, 0
    for _ in range(n):
        ours = estimate(rng.normal(0.6, sd, 600))
        theirs = Interval(0.6 + rng.normal(0, half / 1.96), half)
        claimed += judge(ours, theirs).smallest_margin <= 0.01
    noise = power.Noise(sd, fixed=half / 1.96)
    chance = power.chance_of_equivalence(noise.checkpoints(600), 0.01)
    assert claimed / n == pytest.approx(chance, abs=3.5 * math.sqrt(0.25 * 0.75 / n))


def test_600_episodes_hardly_ever_call_a_true_tie_equivalent_within_a_point() -> None:
    def chance(method: str, k_shot: int) -> float:
        error = paper.TABLE_1[method, k_shot].half_width / 1.96
        return power.chance_of_equivalence(math.hypot(error, error), 0.01)

    assert 0.2 < chance("meta_lstm", 5) < 0.3
    assert chance("matching_net_fce", 1) < 0.01


def test_the_chance_of_equivalence_with_an_estimated_error_is_that_of_two_t_tests() -> None:
    rng, n, sd, count = np.random.default_rng(4), 20_000, 0.02, 12
    y = rng.normal(0.002, sd, (n, count))
    error = y.std(1, ddof=1) / math.sqrt(count)
    inside = abs(y.mean(1)) + reference.t.ppf(0.95, count - 1) * error <= 0.018
    found = power.chance_of_equivalence(sd / math.sqrt(count), 0.018, 0.002, count - 1)
    assert inside.mean() == pytest.approx(found, abs=0.015)


def test_the_chance_of_separation_is_how_often_students_test_finds_it() -> None:
    rng, n, shift = np.random.default_rng(1), 4000, 0.03
    found = reference.ttest_1samp(rng.normal(shift, 0.05, (n, 8)), 0, axis=1).pvalue <= 0.05
    chance = power.chance_of_separation(0.05 / math.sqrt(8), shift, 7)
    assert found.mean() == pytest.approx(chance, abs=3.5 * math.sqrt(0.25 / n))


@pytest.mark.parametrize("block", [1, 4])
def test_the_number_of_episodes_is_the_first_that_reaches_the_power(block: int) -> None:
    noise = power.Noise(0.07, both_sd=0.05)
    n = power.episodes_for_margin(noise, 0.02, block=block)
    assert n is not None and n % block == 0
    reached = [
        power.chance_of_equivalence(noise.checkpoints(i), 0.02, df=i // block - 1) >= 0.8
        for i in (n - block, n)
    ]
    assert reached == [False, True]
    n = power.episodes_to_separate(noise, 0.02, block=block)
    assert n is not None and n % block == 0
    reached = [
        power.chance_of_separation(noise.checkpoints(i), 0.02, i // block - 1) >= 0.8
        for i in (n - block, n)
    ]
    assert reached == [False, True]


def test_what_no_number_of_episodes_or_seeds_reaches_is_none() -> None:
    fixed = power.Noise(0.09, fixed=0.004)
    assert power.episodes_for_margin(fixed, 0.01, known=True) is None
    assert power.episodes_to_separate(fixed, 0.01) is None
    assert power.seeds_to_separate(power.Noise(0.09, seed_sd=0.01), 0.005, 600) is None
    assert power.seeds_to_separate(power.Noise(0.01, seed_sd=0.1), 0.001, 600) is None
    assert power.seeds_to_separate(power.Noise(0.01), 0.1, 4, block=4) is None


# A large difference on few episodes and a small one on many; compare's own p is what is counted.
@pytest.mark.parametrize(
    ("n_episode", "difference"), [(12, 0.12), (20, 0.06), (60, 0.03), (200, 0.016), (1000, 0.007)]
)
def test_the_power_of_one_seed_a_side_is_how_often_compare_finds_it(
    n_episode: int, difference: float
) -> None:
    rng, n, noise = np.random.default_rng(5), 3000, power.Noise(0.05, both_sd=0.06)
    y = difference + rng.normal(0, math.hypot(0.05, 0.06), (n, n_episode))
    blocks = y.reshape(n, -1, 4).mean(2)
    found = reference.ttest_1samp(blocks, 0, axis=1).pvalue <= 0.05
    expected = power.chance_of_separation(
        noise.checkpoints(n_episode), difference, n_episode // 4 - 1
    )
    assert found.mean() == pytest.approx(expected, abs=0.03)
    same = compare_paired(y[0], np.zeros(n_episode), 4).p_t
    assert same == pytest.approx(reference.ttest_1samp(blocks[0], 0).pvalue)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_episode", "n_seed", "seed", "difference", "within"),
    [
        (40, 2, 0.01, 0.04, 0.17),  # a fraction of a degree of freedom: told too low, not too high
        (600, 3, 0.01, 0.025, 0.07),
        (600, 5, 0.01, 0.015, 0.07),
        (100, 30, 0.01, 0.015, 0.06),
        (600, 100, 0.02, 0.006, 0.07),
        (1000, 20, 0.005, 0.005, 0.06),
        (20, 100, 0.03, 0.03, 0.06),
    ],
)
def test_the_power_of_several_seeds_is_how_often_compare_finds_it(
    n_episode: int, n_seed: int, seed: float, difference: float, within: float
) -> None:
    rng, n, found = np.random.default_rng(6), 400, 0
    noise = power.Noise(0.04, seed, 0.08)
    for _ in range(n):
        y = difference + np.repeat(rng.normal(0, 0.02, n_episode // 4), 4)
        y = y + rng.normal(0, seed, (n_seed, 1)) + rng.normal(0, 0.08, (n_seed, n_episode))
        found += difference_of_seeds(y, np.zeros_like(y), 4).interval.excludes_zero
    error, df = noise.methods(n_episode, n_seed, 4)
    expected = power.chance_of_separation(error, difference, df)
    assert expected == pytest.approx(found / n, abs=within)
    n_needed = power.seeds_to_separate(noise, difference, n_episode, block=4)
    assert n_needed is None or (n_needed <= n_seed) == (expected >= 0.8)


def test_noise_of_seed_and_episode_shrinks_with_seeds() -> None:
    own, common = power.Noise(0.0, 0.01, both_sd=0.08), power.Noise(0.08, 0.01)
    few, many = (power.seeds_to_separate(n, 0.012, 400, block=4) for n in (own, common))
    assert few is not None and many is not None and few < many / 3


def test_cells_take_the_measured_spread_and_else_the_papers() -> None:
    table = build([record(accuracy=spread(0.6, s=0.0884))], "mini-imagenet")
    cells = [of_cell(cell, cell.reported, "mini-imagenet", 0.01, 600) for cell in table.cells]
    _, *lines = power_text.against_paper(cells)
    rows = {" ".join(line.split()[:-6]): line.split()[-6:] for line in lines[:9]}
    assert rows["Matching Network FCE 1-shot"][:2] == ["600", "10.5*"]
    assert rows["Matching Network FCE 1-shot"][3:5] == ["none", "1.3"]
    measured = lines[9].split()
    assert lines[9].startswith("  Meta-Learner LSTM 5-shot") and measured[3:5] == ["600", "8.8"]
    assert 20 < float(measured[5].rstrip("%")) < 30 and measured[-2] == "±"
    told = " ".join(lines[10:])
    assert "within 1 point." in told
    again = [of_cell(c, c.reported, "mini-imagenet", 0.0025, 10_000) for c in table.cells]
    told = " ".join(power_text.against_paper(again))
    assert "use the same test images ever more often" in told and "within 0.25 points" in told


def test_a_pair_tells_of_assumed_seeds_and_of_measured_ones() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(0.5, 0.08, 600)
    made: dict[str, list[Record]] = {}

    def side(method: str, mean: float, n_seed: int) -> Side:
        found = []
        for seed in range(n_seed):
            own = mean + rng.normal(0, 0.01) + rng.normal(0, 0.04, 600)
            accuracy, path = np.clip(base + own, 0, 1), Path(f"{method}-{seed}")
            found.append(record(method, 5, seed=seed, path=path, accuracy=accuracy))
        made[method] = found
        return Side(method, tuple(found))

    def told(n_first: int, n_second: int) -> tuple[PairPower, str]:
        pair = compare(side("meta_lstm", 0.05, n_first), side("finetune", 0, n_second))
        found = of_pair(pair, 0.01, 0.01)
        return found, " ".join(power_text.of_pair(found))

    one, text = told(1, 1)
    assert "1.00 points, which is assumed" in text and "seeds a side" in text
    assert all(size.seeds != size.seeds_most for size in one.sizes)  # a range
    assert one.class_half_width is not None and one.separable_classes is not None
    assert one.separable_classes > one.class_half_width
    assert "over other test classes the difference is ±" in text
    assert (one.seed_sd, one.seed_sd_from, one.n_seed) == (0.01, "assumed", 0)
    three, text = told(3, 3)
    assert "from 3 seeds" in text and "assumed" not in text
    assert (three.seed_sd_from, three.n_seed) == ("measured", 3)
    assert all(size.seeds == size.seeds_most for size in three.sizes)
    uneven, text = told(3, 4)
    assert (uneven.seed_sd_from, uneven.n_seed) == ("each side", 7)
    assert "SD between seeds of either side" in text and "SD of the differences" not in text
    apart = [layout(np.stack([r.accuracy for r in made[m]]), 4).seed_variance for m in made]
    assert uneven.seed_sd == pytest.approx(math.sqrt(np.mean(apart)))
    assert all(size.seeds == size.seeds_most for size in uneven.sizes)
    borrowed, text = told(4, 1)
    assert "as for the 4 seeds of meta_lstm" in text and "assumed" not in text
    assert borrowed.seed_sd == pytest.approx(
        math.sqrt(layout(np.stack([r.accuracy for r in made["meta_lstm"]]), 4).seed_variance)
    )
