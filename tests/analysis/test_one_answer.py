"""Whichever command is asked about the same records, it tells the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from repro.analysis import text
from repro.analysis.compare import formats as compare_formats
from repro.analysis.compare import pairs as compare
from repro.analysis.compare import power_answers, power_text, sides
from repro.analysis.report import differences_section as report_differences
from repro.analysis.report.page import render
from repro.analysis.seeds import block_size, ignoring_seed
from repro.analysis.selection import select
from repro.analysis.table import check, table1
from repro.papers import paper
from repro.records import Record
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import record

METHODS = ("finetune", "matching_net", "meta_lstm")


def drawn(method: str, seed: int, n: int = 600, **fields: object) -> Record:
    """Accuracies with noise of the episode, of the seed and of both, in whole queries."""
    shared = np.random.default_rng(0).normal(0.5, 0.08, n)
    rng = np.random.default_rng([len(method), seed])
    own = 0.03 * METHODS.index(method) + rng.normal(0, 0.01) + rng.normal(0, 0.04, n)
    accuracy = np.clip(np.round(75 * (shared + own)) / 75, 0, 1)
    path = Path(f"{method}-{seed}-{len(fields)}")
    return record(method, 5, seed=seed, accuracy=accuracy, path=path, **fields)  # type: ignore[arg-type]


def unfinished(method: str, seed: int, step: int) -> Record:
    return drawn(method, seed, training={"n_step": 50_000, "reached_step": step})


def split_of(n_class: int) -> dict[str, object]:
    return {"config": {"n_test_class": n_class}}


SETS = {
    "one seed": [drawn(m, 0) for m in METHODS],
    "three seeds": [drawn(m, s) for m in METHODS for s in range(3)],
    "one and three": [drawn(m, s) for m in METHODS for s in range(1 if m == "finetune" else 3)],
    "unfinished seeds": [
        *(drawn(m, s) for m in METHODS for s in (1, 2)),
        *(unfinished(m, s, 9_000 + s) for m in METHODS for s in (0, 3)),
    ],
    "another data set": [drawn(m, 0, dataset="cifar-fs", **split_of(20)) for m in METHODS],
    "another split": [drawn(m, 0, **split_of(30)) for m in METHODS],
    "independent classes": [
        drawn(m, 0, switches={"episode_classes": "independent"}) for m in METHODS
    ],
    "few episodes": [drawn(m, s, n=6) for m in METHODS for s in range(3)],
}


@pytest.mark.parametrize("name", SETS)
def test_table_check_compare_report_figure_and_power_agree(name: str) -> None:
    records = SETS[name]
    dataset = records[0].dataset
    chosen = select(records, "authors-code")
    table = table1.build(chosen.records, dataset, left_out=chosen.left_out)
    cells = {cell.method: cell for cell in table.cells if cell.measured}
    assert set(cells) == set(METHODS)
    lines, _ = check.reported(records, dataset)
    plain, markdown = table.format("text"), table.format("markdown")
    page = render(chosen.records, dataset, left_out=chosen.left_out).replace("\u00a0", " ")
    for cell in cells.values():
        for shown in (cell.measured, cell.difference):
            if shown is None:  # of other data than the paper's
                assert dataset == "cifar-fs" and shown is not cell.measured
                continue
            said = text.percent_interval(shown, signed=shown is cell.difference)
            for where in ("\n".join(lines), plain, markdown, page):
                assert said in where, (said, where[:400])
        if cell.class_half_width is not None:
            said = text.class_text(cell.class_half_width)
            for where in ("\n".join(lines), plain, markdown, page):
                assert said in where
        if cell.class_half_width is not None:
            said = text.class_text(cell.class_half_width)
            for where in ("\n".join(lines), plain, markdown, page):
                assert said in where
    groups = sides.gather([], {dataset: records}, "authors-code", None, {}, {})
    pairs = compare.all_pairs(groups)
    told = compare_formats.format_pairs(pairs, "text")
    (matrix,) = report_differences.matrices(chosen.records)
    fields = dict(zip(METHODS, dict(matrix.rows)["meta_lstm"], strict=True))
    assert len(pairs) == len(matrix.pairs) == 3
    for pair, row in zip(pairs, matrix.pairs, strict=True):
        said = text.percent_interval(pair.interval, signed=True)
        assert row[1].replace("\u00a0", " ") == said and said in told and said in page
        assert row[3] == text.p_text(pair.p_holm) and row[3] in told
        assert row[2].replace("\u00a0", " ") == text.class_text(pair.class_half_width)
        assert row[2].replace("\u00a0", " ") in told
        assert pair.first.seeds == cells[pair.first.records[0].method].seeds
        if name == "few episodes":
            with pytest.raises(RecordError, match="fewer than two blocks of 4"):
                power_answers.of_pair(pair, 0.01, 0.01)
        else:
            answer = power_answers.of_pair(pair, 0.01, 0.01)
            assert said in " ".join(power_text.of_pair(answer))
        if pair.second.records[0].method == "meta_lstm":
            field = fields[pair.first.records[0].method].text.replace("\u00a0", " ")
            opposite = said.replace("-", "x").replace("+", "-").replace("x", "+")
            assert field == opposite
    for bad in ("inf", "nan", "∞", "-0%", "-0.00"):
        everything = " ".join([*lines, plain, markdown, told, re.sub(r"<svg.*?</svg>", "", page)])
        assert not re.search(rf"(?<![a-z0-9]){re.escape(bad)}(?![a-z0-9])", everything), bad


@pytest.mark.parametrize(
    ("name", "block"),
    [("one seed", 4), ("another data set", 4), ("another split", 6), ("independent classes", 1)],
)
def test_there_is_one_block_of_episodes(name: str, block: int) -> None:
    records = SETS[name]
    assert {block_size(record) for record in records} == {block}
    sides = report_differences.sides(records, 5)
    assert compare.compare(sides[0], sides[1]).paired.block == block
    same = drawn("finetune", 0, dataset=records[0].dataset, **split_of(30))
    other = drawn("finetune", 0, dataset=records[0].dataset, **split_of(30))
    other.accuracy[:] = np.roll(other.accuracy, 1)
    (line,), _ = check.pinned([same], [other])
    expected = compare.compare_paired(same.accuracy, other.accuracy, 6).interval
    assert text.percent_interval(expected, signed=True) in line


def test_finished_seeds_are_preferred_and_each_one_left_out_is_named_with_its_reason() -> None:
    old = drawn("meta_lstm", 2, numerics_revision=0)
    images = drawn("meta_lstm", 4, digests={"data": "f" * 64}, started_at="2024-01-01")
    bf16 = drawn("meta_lstm", 5, config={"precision": "bf16"}, training={"n_step": 40_000})
    records = [
        *(unfinished("meta_lstm", 0, 9_000), drawn("meta_lstm", 1), drawn("meta_lstm", 3)),
        *(old, images, bf16, drawn("meta_lstm", 6, budget="smoke")),
    ]
    chosen = select(records, "authors-code")
    assert [r.seed for r in chosen.records] == [1, 3]
    reasons = {x.record.seed: x.reason for x in chosen.left_out}
    assert reasons == {
        0: "trained for 9,000 of 50,000 steps",
        2: "of numerics revision 0, not 1",
        4: "of other images (data digest ffffffff)",
        5: "another configuration (precision)",
    }
    table = table1.build(chosen.records, "mini-imagenet", left_out=chosen.left_out)
    lines, _ = check.reported(records, "mini-imagenet")
    for where in (table.format("markdown"), "\n".join(lines)):
        assert "Meta-Learner LSTM 5-shot seed 0: trained for 9,000 of 50,000 steps" in where
    third = [*(drawn("finetune", s) for s in (0, 1)), unfinished("finetune", 2, 10)]
    groups = sides.gather([], {"": [*records, *third]}, "authors-code", None, {}, {})
    told = " ".join(compare_formats.format_pairs(compare.all_pairs(groups), "text").split())
    assert "Baseline-finetune 5-shot seed 2: trained for 10 of 50,000 steps" in told
    assert "Meta-Learner LSTM 5-shot seed 0: trained for 9,000 of 50,000 steps" in told


def test_where_no_seed_is_finished_the_most_trained_are_shown() -> None:
    records = [unfinished("meta_lstm", s, step) for s, step in ((0, 100), (1, 900), (2, 900))]
    chosen = select(records, "authors-code")
    assert [r.seed for r in chosen.records] == [1, 2]
    assert [x.record.seed for x in chosen.left_out] == [0]


def test_numbers_have_one_style() -> None:
    inf = float("inf")
    assert [text.percent(-1e-9), text.share(-0.001), text.percent(-1e-9, signed=True)] == [
        "0.00", "0%", "+0.00",
    ]  # fmt: skip
    assert {text.points(inf), text.percent(inf), text.fixed(-inf, 2, "+")} == {"unknown"}
    assert [text.p_text(p) for p in (1e-9, 0.001, 0.8704, 1.0)] == [
        "< 0.001", "0.001", "0.870", "1.000",
    ]  # fmt: skip
    assert [text.margin_text(m) for m in (0.0025, 0.01, 0.015)] == ["0.25", "1", "1.5"]


def test_a_seed_of_an_older_version_stands_beside_a_new_one() -> None:
    """Older records do not say how many classes their test has; the paper's number is meant."""
    old = record(seed=0)
    new = record(seed=1, config={"n_test_class": paper.N_TEST_CLASS})
    other = record(seed=2, config={"n_test_class": 8})
    assert ignoring_seed(old) == ignoring_seed(new) != ignoring_seed(other)
    chosen = select([old, new, other], "authors-code")
    assert [r.seed for r in chosen.records] == [0, 1]
    (left,) = chosen.left_out
    assert "another configuration (n_test_class)" in left.reason
