"""Stray seeds are named by a rule, and each seed is drawn: a mean alone never hides one."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from repro.analysis.compare import formats as compare_formats
from repro.analysis.compare import pairs as compare
from repro.analysis.compare import sides
from repro.analysis.report import charts as report_charts
from repro.analysis.statistics.strays import strays
from repro.analysis.table import bars, check, table1
from tests.analysis.analysis_doubles import record, spread


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ((0.57, 0.58, 0.2), (2,)),
        ((0.2, 0.57, 0.22, 0.58, 0.575), (0, 2)),
        ((0.57, 0.2), (1,)),  # of two equal groups the lower
        ((0.2, 0.58, 0.59, 0.35), (0, 3)),
        ((0.40, 0.41, 0.60), (2,)),  # one that is better, too
        ((0.57, 0.58, 0.56), ()),
        ((0.50, 0.54, 0.58, 0.63), ()),  # wide, yet none lies apart
        ((0.57,), ()),
        ((), ()),
    ],
)
def test_the_rule(means: tuple[float, ...], expected: tuple[int, ...]) -> None:
    assert strays(means) == expected


@pytest.mark.parametrize(("sd", "most"), [(0.005, 0.001), (0.01, 0.003)])
def test_seeds_of_one_normal_distribution_are_hardly_ever_called_stray(
    sd: float, most: float
) -> None:
    rng = np.random.default_rng(0)
    for n_seed in (2, 3, 5, 10):
        found = [bool(strays(rng.normal(0.5, sd, n_seed).tolist())) for _ in range(3000)]
        assert np.mean(found) <= most


def test_table_check_compare_and_figures_show_the_stray_seed() -> None:
    means = (0.57, 0.21, 0.58)
    records = [
        record("meta_lstm", 5, seed=s, accuracy=spread(m, s=0.03), path=Path(f"{s}"))
        for s, m in enumerate(means)
    ]
    other = record("finetune", 5, path=Path("other"))
    table = table1.build([*records, other], "mini-imagenet")
    said = "Meta-Learner LSTM 5-shot seed 1 (21.00), against 57.00 to 58.00 of the others"
    lines, _ = check.reported([*records, other], "mini-imagenet")
    assert said in table.format("markdown") and said in " ".join(lines)
    row = json.loads(table.format("json"))[9]
    assert row["stray_seeds"] == [1] and row["seed_means"] == pytest.approx(means, abs=1e-3)
    pair = compare.compare(sides.Side("a", tuple(records)), sides.Side("b", (other,)))
    told = compare_formats.format_pairs([pair], "markdown")
    assert "a 5-shot seed 1 (21.00), against 57.00 to 58.00 of the others" in told
    with matplotlib.rc_context():
        axes = bars.draw(table, table.shots).axes[1]
        drawn = [line.get_xdata() for line in axes.lines if line.get_marker() == "|"]
    assert any(len(x) == 3 and np.allclose(x, row["seed_means"]) for x in drawn)
    assert axes.get_xlim()[0] <= 0.2
    picture = str(report_charts.bars(table, 5))
    assert "seeds 57.00, 21.00, 58.00" in picture
