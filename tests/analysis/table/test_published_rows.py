"""Rows outside the paper are held against their own authors' numbers, under the same protocol."""

import json
from pathlib import Path

import jsonschema
import pytest

from repro.analysis.compare.power_answers import of_cell
from repro.analysis.compare.power_text import against_paper
from repro.analysis.table import check, table1
from repro.papers import paper, references, shelf
from repro.papers.catalogue import BUILT_IN
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread


def other(method: str, k_shot: int, mean: float, **config: object) -> Record:
    row = {"row": BUILT_IN[method].describe(), "settings": references.settings(method, k_shot)}
    return record(method, k_shot, accuracy=spread(mean), config={**row, **config})


def cell(made: Record, dataset: str = "mini-imagenet") -> table1.Cell:
    table = table1.build([made], dataset)
    return next(c for c in table.cells if (c.method, c.k_shot) == (made.method, made.k_shot))


def test_only_the_published_training_gets_a_verdict() -> None:
    wide, plain = other("proto_net_wide", 1, 0.45), other("proto_net", 1, 0.45)
    assert cell(wide).verdict == "lower" and cell(wide).reason == ""
    assert cell(plain).verdict == "not comparable"
    assert cell(plain).reason == "classes of training episodes: 5, published with 30"
    assert cell(wide, "glyphs").reason == "glyphs is not mini-imagenet"


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_maml_is_not_comparable_for_its_query_batch(method: str) -> None:
    found = cell(other(method, 5, 0.6))
    assert (found.verdict, found.in_paper) == ("not comparable", False)
    assert found.reason == "queries a class at test: 15, published with 5"
    assert cell(other(method, 5, 0.6, n_query=5)).reason == ""


def test_another_paper_s_table_judges_no_other_protocol() -> None:
    of = next(t for t in shelf.find("snell2017").tables if t.key == "distances")
    for made, reason in (
        (record(accuracy=spread(0.55), config={"n_query": 5}), "episodes of 5 queries, not 15"),
        (
            record(accuracy=spread(0.593), switches={"query_batch_norm": "query"}),
            "transductive: query batch norm is query, not running",
        ),
        (record(accuracy=spread(0.55)), ""),
    ):
        assert table1.not_comparable(made, "mini-imagenet", of) == reason
    own = record(path=Path("own"))
    apart = record(switches={"query_batch_norm": "query"}, path=Path("apart"))
    table = table1.build([own], "mini-imagenet", apart=[apart], of=of)
    (line,) = [further for c in table.cells for further in c.further]
    assert line.verdict == "not comparable"


def test_a_record_that_does_not_say_its_settings_is_not_comparable() -> None:
    found = cell(other("proto_net_wide", 5, 0.68, settings=None))
    assert found.reason == "classes of training episodes: unknown, published with 20"


def test_notes_say_who_published_and_which_rows_are_transductive() -> None:
    made = [other("maml", 1, 0.5), other("pretrained_cosine", 1, 0.5), record()]
    table = table1.build(made, "mini-imagenet")
    notes = " ".join(table.notes)
    assert "their own authors published: MAML (Finn et al. 2017, MAML, Table 1)." in notes
    assert "neither a reported number nor a verdict: Pre-trained, cosine (built in)." in notes
    assert "Transductive" in notes and "helps): MAML." in notes
    assert "48.70 ± 1.84" in table.format("text")
    cosine = next(c for c in table.cells if c.method == "pretrained_cosine" and c.k_shot == 1)
    assert (cosine.reported, cosine.judged, cosine.verdict) == (None, None, "")


def test_notes_and_cells_agree_on_what_is_reported_of_a_20_way_table() -> None:
    (of,) = shelf.find("snell2017:omniglot-20way").tables
    wide = other("maml", 5, 0.9, n_way=20)
    table = table1.build([wide], "omniglot", of=of)
    shown = next(c for c in table.cells if c.method == "maml" and c.measured)
    assert shown.reported is not None and shown.reported.mean == 0.989
    notes = " ".join(table.notes)
    assert "their own authors published: MAML (Finn et al. 2017" in notes
    assert "neither a reported number nor a verdict" not in notes
    five = table1.build([other("maml", 5, 0.9), record("matching_net", 5)], "omniglot", of=of)
    notes = " ".join(five.notes)
    assert "neither a reported number nor a verdict: MAML" in notes
    assert "No number is reported for Matching Networks 5-shot (5-way)" in notes


def test_a_row_has_a_source_where_any_of_its_shots_has_one() -> None:
    made = [other("maml", k_shot, 0.5) for k_shot in (2, 5)]
    notes = " ".join(table1.build(made, "mini-imagenet").notes)
    assert "their own authors published: MAML (Finn et al. 2017" in notes


def test_rows_outside_the_paper_change_nothing_that_is_said_of_the_paper() -> None:
    alone = [record("meta_lstm", 5, accuracy=spread(0.606))]
    more = [*alone, other("maml", 5, 0.6), other("pretrained_logistic", 5, 0.6)]
    tables = [table1.build(made, "mini-imagenet") for made in (alone, more)]
    assert tables[0].title == tables[1].title
    known = [[c for c in table.cells if c.in_paper] for table in tables]
    assert known[0] == known[1] and len(known[0]) == 10
    assert len(tables[1].cells) == 14
    powers = [
        against_paper(
            [of_cell(c, c.reported, "mini-imagenet", 0.01, 600) for c in cells if c.reported]
        )
        for cells in known
    ]
    assert powers[0] == powers[1]
    lines, failures = check.reported(more, "mini-imagenet")
    assert len(failures) == 9  # nine cells of the paper were not run
    assert any("MAML" in line and "by Finn et al. 2017" in line for line in lines)


def test_the_json_names_the_source_and_is_valid_under_the_schema() -> None:
    table = table1.build([record(), other("maml", 1, 0.5)], "mini-imagenet")
    content = json.loads(table.format("json"))
    schema = json.loads((Path(table1.__file__).parent / "table.schema.json").read_text())
    jsonschema.validate(content, schema)
    found = {(c["method"], c["k_shot"]): c for c in content}
    assert found["maml", 1]["reported_source"] == "Finn et al. 2017, MAML, Table 1"
    assert found["meta_lstm", 5]["reported_source"] == paper.TABLE_1["meta_lstm", 5].source
    assert found["maml", 1]["reason"] and not found["maml", 1]["in_paper"]
