"""A moved number fails the pinned check; the paper's number itself never does unless asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from repro.analysis.table import check
from tests.analysis.analysis_doubles import record, spread


def test_equal_runs_pass_and_a_moved_mean_fails() -> None:
    published = [record(budget="quick", accuracy=spread(0.50))]
    lines, ok = check.pinned([record(budget="quick", accuracy=spread(0.50))], published)
    assert ok, lines
    assert "0 of 600 episodes differ" in lines[0]
    assert check.pinned([record(budget="quick", accuracy=spread(0.52))], published)[1]
    for mean in (0.53 + 1e-3, 0.47 - 1e-3):
        lines, ok = check.pinned([record(budget="quick", accuracy=spread(mean))], published)
        assert not ok
        assert "FAILED" in lines[0]


def test_other_episodes_data_or_configuration_fail_by_name() -> None:
    run = record(budget="quick")
    for name in ("episodes", "data", "config"):
        other = record(budget="quick")
        other.digests[name] = "f" * 64
        lines, ok = check.pinned([run], [other])
        assert not ok
        assert f"{name} digest" in lines[0]


def test_nothing_to_compare_fails_and_unpublished_runs_are_passed_over() -> None:
    assert not check.pinned([record(budget="quick")], [])[1]
    lines, ok = check.pinned(
        [record(budget="quick"), record(budget="quick", seed=3)], [record(budget="quick")]
    )
    assert ok
    assert any("skipped" in line for line in lines)


def test_reported_is_strict_only_when_every_cell_is_there_and_indistinguishable() -> None:
    records = [record(method, k) for method in check.table1.paper.METHODS for k in (1, 5)]
    lines, failures = check.reported(records, "mini-imagenet")
    assert not failures
    assert sum(", reported " in line for line in lines) == 10
    records[-1] = record("meta_lstm", 5, accuracy=np.asarray(spread(0.57)))
    lines, failures = check.reported(records, "mini-imagenet")
    assert not failures  # one seed says too little
    assert "from 3 training seeds on" in check.strict_lines(failures)[0]
    (last,) = [
        line
        for line in lines
        if "Meta-Learner LSTM" in line and "5-shot" in line and ", reported " in line
    ]
    assert "lower (one seed each; holds while seeds spread less than" in last
    assert "is not run" in check.reported(records[:3], "mini-imagenet")[1][0]
    for n_seed in (2, 3):
        seeds = [record(seed=s, accuracy=spread(0.57 + s / 1000)) for s in range(n_seed)]
        lines, failures = check.reported([*records[:-1], *seeds], "mini-imagenet")
        assert failures == ["Meta-Learner LSTM 5-shot is lower from 3 seeds"] * (n_seed > 2)
        assert any(line.endswith("lower" if n_seed > 2 else "lower (2 seeds)") for line in lines)
        assert ("the two happened to agree" in " ".join(lines)) == (n_seed == 2)


def test_no_line_holds_other_images_against_the_papers_numbers() -> None:
    """Not even that of a milestone or a transductive test."""
    made = [
        record(path=Path("own")),
        record(path=Path("milestone"), config={"at_step": 40_000}),
        record(path=Path("transductive"), switches={"query_batch_norm": "query"}),
    ]
    for dataset, n_shown in (("mini-imagenet", 2), ("glyphs", 0)):
        tested = [replace(r, config={**r.config, "dataset": dataset}) for r in made]
        lines = [x for x in check.reported(tested, dataset)[0] if x.startswith("    apart (")]
        assert len(lines) == 2 and all("not comparable" in line for line in lines)
        assert sum("difference" in line for line in lines) == n_shown
