"""The table's numbers, verdicts and formats."""

import csv
import io
import json

import numpy as np
import pytest
from click.testing import CliRunner

from repro import paper
from repro.analysis import table1
from repro.cli import cli
from repro.errors import RecordError, UsageError
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread


def cell(table: table1.Table, method: str, k_shot: int) -> table1.Cell:
    return next(c for c in table.cells if (c.method, c.k_shot) == (method, k_shot))


def build(**fields: object) -> table1.Table:
    made = record(**fields)  # type: ignore[arg-type]
    return table1.build([made], made.dataset)


def test_measured_difference_and_interval_are_those_of_numpy() -> None:
    accuracy = spread(0.5776, s=0.086)
    found = cell(build(accuracy=accuracy), "meta_lstm", 5)
    half = 1.96 * accuracy.std(ddof=1) / np.sqrt(600)
    assert found.measured is not None
    assert found.measured.half_width == pytest.approx(half)
    assert found.difference is not None
    assert found.difference.mean == pytest.approx(accuracy.mean() - 0.6060)
    assert found.difference.half_width == pytest.approx(np.hypot(half, 0.0071))


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.58, "lower"), (0.63, "higher"), (0.606, "not distinguishable")]
)
def test_a_verdict_follows_the_interval_of_the_difference(mean: float, verdict: str) -> None:
    assert cell(build(accuracy=spread(mean)), "meta_lstm", 5).verdict == verdict


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "glyphs"},
        {"budget": "quick"},
        {"switches": {"query_batch_norm": "query"}},
        {"config": {"n_way": 20}},
    ],
)
def test_another_protocol_is_not_comparable_whatever_the_number(fields: dict[str, object]) -> None:
    table = build(accuracy=spread(0.606), **fields)
    found = cell(table, "meta_lstm", 5)
    assert found.verdict == "not comparable"
    assert found.reason
    assert "not comparable" in table.format("text")


def test_all_formats_show_the_same_cells() -> None:
    table = build(accuracy=spread(0.5776, s=0.086))
    assert "57.76 ± 0.69" in table.format("text")
    assert "60.60 ± 0.71" in table.format("markdown")
    listed = json.loads(table.format("json"))
    rows = list(csv.DictReader(io.StringIO(table.format("csv"))))
    assert len(listed) == len(rows) == 10
    assert [item["method"] for item in listed][::2] == list(paper.METHODS)
    assert listed[-1]["measured_mean"] == pytest.approx(0.5776)
    assert listed[0]["measured_mean"] is None
    latex = table.format("latex")
    assert "tabular" in latex
    assert max(map(len, table.format("text").splitlines())) <= table1.WIDTH
    with pytest.raises(UsageError, match="did you mean 'latex'"):
        table.format("latx")


def test_names_are_escaped_in_latex() -> None:
    escaped = table1.latex_escape("a_b & 5% #1 {x} \\")
    assert escaped == r"a\_b \& 5\% \#1 \{x\} \textbackslash{}"


def test_of_several_records_the_largest_budget_then_the_lowest_seed_is_shown() -> None:
    records = [
        record(budget="smoke"),
        record(budget="paper", seed=1),
        record(budget="paper", seed=0),
        record(recipe="paper"),
        record(k_shot=1, config={"train_k_shot": 5}),
    ]
    (chosen,) = table1.select_records(records, "authors-code")
    assert (chosen.budget_name, chosen.seed) == ("paper", 0)
    (chosen,) = table1.select_records(records, "authors-code", "smoke")
    assert chosen.budget_name == "smoke"
    with pytest.raises(RecordError, match="same cell"):
        table1.build(records[:2], "mini-imagenet")


def test_records_of_other_images_are_not_mixed_and_can_be_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def on(images: str, k_shot: int, day: int) -> Record:
        return record(
            k_shot=k_shot, dataset="folder", digests={"data": images * 64},
            started_at=f"2026-01-0{day}T00:00:00+00:00",
        )  # fmt: skip

    # A second folder came last, and has its 1-shot cell alone.
    both = [on("a", 1, 1), on("a", 5, 2), on("b", 1, 3)]
    (chosen,) = table1.select_records(both, "authors-code")
    assert chosen.digests["data"] == "b" * 64
    monkeypatch.setattr("repro.records.read_records", lambda root, dataset: both)
    for asked, n_measured in (("folder", 1), ("folder@aaaa", 2), ("folder@bbbb", 1)):
        shown = CliRunner().invoke(cli, ["table", "--dataset", asked, "--format", "json"])
        assert shown.exit_code == 0, shown.output
        cells = json.loads(shown.output)
        assert sum(cell["measured_mean"] is not None for cell in cells) == n_measured
    wrong = CliRunner().invoke(cli, ["table", "--dataset", "folder@cccc"])
    assert wrong.exit_code == 1
