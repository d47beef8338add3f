"""``repro bench``: its counts, its rows, and that the two paths run in processes of their own."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch.utils.flop_counter import FlopCounterMode

from repro.bench.measure import Machine, Row, as_markdown
from repro.bench.request import cell_flop, conv_flop
from repro.cli.main import cli
from repro.learner.conv4 import Conv4
from repro.system.seeding import Stream, rng


def test_operations_are_those_torch_counts() -> None:
    learner = Conv4(32, 0, 84)
    params = learner.initial(rng(0, Stream.LEARNER_INIT)).requires_grad_()
    images = torch.rand(2, 3, 84, 84)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        learner.features(params, images, None, True)
    assert forward.get_total_flops() == conv_flop(32, 84, 2, training=False)
    with FlopCounterMode(display=False) as both:
        learner.features(params, images, None, True).sum().backward()
    assert both.get_total_flops() == conv_flop(32, 84, 2, training=True)


def test_a_meta_lstm_episode_has_44_8_gflop() -> None:
    total = conv_flop(32, 84, 8 * 25 + 75, True) + cell_flop(32_901, 8, True)
    assert total / 1e9 == pytest.approx(44.8, abs=0.3)


@pytest.mark.slow
def test_rows_have_their_fields_and_both_paths_a_time() -> None:
    args = ["bench", "--quick", "--json", "--image-size", "16", "--precision", "fp32"]
    result = CliRunner().invoke(cli, [*args, "--rows", "pretrain_step,gather_100"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["name"] for row in rows] == ["pretrain_step_fp32", "gather_100"]
    for row in rows:
        assert row["seconds"] > 0
        assert row["plain_seconds"] > 0
        assert row["ratio"] == pytest.approx(row["plain_seconds"] / row["seconds"])
        assert row["rss_mib"] > 50
    assert rows[0]["gflops"] > 0
    assert 0 < rows[0]["peak_share"] < 1
    assert rows[1]["gflops"] is None


def test_the_table_names_machine_and_work() -> None:
    row = Row("pretrain_step_bf16", "bf16", 0.1, 0.3, 3.0, 640.0, 100.0, 0.25, 900.0, 800.0)
    text = as_markdown([row], Machine(2, {"bf16": 400.0}, 40.0), "a processor")
    assert (
        "| pre-training step, 64 images | bf16 | 0.3 | 0.1 | 3.0 | 640 | 100 | 25% | 900 |" in text
    )
    assert "a processor, 2 threads" in text


def test_an_unknown_row_is_named() -> None:
    result = CliRunner().invoke(cli, ["bench", "--rows", "pretrain_stp"])
    assert result.exit_code != 0
    assert "pretrain_step" in result.output
