"""Figures: the published panels, the same bytes twice, clear errors."""

import json
from pathlib import Path

import pytest

from repro.analysis import bars, curves, gates, table1
from repro.errors import RecordError
from repro.records import Record
from tests.analysis.analysis_doubles import record, write_gates


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


def test_figures_are_the_same_bytes_twice(tmp_path: Path) -> None:
    records = trained(tmp_path)
    table = table1.build(records, "mini-imagenet")
    for name in ("a", "b"):
        gates.plot_gates(records, tmp_path / name)
        curves.plot_curves(records, tmp_path / name)
        bars.plot_table(table, tmp_path / name)
    first = sorted((tmp_path / "a").iterdir())
    assert len(first) == 6
    assert {path.suffix for path in first} == {".png", ".svg"}
    for path in first:
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path


def test_figure_3_has_five_layers_two_gates_and_both_shots(tmp_path: Path) -> None:
    _, svg = sorted(gates.plot_gates(trained(tmp_path), tmp_path))
    text = svg.read_text()
    assert sum(text.count(f'id="axes_{i}"') for i in range(1, 30)) == 20


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
    with pytest.raises(RecordError, match=r"gates\.json"):
        gates.plot_gates(records, tmp_path)
