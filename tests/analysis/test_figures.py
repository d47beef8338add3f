"""Figures: the published panels, the same bytes twice, clear errors."""

import dataclasses
import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from repro.analysis import curves
from repro.analysis.compare import differences, distributions
from repro.analysis.gates import figure as gates
from repro.analysis.report.differences_section import MAX_SHORT
from repro.analysis.statistics.intervals import accuracy_histogram
from repro.analysis.statistics.paired import compare_paired
from repro.analysis.table import bars, table1
from repro.papers.catalogue import BUILT_IN
from repro.records import Record, read_records
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import full_set, record, spread, write_gates, write_metrics

RESULTS = Path(__file__).resolve().parents[2] / "results"


def trained(tmp_path: Path) -> list[Record]:
    records = []
    for k_shot, n_step in ((1, 12), (5, 8)):
        folder = tmp_path / f"cell-{k_shot}"
        write_gates(folder, k_shot, n_step)
        lines: list[dict[str, object]] = [
            {"kind": "train", "step": 100 * i, "loss": 1.6, "accuracy": 0.2 + 0.01 * i}
            for i in range(1, 21)
        ]
        lines.append({"kind": "validation", "step": 2000, "accuracy": {str(k_shot): 0.41},
                      "half_width": {str(k_shot): 0.02}})  # fmt: skip
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        records.append(record(k_shot=k_shot, path=folder))
    return records


@pytest.mark.slow
def test_figures_are_the_same_bytes_twice(tmp_path: Path) -> None:
    records = trained(tmp_path)
    table = table1.build(records, "mini-imagenet")
    for name in ("a", "b"):
        gates.plot_gates(records, tmp_path / name)
        curves.plot_curves(records, tmp_path / name)
        bars.plot_table(table, tmp_path / name)
        distributions.plot_distributions(records, tmp_path / name)
        differences.plot_differences([*records, record("finetune", 5)], tmp_path / name)
    first = sorted((tmp_path / "a").iterdir())
    assert len(first) == 10
    assert {path.suffix for path in first} == {".png", ".svg"}
    for path in first:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path


def test_figure_3_has_five_layers_two_gates_and_both_shots(tmp_path: Path) -> None:
    _, svg = sorted(gates.plot_gates(trained(tmp_path), tmp_path))
    text = svg.read_text()
    assert sum(text.count(f'id="axes_{i}"') for i in range(1, 30)) == 20


@pytest.mark.parametrize("dataset", ["mini-imagenet", "glyphs"])
def test_the_means_of_figure_3_stand_where_no_curve_runs(dataset: str) -> None:
    """In pixels of the drawn figures of the published records."""
    figure = gates._draw(gates.read_gates(read_records(RESULTS, dataset)))
    figure.canvas.draw()
    panels = [axes for axes in figure.findobj(Axes) if axes.lines and axes.texts]
    assert len(panels) == 20
    for axes in panels:
        box = axes.texts[0].get_window_extent().transformed(axes.transData.inverted())
        at = np.linspace(box.x0, box.x1, 50)
        for line in axes.lines:
            heights = np.interp(at, *np.asarray(line.get_data(), float))
            assert not np.any((heights > box.y0) & (heights < box.y1)), axes.get_title()


def test_gate_numbers_are_trained_minus_initial_and_between_shots(tmp_path: Path) -> None:
    records = trained(tmp_path)
    content = [json.loads((r.path / "gates.json").read_text())["gates"] for r in records]
    text = gates.summary(records)
    for gate in ("forget", "input"):
        one, five = (c[gate]["linear"]["mean"] for c in content)
        row = next(
            line.split() for line in text.splitlines() if line.split()[:2] == [gate, "linear"]
        )
        assert float(row[2]) == pytest.approx(one, abs=1e-5)
        assert float(row[5]) == pytest.approx(five, abs=1e-5)
        assert float(row[-1]) == pytest.approx(five - one, abs=2e-5)


def test_missing_and_damaged_gates_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="meta_lstm"):
        gates.plot_gates([record("finetune", 5)], tmp_path)
    records = trained(tmp_path)
    (records[0].path / "gates.json").write_text('{"schema": 1}')
    with pytest.raises(RecordError, match=r"gates\.json does not have the digest"):
        gates.plot_gates(records, tmp_path)
    records[0] = record(k_shot=1, path=records[0].path)
    with pytest.raises(RecordError, match=r"gates\.json is not a valid file of gates"):
        gates.plot_gates(records, tmp_path)
    records[0] = record(k_shot=1, path=records[0].path, files={})
    with pytest.raises(RecordError, match=r"its record is old and holds no digest"):
        gates.plot_gates(records, tmp_path)


def test_a_changed_curve_is_not_drawn(tmp_path: Path) -> None:
    records = trained(tmp_path)
    path = records[0].path / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.41", "0.91"))
    with pytest.raises(RecordError, match=r"metrics\.jsonl does not have the digest"):
        curves.plot_curves(records, tmp_path)


def test_a_dollar_in_a_title_is_a_dollar_in_every_figure(tmp_path: Path) -> None:
    row = {"title": r"Costs $5 or $\foo{1}", "source": None, "transductive": False}
    folder = tmp_path / "own"
    write_metrics(folder, 0.5)
    accuracy = spread(0.5)
    own = record("own", config={"row": row}, path=folder, accuracy=accuracy)
    both = [own, record("finetune", 5)]
    table = table1.build(both, "mini-imagenet")
    for drawn in (
        bars.plot_table(table, tmp_path), curves.plot_curves([own], tmp_path),
        distributions.plot_distributions(both, tmp_path),
        differences.plot_differences(both, tmp_path),
    ):  # fmt: skip
        assert all(path.stat().st_size > 1000 for path in drawn)


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_histogram_counts_every_episode_once_two_queries_to_a_bin() -> None:
    right = np.random.default_rng(0).integers(0, 76, 600)
    counts, edges = accuracy_histogram(right / 75, 75)
    assert (len(counts), counts.sum(), edges[0], edges[-1]) == (38, 600, 0, 1)
    low, high = edges[:-1, None], edges[1:, None]
    inside = (right / 75 >= low) & ((right / 75 < high) | (high == 1))
    assert counts.tolist() == inside.sum(1).tolist()


def test_distributions_have_a_row_per_method_and_say_what_is_not_there(tmp_path: Path) -> None:
    records = full_set(tmp_path)[:-1]  # the meta-LSTM has no 5-shot
    records[0] = dataclasses.replace(
        records[0], training={"n_step": 50_000, "reached_step": 20_000}
    )
    figure = distributions.draw(records)
    panels = figure.axes
    assert len(panels) == 10
    assert texts(panels[-1]) == ["not run"]
    first = panels[0]
    (bars_drawn,) = [p for p in first.patches if isinstance(p, StepPatch)]
    counts, _ = accuracy_histogram(records[0].accuracy, 75)
    assert bars_drawn.get_data().values.tolist() == counts.tolist()
    (told,) = texts(first)
    low, high = np.percentile(100 * records[0].accuracy, (5, 95))
    assert told.startswith(f"mean {100 * records[0].accuracy.mean():.2f}, {low:.0f} to {high:.0f}")
    assert told.endswith("20,000 of 50,000 steps")
    with pytest.raises(RecordError, match="no record"):
        distributions.plot_distributions([], tmp_path)


def test_differences_are_antisymmetric_and_those_of_the_paired_comparison(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 600)
    ours = record("meta_lstm", 5, accuracy=np.clip(spread(0.5) + noise, 0, 1))
    theirs = record("finetune", 5, accuracy=spread(0.47), path=Path("other"))
    with matplotlib.rc_context():
        (panel,) = differences._draw(differences.matrices([ours, theirs]), [ours, theirs]).axes
    one = compare_paired(theirs.accuracy, ours.accuracy, 4).interval
    assert texts(panel) == [
        "·", f"{100 * one.mean:+.2f}\n± {100 * one.half_width:.2f}",
        f"{-100 * one.mean:+.2f}\n± {100 * one.half_width:.2f}", "·",
    ]  # fmt: skip
    shades = np.asarray(panel.images[0].get_array())
    assert shades == pytest.approx(-shades.T)
    assert shades[0, 1] == pytest.approx(one.mean / 0.15, abs=0.006)
    assert [t.get_fontweight() for t in panel.texts] == ["normal", "bold", "bold", "normal"]
    with pytest.raises(RecordError, match="two methods at one shot"):
        differences.plot_differences([ours], tmp_path)


def test_a_training_is_drawn_to_its_end_beside_a_shorter_one_of_the_other_shot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = trained(tmp_path)
    curve = (records[1].path / "metrics.jsonl").read_text()
    longer = {"kind": "train", "step": 50_000, "loss": 1.0, "accuracy": 0.6}
    (records[1].path / "metrics.jsonl").write_text(curve + json.dumps(longer) + "\n")
    records[1] = record(k_shot=5, path=records[1].path)
    ends: list[float] = []

    def saved(fig: object, path: Path) -> list[Path]:
        ends.extend(axes.get_xlim()[1] for axes in fig.axes)  # type: ignore[attr-defined]
        return []

    monkeypatch.setattr("repro.analysis.style.save", saved)
    curves.plot_curves(records, tmp_path)
    assert len(ends) == 2 and min(ends) >= 50_000


def test_rows_that_are_built_in_have_short_names_of_their_own() -> None:
    names = [differences.short(name, row.title) for name, row in BUILT_IN.items()]
    assert len(set(names)) == len(names)
    assert all(len(name) <= MAX_SHORT for name in names)
