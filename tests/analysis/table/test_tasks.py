"""What is measured in episodes of other sizes is held against no reported number."""

from pathlib import Path

import pytest

from repro.analysis.compare import pairs, sides
from repro.analysis.selection import select
from repro.analysis.table import table1
from repro.analysis.table.check import reported
from repro.records import Record
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import record, spread


def of(n_way: int = 5, n_query: int = 15, k_shot: int = 5, method: str = "meta_lstm") -> Record:
    return record(
        method, k_shot, accuracy=spread(0.6), config={"n_way": n_way, "n_query": n_query},
        path=Path(f"{method}-{k_shot}-{n_way}-{n_query}"),
    )  # fmt: skip


@pytest.mark.parametrize("shown", [of(n_way=20), of(k_shot=3), of(n_way=20, k_shot=1)])
def test_a_size_that_nobody_reported_has_neither_number_difference_nor_verdict(
    shown: Record,
) -> None:
    table = table1.build([shown], "mini-imagenet")
    (cell,) = [c for c in table.cells if c.measured is not None]
    assert (cell.reported, cell.judged, cell.difference, cell.reruns) == (None, None, None, ())
    assert cell.verdict == ""
    assert any("No number is reported for Meta-Learner LSTM" in note for note in table.notes)
    lines, failures = reported([shown], "mini-imagenet")
    (line,) = [line for line in lines if "measured 60.00" in line]
    assert line.endswith("no reported number")
    assert not [failure for failure in failures if f"{shown.k_shot}-shot is  " in failure]


def test_a_20_way_table_reports_nothing_for_cells_that_were_not_run() -> None:
    table = table1.build([of(n_way=20)], "mini-imagenet")
    assert all(cell.reported is None for cell in table.cells)
    assert table.title.startswith("Table 1 on mini-imagenet, 20-way, recipe")
    assert "not comparable with the paper" in table.title
    assert r"\textbf{20-class}" in table.format("latex")
    assert "no cell has a reported number" in reported([of(n_way=20)], "mini-imagenet")[1]


def test_the_papers_task_is_shown_and_others_are_named_with_their_options() -> None:
    there = [of(), of(n_way=20), of(n_query=5)]
    chosen = select(there, None)
    assert [r.task.n_way for r in chosen.records] == [5]
    assert sorted(str(left) for left in chosen.left_out) == [
        "Meta-Learner LSTM 5-shot, 20-way seed 0: another task, which --n-way 20 shows",
        "Meta-Learner LSTM 5-shot, 5 queries seed 0: another task, which --n-query 5 shows",
    ]
    asked = select(there, None, task={"n_way": 20})
    assert [r.task.n_way for r in asked.records] == [20]
    assert select(there, None, task={"n_way": 7}).records == ()
    assert [r.task.n_query for r in select([of(n_query=5)], None).records] == [5]


def test_a_table_is_of_one_task() -> None:
    with pytest.raises(RecordError, match="are of different tasks"):
        table1.build([of(), of(n_way=20, method="finetune")], "mini-imagenet")


def test_records_of_different_tasks_are_not_paired() -> None:
    there = [of(), of(n_way=20), of(n_way=20, method="finetune")]
    five, wide, other = (
        sides.sides(sides.parse(text), there, None, None)[0]
        for text in ("meta_lstm", "meta_lstm@n_way=20", "finetune")
    )
    with pytest.raises(RecordError, match=r"5-shot, 5-way, and .* 5-shot, 20-way; only records of"):
        pairs.compare(five, wide)
    assert pairs.compare(wide, other).paired.n_episode == 600
