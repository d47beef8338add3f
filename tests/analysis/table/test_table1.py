"""The table's numbers, verdicts and formats."""

import csv
import io
import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner

from repro.analysis.selection import select
from repro.analysis.statistics.seeds import estimate
from repro.analysis.table import table1
from repro.analysis.table.formats import as_text
from repro.cli.main import cli
from repro.papers import paper
from repro.records import Record
from repro.system.errors import RecordError, UsageError
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
    ("mean", "verdict"),
    [(0.58, "lower"), (0.63, "higher"), (0.606, "equivalent"), (0.602, "not distinguishable")],
)
def test_a_verdict_follows_the_interval_of_the_difference(mean: float, verdict: str) -> None:
    assert cell(build(accuracy=spread(mean)), "meta_lstm", 5).verdict == verdict


@pytest.mark.parametrize(
    "fields",
    [
        {"dataset": "glyphs"},
        {"budget": "quick"},
        {"switches": {"query_batch_norm": "query"}},
        {"config": {"n_query": 5}},
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


@pytest.mark.parametrize("width", [80, 40])
def test_a_narrow_terminal_shows_every_number_and_verdict_in_its_width(width: int) -> None:
    text = as_text(build(accuracy=spread(0.5776, s=0.086)), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    (row,) = (place for place, line in enumerate(lines) if "57.76 ± 0.69" in line)
    assert "60.60 ± 0.71" in lines[row]
    assert "lower" in " ".join(lines[row : row + 2])
    assert "Left out on" in text


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
    (chosen,) = select(records, "authors-code", "smoke").one_each
    assert chosen.budget_name == "smoke"
    with pytest.raises(RecordError, match="same cell"):
        table1.build(records[:2], "mini-imagenet")


def test_all_seeds_of_a_cell_are_shown_and_their_interval_is_the_crossed_one() -> None:
    rng = np.random.default_rng(0)
    drawn = [record(seed=s, accuracy=spread(0.6 + 0.01 * rng.normal())) for s in range(3)]
    others = [record(seed=5, switches={"passes_5shot": 5}), record(seed=6, budget="quick")]
    chosen = select([*others, *drawn], "authors-code").records
    assert [r.seed for r in chosen] == [0, 1, 2]
    table = table1.build(chosen, "mini-imagenet")
    found = cell(table, "meta_lstm", 5)
    expected = estimate(np.stack([r.accuracy for r in drawn]))
    assert found.measured == expected.interval
    assert found.seeds == (0, 1, 2)
    listed = json.loads(table.format("json"))[-1]
    assert (listed["covers"], listed["seeds"]) == ("episodes and seeds", [0, 1, 2])
    assert "± is a 95% interval over training seeds and test episodes" in " ".join(table.notes)
    assert len(select(drawn, "authors-code", seed=1).records) == 1


def test_what_the_interval_covers_is_told_per_cell_when_cells_differ() -> None:
    records = [record(seed=s, accuracy=spread(0.6 + s / 100)) for s in range(2)]
    table = table1.build([*records, record("finetune", 1)], "mini-imagenet")
    text = " ".join(table.notes)
    assert "With one seed ± is a 95% interval (1.96 s/√n) over the draw of episodes" in text
    assert "With several ± is a 95% interval over training seeds and test episodes" in text
    header, *lines = (line.split("|") for line in table.format("markdown").split("\n")[2:])
    seeds = [line[header.index(" seeds ")].strip() for line in lines if len(line) > 8]
    assert sorted(filter(None, seeds)) == ["---:", "1", "2"]
    assert "as little as 88%" in text


def test_from_5_seeds_on_the_bootstrap_is_told_as_a_check() -> None:
    drawn = [record(seed=s, accuracy=spread(0.6 + s / 500)) for s in range(5)]
    table = table1.build(drawn, "mini-imagenet")
    low, high = cell(table, "meta_lstm", 5).content()["bootstrap"]
    assert f"{100 * low:.2f} to {100 * high:.2f}" in " ".join(table.notes)
    assert "bootstrap" not in " ".join(table1.build(drawn[:4], "mini-imagenet").notes)


@pytest.mark.parametrize(
    ("n_seed", "beside"),
    [
        (1, "± covers episodes, ± classes covers other classes; neither covers other seeds"),
        (2, "± covers episodes and seeds, ± classes covers other classes"),
    ],
)
def test_beside_the_title_stands_what_the_interval_covers(n_seed: int, beside: str) -> None:
    drawn = [record(seed=s, accuracy=spread(0.6 + s / 500)) for s in range(n_seed)]
    table = table1.build(drawn, "mini-imagenet")
    assert beside in table.format("text") and beside in table.format("markdown")
    mixed = table1.build([*drawn, record("finetune", 1)], "mini-imagenet")
    assert ("where several were run" in mixed.format("text")) == (n_seed > 1)


def test_re_runs_are_judged_beside_the_paper_and_other_protocols_are_not_comparable() -> None:
    port = cell(build(recipe="port", accuracy=spread(0.5776, s=0.086)), "meta_lstm", 5)
    of_port = ["equivalent", "not distinguishable", "not comparable", "not comparable"]
    assert [r.judged.label for r in port.reruns] == of_port
    ours = cell(build(accuracy=spread(0.5776, s=0.086)), "meta_lstm", 5)
    assert {r.judged.label for r in ours.reruns} == {"not comparable"}
    frozen = cell(build(method="finetune", k_shot=1), "finetune", 1)
    assert "another protocol" in frozen.reruns[0].judged.reason


def test_the_json_is_valid_under_the_schema_and_a_changed_one_is_not() -> None:
    schema = json.loads((Path(table1.__file__).parent / "table.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    drawn = [record(seed=s, accuracy=spread(0.6 + s / 100)) for s in range(5)]
    rows = [record("finetune", 1), *drawn, record("matching_net", 1, accuracy=np.array([0.4]))]
    listed = json.loads(table1.build(rows, "mini-imagenet").format("json"))
    jsonschema.validate(listed, schema)
    assert set(schema["items"]["properties"]) == set(listed[0]) == set(schema["items"]["required"])
    for name, wrong in (("verdict", "better"), ("measured_mean", 43.4), ("seeds", None)):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate([{**listed[0], name: wrong}, *listed[1:]], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{**listed[0], "more": 1}, *listed[1:]], schema)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles_and_has_the_papers_rows(tmp_path: Path) -> None:
    records = [record(m, k, budget="quick_50%") for m, k in paper.TABLE_1]
    latex = table1.build(records, "mini-imagenet").format("latex")
    rows = [line.split(" &")[0] for line in latex.splitlines() if line.startswith(("B", "M"))]
    assert rows == [paper.ROW_TITLES[method] for method in paper.METHODS]
    source = "\n".join(
        [r"\documentclass{article}", r"\begin{document}", latex, r"\end{document}", ""]
    )
    (tmp_path / "table.tex").write_text(source)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout  # it fits an article's column
    assert (tmp_path / "table.pdf").stat().st_size > 1000


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
    monkeypatch.setattr("repro.records.read_records", lambda root, dataset, damaged=None: both)
    for asked, n_measured in (("folder", 1), ("folder@aaaa", 2), ("folder@bbbb", 1)):
        shown = CliRunner().invoke(cli, ["table", "--dataset", asked, "--format", "json"])
        assert shown.exit_code == 0, shown.output
        cells = json.loads(shown.output)
        assert sum(cell["measured_mean"] is not None for cell in cells) == n_measured
    wrong = CliRunner().invoke(cli, ["table", "--dataset", "folder@cccc"])
    assert wrong.exit_code == 1
