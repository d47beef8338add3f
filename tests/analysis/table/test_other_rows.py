"""Rows that the paper does not have: after its own, in their own colours, without verdicts."""

import itertools
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from repro.analysis import style
from repro.analysis.report.page import render
from repro.analysis.selection import select_records
from repro.analysis.table import check, table1
from repro.papers import paper
from repro.papers.catalogue import BUILT_IN
from repro.records import Record, read_record, write_record
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import record, spread


def own(name: str, title: str, k_shot: int = 5, mean: float = 0.7, **row: object) -> Record:
    told = {
        "title": title, "training": name, "train_shot": "task", "switches": None,
        "n_step": {"paper": 5}, "transductive": False,
        "source": {"target": f"{name}:Net", "package": f"{name} 1.0", "digest": "ab" * 32}, **row,
    }  # fmt: skip
    return record(
        name, k_shot, accuracy=spread(mean), config={"row": told}, path=Path(f"{name}-{k_shot}")
    )


RECORDS = [own("zeta", "Zeta & Söhne $x^2$"), own("alpha", "Alpha|Net", transductive=True),
           record("finetune", 5, path=Path("f"))]  # fmt: skip


def test_they_follow_the_papers_rows_by_name_and_have_no_verdict() -> None:
    table = table1.build(RECORDS, "mini-imagenet")
    assert table.methods == (*paper.METHODS, "alpha", "zeta")
    assert len(table.cells) == 14
    alpha = [cell for cell in table.cells if cell.method == "alpha"]
    assert [(cell.verdict, cell.reported, cell.judged) for cell in alpha] == [
        ("not run", None, None),
        ("", None, None),
    ]
    notes = " ".join(table.notes)
    assert (
        "Not in the paper, so with neither a reported number nor a verdict: Alpha|Net (alpha:Net "
        "of alpha 1.0, source abababab); Zeta"
    ) in notes
    assert "which helps): Alpha|Net." in notes
    assert "not comparable" not in table.title


def test_every_format_escapes_their_titles() -> None:
    table = table1.build(RECORDS, "mini-imagenet")
    assert r"Zeta \& Söhne \$x\textasciicircum{}2\$ &  & not run &  & $70.00" in table.format(
        "latex"
    )
    assert r"| Alpha\|Net (not in the paper) | 5-shot |" in table.format("markdown")
    assert "Zeta & Söhne $x^2$ (not in the paper)\n  1-shot " in table.format("text")
    assert json.loads(table.format("json"))[-1]["title"] == "Zeta & Söhne $x^2$"
    page = render(RECORDS, "mini-imagenet")
    assert "Zeta &amp; Söhne" in page
    assert "Not in the paper: Alpha|Net, Zeta" in page
    assert "Alpha|Net minus Zeta" in page


def test_figures_draw_them(tmp_path: Path) -> None:
    from repro.analysis.compare.differences import plot_differences
    from repro.analysis.compare.distributions import plot_distributions
    from repro.analysis.table.bars import plot_table

    paths = plot_table(table1.build(RECORDS, "mini-imagenet"), tmp_path)
    svg = next(p for p in paths if p.suffix == ".svg").read_text()
    colors = style.colors(["alpha", "zeta"])
    assert colors["alpha"] in svg
    assert colors["zeta"] in svg
    assert plot_table(table1.build(RECORDS[:1], "mini-imagenet"), tmp_path)
    assert plot_distributions(RECORDS, tmp_path)
    assert plot_differences(RECORDS, tmp_path)


def test_reproduced_or_not_is_about_the_papers_cells_alone() -> None:
    whole = [record(method, k) for method in paper.METHODS for k in paper.SHOTS]
    lines, failures = check.reported([*whole, *RECORDS[:2]], "mini-imagenet")
    assert not failures
    assert any("Alpha|Net" in line and "not in the paper" in line for line in lines)


def test_selection_takes_the_newest_of_a_method_whose_source_was_changed() -> None:
    old, new = own("zeta", "Zeta"), own("zeta", "Zeta")
    new.config["row"]["source"]["digest"] = "cd" * 32
    object.__setattr__(new, "started_at", "2026-01-01T00:00:00+00:00")
    assert select_records([new, old], None) == [new]


def _lab(linear: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    to_xyz = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
    x, y, z = np.cbrt(to_xyz @ np.clip(linear, 0, 1) / np.array([0.95047, 1, 1.08883]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _linear(color: str) -> npt.NDArray[np.float64]:
    value = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


# Machado, Oliveira & Fernandes 2009, severity 1: no red, no green, no blue cones.
VISION = [
    np.eye(3),
    np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
              [-0.003882, -0.048116, 1.051998]]),
    np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
              [-0.011820, 0.042940, 0.968881]]),
    np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
              [0.004733, 0.691367, 0.303900]]),
]  # fmt: skip


def _apart(one: str, other: str) -> float:
    """The smallest difference (CIE 1976) over the four kinds of colour vision."""
    return min(
        float(np.linalg.norm(_lab(eye @ _linear(one)) - _lab(eye @ _linear(other))))
        for eye in VISION
    )


def test_their_colours_are_told_from_the_papers_and_each_other_with_any_colour_vision() -> None:
    least = min(_apart(a, b) for a, b in itertools.combinations(style.COLORS.values(), 2))
    fixed = [*style.COLORS.values(), style.INK, style.MUTED, style.ACCENT]
    for color, other in itertools.product(style.OTHERS, [*fixed, *style.OTHERS]):
        if color != other:
            assert _apart(color, other) > least, (color, other)


def test_colours_are_the_same_whatever_else_is_shown_and_distinct_while_there_are_enough() -> None:
    names = [f"net_{i}" for i in range(len(style.OTHERS))]
    found = style.colors(names)
    assert len(set(found.values())) == len(style.COLORS) + len(names)
    assert style.colors(names) == found
    assert style.colors(["net_0"])["net_0"] == found["net_0"]
    many = style.colors([f"net_{i}" for i in range(30)])
    others = {c for n, c in many.items() if n not in style.COLORS}
    assert not others & set(style.COLORS.values())


def test_a_row_with_a_name_for_style_sheets_only_is_refused(tmp_path: Path) -> None:
    kept = own("zeta", "Zeta")
    content = {
        "config": {**kept.config, "method": "x{}body{display:none}"},
        "accuracy": [0.2], "digests": {}, "numerics_revision": 1, "training": {},
        "selection": None, "versions": {}, "device": "", "threads": 1, "commit": "",
        "dirty": False, "command": "", "started_at": "2026-01-01T00:00:00+00:00", "wall_s": 0.0,
    }  # fmt: skip
    write_record(tmp_path, content, np.zeros((1, 75), dtype=np.uint8))
    with pytest.raises(RecordError, match="small letters"):
        read_record(tmp_path)
    assert set(BUILT_IN) >= set(paper.METHODS)
