"""Gates as intervals, and the paper's three readings of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.gates import figure as gates
from repro.analysis.gates import numbers as gate_numbers
from repro.analysis.gates.numbers import CONFIRMED, NOT_CONFIRMED, UNDECIDED
from tests.analysis.analysis_doubles import record, write_gates


def content(
    k_shot: int, forget: float = 0.95, enter: float = 0.3, variance: float = 1e-3,
    initial: float = 0.99, n_episode: int = 20,
) -> dict[str, Any]:  # fmt: skip
    def layer(mean: float, start: float) -> dict[str, float]:
        return {"mean": mean, "untrained_mean": start, "episode_variance": variance}

    gates = {
        "forget": {name: layer(forget, initial) for name in ("conv1", "linear")},
        "input": {name: layer(enter, 0.01) for name in ("conv1", "linear")},
    }
    return {"k_shot": k_shot, "n_episode": n_episode, "layers": ["conv1", "linear"], "gates": gates}


def verdicts(*contents: dict[str, Any]) -> list[str]:
    found = gate_numbers.numbers({c["k_shot"]: c for c in contents})
    return [reading.verdict for reading in gate_numbers.readings(found)]


def test_the_interval_is_students_when_all_coordinates_move_together() -> None:
    values = np.random.default_rng(0).normal(0.4, 0.03, 20)
    kept = {"mean": values.mean(), "untrained_mean": 0.1, "episode_variance": values.var(ddof=1)}
    found = gate_numbers.layer_gate(kept, "input", "conv1", 5, 20)
    low, high = reference.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean.low, found.mean.high) == pytest.approx((low, high))
    low, high = reference.ttest_1samp(values - 0.1, 0).confidence_interval(0.95)
    assert (found.change.low, found.change.high) == pytest.approx((low, high))


def test_intervals_cover_at_least_95_percent_whatever_coordinates_share() -> None:
    rng, n_episode, n_coord = np.random.default_rng(1), 20, 30
    for shared in (0.0, 0.5, 1.0):
        means, spreads = [], []
        for _ in range(600):
            common = rng.normal(0, 1, (n_episode, 1))
            own = rng.normal(0, 1, (n_episode, n_coord))
            values = 0.5 + 0.05 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
            kept = {
                "mean": values.mean(), "untrained_mean": 0.1,
                "episode_variance": values.var(0, ddof=1).mean(),
            }  # fmt: skip
            found = gate_numbers.layer_gate(kept, "input", "conv1", 5, n_episode)
            means.append(found.mean.low <= 0.5 <= found.mean.high)
            spreads.append(found.episode_sd_low <= 0.05 <= found.episode_sd_high)
        slack = 3 * np.sqrt(0.95 * 0.05 / 600)
        assert np.mean(means) > 0.95 - slack
        assert np.mean(spreads) > 0.95 - slack
        if shared == 1.0:
            assert abs(np.mean(means) - 0.95) < slack
            assert abs(np.mean(spreads) - 0.95) < slack


def test_readings_are_confirmed_where_the_gates_are_as_the_paper_says() -> None:
    assert verdicts(content(1, enter=0.2), content(5, enter=0.6)) == [CONFIRMED] * 3


@pytest.mark.parametrize(
    ("fields", "which"),
    [
        ({"initial": 0.95}, 0),  # below 1 from the start: nothing was learned
        ({"forget": 0.6}, 0),  # far below
        ({"variance": 1e-8}, 1),  # the same in every episode
        ({"enter": 0.2}, 2),  # the same at both shots
    ],
)
def test_each_reading_falls_alone(fields: dict[str, float], which: int) -> None:
    values: dict[str, Any] = {"enter": 0.6, "n_episode": 2000, **fields}
    found = verdicts(content(1, **{**values, "enter": 0.2}), content(5, **values))
    assert found[which] == NOT_CONFIRMED
    assert found.count(CONFIRMED) == 2


@pytest.mark.parametrize(
    ("fields", "which"),
    [
        ({"forget": 0.9}, 0),  # the interval straddles 0.9
        ({"forget": 0.98}, 0),  # and that of the change straddles 0
        ({"variance": 1.1e-4}, 1),  # the spread of episodes straddles that of a fixed rule
        ({"enter": 0.21}, 2),  # and the difference straddles 0
    ],
)
def test_an_interval_that_straddles_cannot_be_told(fields: dict[str, float], which: int) -> None:
    values: dict[str, Any] = {"enter": 0.6, **fields}
    found = verdicts(content(1, **{**values, "enter": 0.2}), content(5, **values))
    assert found[which] == UNDECIDED
    assert found.count(CONFIRMED) == 2


def test_trainings_of_unequal_length_and_what_another_seed_does_are_no_difference() -> None:
    one, five = content(1, enter=0.2), content(5, enter=0.3)
    found = gate_numbers.numbers({1: one, 5: five})
    short = gate_numbers.Background({1: "9,766 of 75,000 steps"})
    reading = gate_numbers.readings(found, short)[2]
    assert reading.verdict == UNDECIDED and "1-shot 9,766 of 75,000 steps" in reading.because
    plain = gate_numbers.readings(found)[2]
    assert plain.verdict == CONFIRMED and "no other seed" in plain.because
    for enter, verdict in ((0.21, CONFIRMED), (0.29, UNDECIDED)):
        other = gate_numbers.numbers({1: content(1, enter=enter)})
        reading = gate_numbers.readings(found, gate_numbers.Background({}, [other]))[2]
        assert reading.verdict == verdict and "another seed of one shot" in reading.because


def test_one_layer_does_not_confirm_a_difference_of_all() -> None:
    for enter, n, verdict in (
        *((0.2, 2000, NOT_CONFIRMED), (0.203, 2000, NOT_CONFIRMED)),
        *((0.21, 20, UNDECIDED), (0.25, 20, CONFIRMED)),
    ):
        one, five = content(1, enter=0.2, n_episode=n), content(5, enter=0.3, n_episode=n)
        five["gates"]["input"]["linear"]["mean"] = enter
        reading = gate_numbers.readings(gate_numbers.numbers({1: one, 5: five}))[2]
        assert reading.verdict == verdict, enter


def test_the_reading_of_shots_is_of_1_and_5_whatever_else_was_run() -> None:
    one, five = content(1, enter=0.2), content(5, enter=0.2)
    found = gate_numbers.numbers({1: one, 5: five, 10: content(10, enter=0.6)})
    reading = gate_numbers.readings(found)[2]
    assert "5-shot minus 1-shot by layer: conv1 +0.000" in reading.because
    assert reading.verdict != CONFIRMED
    assert "5-shot minus 1-shot +0.0000" in gate_numbers.text(found)
    # Neither an unfinished training nor another seed of a further shot is its control.
    found = gate_numbers.numbers({1: one, 5: content(5, enter=0.3), 10: content(10)})
    others = gate_numbers.Background({10: "5 of 9 steps"}, [gate_numbers.numbers({10: five})])
    reading = gate_numbers.readings(found, others)[2]
    assert reading.verdict == CONFIRMED and "no other seed" in reading.because
    found = gate_numbers.numbers({1: one, 10: content(10, enter=0.6)})
    assert gate_numbers.readings(found)[2].verdict == UNDECIDED


def test_other_seeds_and_unfinished_trainings_are_found_among_the_records(tmp_path: Path) -> None:
    records = []
    for seed, k_shot in ((0, 1), (1, 1), (0, 5)):
        folder = tmp_path / f"{seed}-{k_shot}"
        write_gates(folder, k_shot, 8)
        steps = {"n_step": 100, "reached_step": 50 if k_shot == 5 else 100}
        records.append(record(k_shot=k_shot, seed=seed, path=folder, training=steps))
    found = gates.background(records)
    assert found.unfinished == {5: "50 of 100 steps"}
    assert [{item.k_shot for item in seed} for seed in found.seeds] == [{1}]


def test_too_little_to_tell_is_said() -> None:
    assert verdicts(content(5))[2] == UNDECIDED
    assert verdicts(content(1, n_episode=1), content(5, n_episode=1, enter=0.6))[1] == UNDECIDED


def test_the_text_has_a_line_per_panel_and_names_the_exceptions() -> None:
    found = gate_numbers.numbers({1: content(1, variance=1e-9), 5: content(5)})
    text = gate_numbers.text(found)
    assert sum(line.startswith(("forget", "input")) for line in text.splitlines()) == 12
    assert "Practically fixed: conv1 at 1-shot, linear at 1-shot. The others vary." in text


def test_other_trainings_confirm_nothing_of_the_paper() -> None:
    found = gate_numbers.numbers({k: content(k) for k in (1, 5)})
    of_the_paper = gate_numbers.readings(found)
    others = gate_numbers.readings(
        found, gate_numbers.Background(not_comparable="1-shot: glyphs is not mini-imagenet")
    )
    assert {r.verdict for r in of_the_paper} & set(gate_numbers.OF_THESE)
    for ours, theirs in zip(others, of_the_paper, strict=True):
        assert ours.verdict == gate_numbers.OF_THESE.get(theirs.verdict, theirs.verdict)
        assert ours.because.endswith("(1-shot: glyphs is not mini-imagenet).")
