"""The reproducibility challenge's sections tell the facts of the table and of compare."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from repro.analysis.report.differences_section import matrices
from repro.analysis.report.mlrc import render_mlrc
from repro.analysis.report.page import render
from repro.analysis.selection import select
from repro.analysis.table.table1 import build
from repro.cli.main import cli
from repro.papers import shelf
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import full_set, record, spread, write_gates

RESULTS = Path(__file__).parents[3] / "results"
SECTIONS = [
    "Scope of reproducibility", "Methodology", "Results", "What was easy", "What was difficult",
]  # fmt: skip


def test_the_published_records_give_all_sections_with_the_tables_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RESULTS.parent)
    target = tmp_path / "report.md"
    words = ["--dataset", "glyphs", "--from", "results"]
    made = CliRunner().invoke(cli, ["report", *words, "--format", "mlrc", "--output", str(target)])
    assert made.exit_code == 0, made.output
    text = target.read_text()
    assert re.findall(r"^## (.*)$", text, re.M) == SECTIONS
    for command in ("table", "compare"):
        shown = CliRunner().invoke(cli, [command, *words, "--format", "markdown"]).output
        for number in re.findall(r"\| ([+-]?[\d.]+ ± [\d.]+) \|", shown):
            assert number in text


def test_what_differs_is_difficult_and_what_agrees_easy(tmp_path: Path) -> None:
    records = full_set(tmp_path)
    records[-1] = dataclasses.replace(records[-1], accuracy=spread(0.57))
    half = {"n_step": 100, "reached_step": 40}
    records[0] = dataclasses.replace(records[0], training=half)
    chosen = select([*records, record(seed=3, training=half)], "authors-code")
    text = render_mlrc(chosen.records, "mini-imagenet", chosen.left_out)
    easy, difficult = text.split("## What was easy")[1].split("## What was difficult")
    same, unclear = easy.split("These cells could not be told apart from the paper's")
    table = build(chosen.records, "mini-imagenet")
    for cell in table.cells:
        where = {"equivalent": same, "not distinguishable": unclear}.get(cell.verdict, difficult)
        assert f"- {cell.title} {cell.k_shot}-shot:" in where
    assert "lower (one seed each; holds while" in difficult
    assert "Left out: Meta-Learner LSTM 5-shot seed 3: trained for 40 of 100 steps" in difficult
    assert "40 of 100 steps" in difficult.split("Baseline-finetune 1-shot")[1][:300]
    assert "### Figure 3" in text and "10 of its 10 cells" in text
    with pytest.raises(RecordError, match="no record"):
        render_mlrc([], "mini-imagenet")


def test_other_images_are_not_held_against_the_papers_numbers() -> None:
    made = [record("meta_lstm", 5, dataset="glyphs", accuracy=spread(0.4))]
    difficult = render_mlrc(made, "glyphs").split("## What was difficult")[1]
    assert "Meta-Learner LSTM 5-shot: not comparable (glyphs is not mini-imagenet)" in difficult
    assert "difference" not in difficult


def test_rows_beside_the_papers_are_named_whatever_their_shot() -> None:
    rows = [("maml", 5), ("fomaml", 3)]
    made = [
        record(method, k_shot, accuracy=spread(0.4), config={"n_way": 20})
        for method, k_shot in rows
    ]
    (told,) = re.findall(r"not in the paper: (.*)\.\n", render_mlrc(made, "mini-imagenet"))
    assert sorted(told.split(", ")) == sorted(one.title for one in made)


def test_a_cell_on_other_episodes_keeps_the_other_pairs_of_its_shot() -> None:
    """As in the page's matrices."""
    made = [record(m, 5, path=Path(m)) for m in ("meta_lstm", "finetune", "matching_net")]
    made[2] = dataclasses.replace(made[2], digests={**made[2].digests, "episodes": "f" * 64})
    text = render_mlrc(made, "mini-imagenet").split("### Paired differences")[1]
    assert "Baseline-finetune − Meta-Learner LSTM" in text and "− Matching" not in text
    (matrix,) = matrices(made)
    assert len(matrix.pairs) == 1


def test_figure_3_is_read_for_the_paper_that_has_it_alone(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    write_gates(folder, 5, 8)
    made = [record("meta_lstm", 5, path=folder), record("matching_net", 5)]
    for key, there in (("ravi2017", True), ("snell2017", False)):
        of = shelf.find(key)
        assert ("### Figure 3" in render_mlrc(made, "mini-imagenet", of=of)) == there
        assert ("the paper's Figure 3" in render(made, "mini-imagenet", of=of)) == there
