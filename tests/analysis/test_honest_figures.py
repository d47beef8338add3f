"""What figures and tables may not suggest: another row's numbers, shot, budget or an ended run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.lines import Line2D

from repro.analysis import curves, style
from repro.analysis.compare import differences, distributions
from repro.analysis.selection import one_budget
from repro.analysis.table import bars, check, table1
from repro.papers import paper
from repro.records import Record
from tests.analysis.analysis_doubles import record, spread

HALF = {"n_step": 50_000, "reached_step": 20_000}


def with_curve(folder: Path, method: str, k_shot: int, training: dict[str, Any]) -> Record:
    cell = folder / f"{method}-{k_shot}"
    cell.mkdir()
    lines: list[dict[str, Any]] = [
        {"kind": "train", "step": 100 * i, "loss": 1.0, "accuracy": i / 40} for i in range(1, 31)
    ]
    lines.append({"kind": "validation", "step": 3000, "accuracy": {"1": 0.4, "5": 0.5},
                  "half_width": {"1": 0.02, "5": 0.02}})  # fmt: skip
    (cell / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own: dict[str, Any] = {} if method in paper.METHODS else {"config": {"row": {"title": method}}}
    return record(method, k_shot, accuracy=spread(0.5), path=cell,
                  training={"n_step": 3000, **training}, **own)  # fmt: skip


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    kept: list[matplotlib.figure.Figure] = []

    def save(fig: matplotlib.figure.Figure, _: Path) -> list[Path]:
        kept.append(fig)
        return []

    monkeypatch.setattr(style, "save", save)
    return kept


@pytest.mark.parametrize(("sizes", "chance"), [({}, 0.2), ({"train_n_way": 20}, 0.05)])
def test_chance_is_that_of_the_trainings_episodes_whatever_it_is_tested_on(
    sizes: dict[str, int], chance: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_curve(tmp_path, "matching_net", 5, {})
    wide = dataclasses.replace(made, config={**made.config, "n_way": 20, **sizes})
    kept = drawn(monkeypatch)
    curves.plot_curves([wide], tmp_path)
    (dotted,) = [line for line in kept[0].axes[0].get_lines() if line.get_linestyle() == ":"]
    assert list(dotted.get_ydata()) == [chance, chance]


def test_the_shared_pre_training_is_drawn_once_and_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"name": "pretrain", "k_shot": 0}
    methods = ("finetune", "nearest_neighbor", "pretrained_cosine")
    records = [with_curve(tmp_path, method, 5, shared) for method in methods]
    kept = drawn(monkeypatch)
    curves.plot_curves(records, tmp_path)
    (fig,) = kept
    assert [" ".join(axes.get_title().split()) for axes in fig.axes] == [
        "Pre-training, validated by nearest neighbor"
    ]


def test_a_training_at_five_shots_has_no_line_in_the_one_shot_panel(tmp_path: Path) -> None:
    trained = {"name": "matching_net", "k_shot": 5}
    one, five = (curves.drawn(with_curve(tmp_path, "matching_net", k, trained)) for k in (1, 5))
    assert len(one.curve.step) == 0 and one.note == "trained at 5-shot"
    assert one.curve.validation.tolist() == [0.4]
    assert len(five.curve.step) == 30 and five.note == ""


def test_the_smoothed_line_begins_and_ends_where_the_raw_one_does() -> None:
    values = np.concatenate([np.linspace(0.2, 0.9, 40), np.linspace(0.9, 0.3, 23)])
    empty = np.empty(0)
    smoothed = curves.Curve(np.arange(63.0), values, empty, empty, empty).smoothed
    assert smoothed[[0, -1]] == pytest.approx(values[[0, -1]])
    for i in range(63):  # by the definition, in float64
        reach = min(i, 62 - i, 3)
        assert smoothed[i] == pytest.approx(values[i - reach : i + reach + 1].mean(), abs=1e-12)
    assert curves.Curve(empty, empty, empty, empty, empty).smoothed.size == 0


@pytest.mark.parametrize("title", ["W" * 40, "a method with a name of many short words"])
@pytest.mark.parametrize("shots", [(1,), (1, 5)])
def test_no_title_is_wider_than_its_picture(
    title: str, shots: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"row": {"title": title}}
    mine: dict[str, Any] = {"accuracy": spread(0.5), "config": row, "recipe": "authors-code-custom",
            "budget": "smoke-custom"}  # fmt: skip
    records = [record("own", k, **mine, training=HALF) for k in shots]
    records += [record("finetune", k, recipe="authors-code-custom", budget="smoke-custom")
                for k in shots]  # fmt: skip
    kept = drawn(monkeypatch)
    distributions.plot_distributions(records, tmp_path)
    differences.plot_differences(records, tmp_path)
    bars.plot_table(table1.build(records, "a-data-set-of-my-own-with-a-long-name"), tmp_path)
    for fig in kept:
        fig.draw_without_rendering()
        heading: Any = fig._suptitle  # type: ignore[attr-defined]
        found = [heading, *(text for axes in fig.axes for text in (axes.title, axes.yaxis.label))]
        for text in found:
            if not text.get_text():
                continue
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.x1 <= fig.bbox.width + 1, text.get_text()


def test_unfinished_cells_are_marked_in_latex_bars_and_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = record("meta_lstm", 5, training=HALF)
    table = table1.build([cut, record("finetune", 5)], "mini-imagenet")
    latex = table.format("latex")
    assert latex.count(r"\%$\textsuperscript{*}") == 1
    told = r"training not at its end: Meta-Learner LSTM 5-shot (20,000 of 50,000 steps)."
    assert rf"\textsuperscript{{*}} {told}" in latex
    kept = drawn(monkeypatch)
    bars.plot_table(table, tmp_path)
    texts = [text.get_text() for axes in kept[0].axes for text in axes.texts]
    assert sum("20,000 of 50,000 steps" in text for text in texts) == 1
    circles = [line for line in kept[0].findobj(Line2D) if line.get_marker() == "o"]
    # One cell and its legend are open; another cell and the legend of what is measured are not.
    assert [line.get_markerfacecolor() == "white" for line in circles].count(True) == 2
    assert len(circles) == 4
    assert "training has not ended" in [text.get_text() for text in kept[0].legends[0].texts]
    trained = {"name": "meta_lstm", "k_shot": 5, **HALF}
    assert "20,000 of 50,000" in curves.drawn(with_curve(tmp_path, "meta_lstm", 5, trained)).note


def test_pictures_are_of_one_budget_and_say_what_they_leave_out() -> None:
    large = [record("finetune", k) for k in (1, 5)]
    small = record("meta_lstm", 5, budget="quick")
    kept, told = one_budget([*large, small])
    assert kept == large
    assert told.startswith("left out, of another budget than paper: Meta-Learner LSTM 5-shot (quic")
    assert one_budget(large) == (large, "")
    one, other = (
        dataclasses.replace(small, config={**small.config, "budget": {"pretrain": n}})
        for n in (10, 20)
    )
    assert len(one_budget([one, other])[0]) == 1  # one name, two budgets


def test_other_shots_than_the_papers_are_in_the_table_and_in_every_format() -> None:
    records = [record("finetune", k, accuracy=spread(0.5)) for k in (3, 10)]
    table = table1.build(records, "mini-imagenet")
    assert table.shots == (1, 3, 5, 10)
    text = table.format("text")
    for k in (3, 10):
        (line,) = [x for x in text.splitlines() if x.split()[:1] == [f"{k}-shot"]]
        assert "50.00 ± " in line
    assert text.count("\n  3-shot") == 1
    assert table.format("latex").count(r"\textbf{10-shot}") == 1
    assert [c["k_shot"] for c in json.loads(table.format("json")) if c["measured_mean"]] == [3, 10]


def test_foreign_images_get_no_difference_from_the_papers_numbers() -> None:
    records = [record("finetune", 5, dataset="glyphs", accuracy=spread(0.9))]
    table = table1.build(records, "glyphs")
    (cell,) = [cell for cell in table.cells if cell.measured]
    assert (cell.difference, cell.verdict) == (None, "not comparable")
    content = cell.content()
    assert content["difference_mean"] is content["smallest_margin"] is content["p"] is None
    assert "+3" not in table.format("text") and "+4" not in table.format("text")
    lines, _ = check.reported(records, "glyphs", "authors-code", None)
    assert not [line for line in lines if "difference" in line and "5-shot" in line]
