"""± classes: against brute force and closed forms, and its coverage for new classes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as reference

from repro.analysis.compare.pairs import compare
from repro.analysis.compare.sides import Side
from repro.analysis.confusion import redrawn_episodes
from repro.analysis.selection import select
from repro.analysis.statistics.classes import class_half_width, episode_classes
from repro.analysis.table.table1 import build
from repro.episodes import draw_classes
from repro.records import read_records
from tests.analysis.analysis_doubles import record

RESULTS = Path(__file__).parents[3] / "results"


def drawn(n_episode: int, n_class: int = 20) -> np.ndarray:
    return np.stack(
        [draw_classes("test", n_class, 5, 0, "permutation", i) for i in range(n_episode)]
    )


def test_classes_are_those_of_the_records_own_episodes_without_any_image() -> None:
    for found in select(read_records(RESULTS, "glyphs"), "authors-code").records:
        episodes = redrawn_episodes(found, 20)
        assert episodes is not None  # its digest is the record's
        expected = np.stack([episode.class_indices for episode in episodes])
        redrawn = episode_classes(found)
        assert redrawn is not None and np.array_equal(redrawn, expected)


def test_it_is_the_jackknife_of_its_definition() -> None:
    classes = drawn(60)
    values = np.random.default_rng(0).normal(0.5, 0.1, 60)
    left = [values[[c not in row for row in classes]].mean() for c in range(20)]
    variance = 19 / 20 * sum((u - np.mean(left)) ** 2 for u in left)
    expected = reference.t.ppf(0.975, 19) * math.sqrt(variance)
    assert class_half_width(values, classes) == pytest.approx(expected)
    assert class_half_width(np.stack([values + 0.1, values - 0.1]), classes) == pytest.approx(
        expected
    )


def test_without_noise_of_episodes_it_is_the_t_interval_of_the_class_means() -> None:
    skill = np.random.default_rng(1).normal(0.5, 0.1, 20)
    classes = drawn(400)  # whole permutations: each class is in a quarter of the episodes
    found = class_half_width(skill[classes].mean(1), classes)
    assert found is not None
    expected = reference.t.ppf(0.975, 19) * reference.sem(skill)
    # Without class c the others are not used equally often, by chance.
    assert found == pytest.approx(expected, rel=0.12)


def test_where_no_episode_is_without_a_class_there_is_none() -> None:
    values = np.linspace(0.4, 0.6, 12)
    assert class_half_width(values, drawn(12, 5)) is None
    assert class_half_width(values, None) is None
    assert class_half_width(values[:1], drawn(1)) is None
    few = record(accuracy=values[:2], config={"n_test_class": 3})
    assert episode_classes(few) is None


# Spread of classes, of pairs of classes that meet, and of an episode's images; in points.
@pytest.mark.parametrize(
    ("between", "pairs", "images"), [(10, 0, 9), (10, 5, 9), (5, 3, 9), (3, 10, 5), (12, 8, 20)]
)
def test_it_covers_the_mean_over_new_classes(between: float, pairs: float, images: float) -> None:
    rng, n = np.random.default_rng(2), 500
    classes = drawn(600)
    covered, usual = 0, 0
    for _ in range(n):
        skill = rng.normal(0, between, 20)
        meet = np.triu(rng.normal(0, pairs, (20, 20)), 1)
        meet += meet.T
        values = skill[classes].mean(1) + meet[classes[:, :, None], classes[:, None]].mean((1, 2))
        values += rng.normal(0, images, 600)
        half = class_half_width(values, classes)
        assert half is not None
        covered += abs(values.mean()) <= half
        usual += abs(values.mean()) <= 1.96 * values.std(ddof=1) / math.sqrt(600)
    assert 0.94 <= covered / n <= 0.995
    assert usual / n < 0.75  # the paper's ± is not for other classes


def test_table_and_comparison_carry_it_and_a_difference_is_narrower_than_its_sides() -> None:
    rng = np.random.default_rng(3)
    skill = rng.normal(0, 0.1, 20)
    classes = episode_classes(record())
    assert classes is not None
    shared = 0.5 + skill[classes].mean(1)
    first, second = (
        record(m, 5, accuracy=np.clip(shared + rng.normal(0, 0.03, 600), 0, 1), path=Path(m))
        for m in ("meta_lstm", "finetune")
    )
    cells = {c.method: c for c in build([first, second], "mini-imagenet").cells if c.measured}
    pair = compare(Side("a", (first,)), Side("b", (second,)))
    assert pair.class_half_width == pytest.approx(
        class_half_width(first.accuracy - second.accuracy, classes)
    )
    own = cells["meta_lstm"].class_half_width
    assert own == pytest.approx(class_half_width(first.accuracy, classes))
    assert own is not None and pair.class_half_width is not None
    assert pair.class_half_width < own / 3
    assert pair.content()["difference_half_width_classes"] == pair.class_half_width
