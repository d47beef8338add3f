"""Transductive tests and milestones stand beside their cell, labelled, and never in its place."""

import json
from pathlib import Path

import jsonschema
import pytest

from repro.analysis.apart import select_apart
from repro.analysis.compare.formats import FORMATS, format_pairs
from repro.analysis.compare.pairs import all_pairs
from repro.analysis.compare.sides import Side
from repro.analysis.report.page import render
from repro.analysis.selection import select, select_records
from repro.analysis.table import check, table1
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread

OWN = record(accuracy=spread(0.5742), path=Path("own"))
QUERY = {"query_batch_norm": "query"}
CUSTOM = "authors-code-custom"
TRANSDUCTIVE = record(
    accuracy=spread(0.5866), recipe=CUSTOM, switches=QUERY, path=Path("transductive"),
    started_at="2026-01-01T00:00:00+00:00",
)  # fmt: skip
MILESTONE = record(
    accuracy=spread(0.5851), config={"at_step": 40_000}, path=Path("milestone"),
    training={"n_step": 50_000, "reached_step": 40_000},
    started_at="2026-01-02T00:00:00+00:00",
)  # fmt: skip
BOTH = record(
    accuracy=spread(0.59), recipe=CUSTOM, switches=QUERY, config={"at_step": 40_000},
    training={"n_step": 50_000, "reached_step": 40_000}, path=Path("both"),
)  # fmt: skip
OTHER = record(
    accuracy=spread(0.6), recipe=CUSTOM, switches={**QUERY, "passes_5shot": 5}, path=Path("other")
)
ALL = [TRANSDUCTIVE, MILESTONE, BOTH, OTHER, OWN]


def table(records: list[Record], recipe: str | None = "authors-code") -> table1.Table:
    chosen = select(records, recipe).records
    apart = select_apart(records, chosen, recipe)
    return table1.build(chosen, "mini-imagenet", apart=apart)


def cell(found: table1.Table) -> table1.Cell:
    return next(c for c in found.cells if (c.method, c.k_shot) == ("meta_lstm", 5))


@pytest.mark.parametrize("recipe", ["authors-code", None])
def test_a_cell_is_the_inductive_end_of_its_training_though_others_are_newer(
    recipe: str | None,
) -> None:
    assert select_records(ALL, recipe) == [OWN]
    found = cell(table(ALL, recipe))
    assert found.measured is not None
    assert found.measured.mean == pytest.approx(0.5742)
    assert found.apart == ""


def test_what_is_apart_is_of_the_recipe_s_own_trainings() -> None:
    assert select_apart(ALL, [OWN], "authors-code") == [MILESTONE, TRANSDUCTIVE, BOTH]
    assert select_apart(ALL, [OWN], "paper") == []
    labels = [(line.apart, line.steps) for line in cell(table(ALL)).further]
    assert labels == [
        ("milestone", "40,000 of 50,000 (milestone)"),
        ("transductive", "50,000"),
        ("transductive, milestone", "40,000 of 50,000 (milestone)"),
    ]
    assert {line.verdict for line in cell(table(ALL)).further} == {"not comparable"}


@pytest.mark.parametrize("style", ["text", "markdown", "latex"])
def test_every_table_for_people_labels_them(style: str) -> None:
    shown = table(ALL).format(style)
    for mean, label in (("58.66", "transductive"), ("58.51", "milestone")):
        assert any(mean in line and label in line for line in shown.splitlines()), label
    assert "transductive: query batch norm is query" in shown.replace("\n", " ")
    assert "57.42" in shown
    alone = table([OWN]).format(style)
    assert "58.66" not in alone
    assert "Apart" not in alone


def test_the_json_nests_them_and_the_csv_has_the_cells_alone() -> None:
    schema = json.loads((Path(table1.__file__).parent / "table.schema.json").read_text())
    content = json.loads(table(ALL).format("json"))
    jsonschema.validate(content, schema)
    assert len(content) == 10
    (own,) = [c for c in content if (c["method"], c["k_shot"]) == ("meta_lstm", 5)]
    assert [line["apart"] for line in own["further"]][:2] == ["milestone", "transductive"]
    assert [line["n_step"] for line in own["further"]] == [40_000, 50_000, 40_000]
    csv = table(ALL).format("csv")
    assert len(csv.splitlines()) == 11
    assert "transductive" not in csv


def test_of_two_tests_apart_of_one_seed_the_newer_is_shown() -> None:
    older = record(
        accuracy=spread(0.55), recipe=CUSTOM, switches=QUERY, path=Path("older"),
        started_at="2025-06-01T00:00:00+00:00",
    )  # fmt: skip
    for order in ([older, TRANSDUCTIVE], [TRANSDUCTIVE, older]):
        (line,) = cell(table([OWN, *order])).further
        assert line.measured is not None and line.measured.mean == pytest.approx(0.5866)


def test_a_preset_that_is_transductive_says_so_in_its_own_row() -> None:
    early = record(recipe="authors-2016-11", path=Path("early"))
    found = table([early, OWN], "authors-2016-11")
    assert cell(found).apart == "transductive"
    assert cell(found).verdict == "not comparable"
    assert cell(found).further == ()
    assert "5-shot transductive" in found.format("text")


def test_check_and_compare_and_report_label_them() -> None:
    lines, _ = check.reported(ALL, "mini-imagenet")
    (told,) = [line for line in lines if "apart (transductive, 50,000 steps)" in line]
    assert "58.66" in told and "not comparable (transductive" in told
    (told,) = [line for line in lines if "apart (milestone, 40,000 of 50,000" in line]
    assert "58.51" in told
    pairs = all_pairs([[Side("a", (TRANSDUCTIVE,)), Side("b", (OWN,))]])
    for style in FORMATS[:2]:
        shown = format_pairs(pairs, style).replace("\n", " ")
        assert "a 5-shot seed 0 (transductive, 50,000 steps)" in shown
    page = render([OWN], "mini-imagenet", apart=[TRANSDUCTIVE, MILESTONE])
    rows = [part.partition("</tr>")[0] for part in page.split("<tr")]
    (row,) = [part for part in rows if "58.66" in part and "data-cell" in part]
    assert "<strong>transductive</strong>" in row
    assert "40,000 of 50,000 (milestone)" in page


def test_pinned_holds_a_transductive_run_against_no_inductive_record() -> None:
    lines, ok = check.pinned([TRANSDUCTIVE, MILESTONE], [OWN])
    assert not ok
    assert all("not among the published records" in line for line in lines[:2])
    assert "transductive" in lines[0]
    lines, ok = check.pinned([MILESTONE], [OWN, MILESTONE])
    assert ok and "0 of 600 episodes differ" in lines[0]


def test_what_is_known_of_the_5_shot_cell_is_told_by_check_and_report() -> None:
    tests = [{"started_at": "2024", "reached_step": 9, "accuracy": a} for a in (0.5851, 0.58)]
    own = record(accuracy=spread(0.5742), earlier_tests=tuple(tests))
    lines, _ = check.reported([own], "mini-imagenet")
    (known,) = [line for line in lines if "Known results of Meta-Learner LSTM 5-shot" in line]
    # Earlier steps of a training are no results of it.
    assert "reported 60.60; inductive 57.42 to 58.14 (measured here, public re-runs)" in known
    assert "transductive 61.10 (Furrer" in known
    assert "transductive 57.70 (Furrer" in known
    assert "hidden size 1" in known and "no division by the batch size" in known
    assert known.strip() in " ".join(render([own], "mini-imagenet").split()).replace("&#39;", "'")
    (both,) = [s for s in table([own, TRANSDUCTIVE]).notes if "Known results of" in s]
    assert "transductive 58.66 (measured here)" in both
    unfinished = record(accuracy=spread(0.3), training={"n_step": 50_000, "reached_step": 9})
    (known,) = [s for s in table([unfinished]).notes if "Known results of" in s and "5-shot" in s]
    assert "inductive 57.76 to 58.14 (public re-runs)" in known  # ours is not at its end


def test_in_latex_other_rows_are_named_as_such_after_a_test_that_is_apart() -> None:
    chosen = [OWN, record("alpha", 5, accuracy=spread(0.5), config={"row": {"title": "Alpha"}})]
    lines = table1.build(chosen, "mini-imagenet", apart=[TRANSDUCTIVE]).format("latex").splitlines()
    (place,) = (i for i, line in enumerate(lines) if "{l}{not in the paper}" in line)
    assert lines[place - 2].startswith(r"\quad transductive") and lines[place + 1][:5] == "Alpha"
