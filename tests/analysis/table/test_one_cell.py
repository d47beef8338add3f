"""All that is known of one cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from repro.analysis.table import one_cell, table1
from repro.analysis.table.cell import Cell
from repro.papers import paper
from repro.records import Record
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import record, spread


def cell_of(records: list[Record]) -> Cell:
    found = table1.build(records, "mini-imagenet").cells
    return next(c for c in found if (c.method, c.k_shot) == ("meta_lstm", 5))


def test_each_config_is_a_line_and_seeds_of_one_config_are_one() -> None:
    seeds = [record(seed=s, accuracy=spread(m)) for s, m in ((0, 0.57), (1, 0.59))]
    earlier = [{"reached_step": 21_967, "accuracy": 0.58}]
    seeds = [replace(seed, earlier_tests=earlier) for seed in seeds]
    training = {"n_step": 50_000, "reached_step": 40_000}
    milestone = record(config={"at_step": 40_000}, training=training, accuracy=spread(0.58))
    transductive = record(switches={"query_batch_norm": "query"}, accuracy=spread(0.593))
    augmented = record(switches={"augmentation": "port"}, accuracy=spread(0.61))
    smoke, other = record(budget="smoke"), record("finetune", 5)
    shown = one_cell.lines(
        cell_of(seeds), [*seeds, milestone, transductive, augmented, smoke, other]
    )  # fmt: skip
    reruns = paper.RERUNS["meta_lstm", 5]
    assert [line.kind for line in shown] == (
        [one_cell.REPORTED] + [one_cell.RERUN] * len(reruns) + [one_cell.HERE] * 6
    )
    ours = {line.label: line for line in shown if line.kind == one_cell.HERE}
    assert list(ours) == [
        "authors-code, 21,967 steps, seed 0, an earlier test",
        "authors-code, 21,967 steps, seed 1, an earlier test",
        "authors-code, 40,000 of 50,000 steps, seed 0",
        "authors-code, 50,000 steps, 2 seeds",
        "authors-code, augmentation=port, 50,000 steps, seed 0",
        "authors-code, query_batch_norm=query, 50,000 steps, seed 0",
    ]
    both = ours["authors-code, 50,000 steps, 2 seeds"]
    assert both.seed_means == pytest.approx((0.57, 0.59)) and not both.transductive
    # With two seeds two points apart, the interval is of seeds and episodes.
    single = np.mean([s.accuracy.std(ddof=1) for s in seeds]) * 1.96 / np.sqrt(600)
    assert both.interval.half_width > 3 * single
    assert ours["authors-code, query_batch_norm=query, 50,000 steps, seed 0"].transductive


@pytest.mark.parametrize(
    "other",
    [
        record(numerics_revision=7),
        record(config={"n_way": 20}),
        record(config={"n_query": 5}),
        record(config={"test_dataset": "cub"}),
        record(config={"train_k_shot": 1}),
        record(digests={"data": "a" * 64, "episodes": "e" * 64}),
    ],
    ids=["revision", "ways", "queries", "test data", "training shot", "images"],
)
def test_only_tests_of_the_cells_task_images_and_arithmetic_are_lines(other: Record) -> None:
    own = [record(), record(switches={"augmentation": "port"})]
    cell = cell_of(own[:1])
    for there in ([*own, other], [other, *own]):
        assert one_cell.lines(cell, there) == one_cell.lines(cell, own)


def test_a_cell_that_was_not_run_at_the_papers_budget_has_no_figure(tmp_path: Path) -> None:
    finished = record()
    with pytest.raises(RecordError, match="no record of meta_lstm 5-shot with budget paper"):
        one_cell.plot_cell(cell_of([finished]), [record(budget="smoke")], tmp_path)
    assert not list(tmp_path.iterdir())
    cut = replace(finished, training={"n_step": 50_000, "steps_made": 10})
    assert [p.name for p in one_cell.plot_cell(cell_of([cut]), [cut], tmp_path)] == [
        "cell-meta_lstm-5-shot.png", "cell-meta_lstm-5-shot.svg",
    ]  # fmt: skip
