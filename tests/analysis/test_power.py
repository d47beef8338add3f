"""Power: against simulation of the very tests it speaks of, and closed forms."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from repro import paper
from repro.analysis import power, power_text
from repro.analysis.compare import Side, compare
from repro.analysis.paired import quantile
from repro.analysis.power_answers import PairPower, of_cell, of_pair
from repro.analysis.seeds import crossed_variance, estimate, layout
from repro.analysis.stats import Interval
from repro.analysis.table1 import build
from repro.analysis.verdicts import judge
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread


def test_the_chance_of_equivalence_is_how_often_the_verdict_says_so() -> None:
    rng, n, sd, half, claimed = np.random.default_rng(0), 1500, 0.0884, 0.0071, 0
    for _ in range(n):
        ours = estimate(rng.normal(0.6, sd, 600))
        theirs = Interval(0.6 + rng.normal(0, half / 1.96), half)
        claimed += judge(ours, theirs).smallest_margin <= 0.01
    noise = power.Noise(sd, fixed=half / 1.96)
    chance = power.chance_of_equivalence(noise.error(600), 0.01)
    assert claimed / n == pytest.approx(chance, abs=3.5 * math.sqrt(0.25 * 0.75 / n))


def test_600_episodes_call_a_true_tie_equivalent_in_one_run_of_four_or_hardly_ever() -> None:
    def chance(method: str, k_shot: int) -> float:
        error = paper.TABLE_1[method, k_shot].half_width / 1.96
        return power.chance_of_equivalence(math.hypot(error, error), 0.01)

    assert power.in_words(chance("meta_lstm", 5)) == "in about one run of four"
    assert power.in_words(chance("matching_net_fce", 1)) == "hardly ever"
    assert chance("matching_net_fce", 1) < 0.01


def test_the_chance_of_separation_is_how_often_students_test_finds_it() -> None:
    rng, n, shift = np.random.default_rng(1), 4000, 0.03
    found = reference.ttest_1samp(rng.normal(shift, 0.05, (n, 8)), 0, axis=1).pvalue <= 0.05
    chance = power.chance_of_separation(0.05 / math.sqrt(8), shift, 7)
    assert found.mean() == pytest.approx(chance, abs=3.5 * math.sqrt(0.25 / n))


@pytest.mark.parametrize("fixed", [0.0, 0.002])
def test_the_number_of_episodes_is_the_first_that_reaches_four_runs_of_five(fixed: float) -> None:
    noise = power.Noise(0.09, fixed=fixed)
    n = power.episodes_for_margin(noise, 0.01)
    assert n is not None
    reached = [power.chance_of_equivalence(noise.error(i), 0.01) >= 0.8 for i in (n - 1, n)]
    assert reached == [False, True]
    n = power.episodes_to_separate(noise, 0.01)
    assert n is not None
    # The far tail of the other sign, left out of the closed form, is below 1e-6 here.
    reached = [power.chance_of_separation(noise.error(i), 0.01) >= 0.8 - 1e-6 for i in (n - 2, n)]
    assert reached == [False, True]


def test_what_no_number_of_episodes_or_seeds_reaches_is_none() -> None:
    assert power.episodes_for_margin(power.Noise(0.09, fixed=0.004), 0.01) is None
    assert power.episodes_to_separate(power.Noise(0.09, seed_sd=0.01), 0.01) is None
    assert power.seeds_to_separate(power.Noise(0.09, seed_sd=0.01), 0.005, 600) is None
    assert power.seeds_to_separate(power.Noise(0.01, seed_sd=0.1), 0.001, 600) is None


def test_that_many_seeds_find_the_difference_in_about_four_runs_of_five() -> None:
    rng, n_run, block = np.random.default_rng(2), 400, 4
    seed, unit, rest = 0.01, 0.02, 0.05  # rest: of one seed on one episode
    noise = power.Noise(2 * unit, math.sqrt(seed**2 + rest**2 / 400))
    n = power.seeds_to_separate(noise, 0.012, 400, block=block)
    assert n is not None and 5 < n < 15
    found = 0
    for _ in range(n_run):
        shared = np.repeat(rng.normal(0, unit, 100), 4)
        y = 0.012 + shared + rng.normal(0, seed, (n, 1)) + rng.normal(0, rest, (n, 400))
        variance, df = crossed_variance(layout(y, block))
        found += abs(y.mean()) > quantile(df) * math.sqrt(variance)
    assert 0.72 <= found / n_run <= 0.9


def test_chances_in_words() -> None:
    words = [power.in_words(c) for c in (0.004, 0.24, 0.35, 0.65, 0.99)]
    assert words == [
        "hardly ever", "in about one run of four", "in about one run of three",
        "in about 6 runs of ten", "nearly always",
    ]  # fmt: skip


def test_cells_take_the_measured_spread_and_else_the_papers() -> None:
    table = build([record(accuracy=spread(0.6, s=0.0884))], "mini-imagenet")
    cells = [of_cell(cell, cell.reported, "mini-imagenet", 0.01, 600) for cell in table.cells]
    lines = power_text.against_paper(cells)
    assert "8.8 points, measured" in lines[9] and "one run of four" in lines[9]
    assert "10.5 points, the paper's" in lines[6] and "hardly ever" in lines[6]
    assert "± 0.84 alone allows 1.3 points" in lines[6]


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
    assert "spread 1.00 points, assumed" in text
    assert (one.seed_sd, one.seed_sd_from, one.n_seed) == (0.01, "assumed", 0)
    three, text = told(3, 3)
    assert "from 3 seeds" in text and "assumed" not in text
    assert (three.seed_sd_from, three.n_seed) == ("measured", 3)
    lent, text = told(4, 1)
    assert "as the 4 of meta_lstm" in text and "assumed" not in text
    assert lent.seed_sd == pytest.approx(
        math.sqrt(layout(np.stack([r.accuracy for r in made["meta_lstm"]]), 4).seed_variance)
    )
