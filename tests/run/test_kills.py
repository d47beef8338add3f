"""Runs killed with SIGKILL at random moments end with the bits of one that was never killed."""

import dataclasses
import multiprocessing
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro import records
from repro.engines.local import run
from repro.papers import config, paper
from repro.papers.config import RunConfig
from repro.run.cell import plan, run_cell
from repro.run.context import Pace, RunContext
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY

KILLS = 5  # per method
# Every stage of a run, as short as it can be: a kill may fall into each of them.
SHORT = dataclasses.replace(
    TINY, n_test_episode=3, n_validation_episode=2, n_grid_episode=2, validate_every=2,
    meta_lstm_1shot=3, meta_lstm_5shot=3,
)  # fmt: skip
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["repro.run.cell", "tests.run.test_kills"])
SAME_BYTES = ("metrics.jsonl", "predictions.npy", "model.safetensors")


def tiny_cells(pack: Path, methods: list[str], shots: tuple[int, ...]) -> list[RunConfig]:
    recipe = config.recipe("authors-code")
    return plan("tiny", pack, methods, shots, [0], recipe, SHORT, "fp32", "cpu")


def work(cells: list[RunConfig], runs: Path, pack: Path, jobs: int) -> None:
    """In a process of its own: save at every step, so that a kill can fall into any write."""
    import torch

    torch.set_num_threads(1)
    context = RunContext(runs, pack, 1, "cpu", pace=Pace(0.0, 0.0, 0.0))
    if jobs > 1:
        assert run(cells, context, jobs, Silent(), StopRequest(), "repro test") == []
    for cell in cells:
        run_cell(cell, context, Silent(), StopRequest(), "repro test")


def start(*arguments: Any) -> Any:
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def assert_same(cell: RunConfig, whole: Path, cut: Path) -> None:
    expected, actual = (
        records.read_record(records.cell_folder(root, cell)) for root in (whole, cut)
    )
    assert actual.digests == expected.digests
    np.testing.assert_array_equal(actual.accuracy, expected.accuracy)
    assert actual.selection == expected.selection
    for name in SAME_BYTES:
        assert (actual.path / name).read_bytes() == (expected.path / name).read_bytes(), name
    assert not list(cut.rglob("*.partial"))


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("finetune", "meta_lstm") else [])
        for name in paper.METHODS
    ],
)
def test_a_cell_killed_at_random_moments_ends_with_the_same_bits(
    method: str, tmp_path: Path, tiny_pack: Path
) -> None:
    cells = tiny_cells(tiny_pack, [method], (5,))
    whole, rng = tmp_path / "whole", random.Random(f"kills of {method}")
    start([], whole, tiny_pack, 1).join()  # the server of processes imports what they need
    began = time.monotonic()
    start(cells, whole, tiny_pack, 1).join()
    duration = time.monotonic() - began
    kills, fresh = 0, 0
    while kills < KILLS:
        runs = tmp_path / f"cut-{fresh}"
        process = start(cells, runs, tiny_pack, 1)
        process.join(rng.uniform(0.1, 0.8) * duration)
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:  # done before the kill: judge it and go on with another
            assert process.exitcode == 0
            assert_same(cells[0], whole, runs)
            fresh += 1
    process = start(cells, runs, tiny_pack, 1)
    process.join()
    assert process.exitcode == 0
    assert_same(cells[0], whole, runs)


def test_two_processes_share_the_cells_and_one_may_be_killed(
    tmp_path: Path, tiny_pack: Path
) -> None:
    cells = tiny_cells(tiny_pack, ["nearest_neighbor", "meta_lstm"], (1, 5))
    whole, runs = tmp_path / "whole", tmp_path / "shared"
    start(cells, whole, tiny_pack, 1).join()
    first, second = (start(cells, runs, tiny_pack, 1) for _ in range(2))
    first.join(1.0)
    first.kill()
    second.join()
    assert second.exitcode == 0
    third = start(cells, runs, tiny_pack, 1)
    third.join()
    assert third.exitcode == 0
    for cell in cells:
        assert_same(cell, whole, runs)


@pytest.mark.slow
@pytest.mark.parametrize("shots", [(5,), (1, 5)])
def test_a_reproduction_killed_again_and_again_ends_with_the_same_bits(
    shots: tuple[int, ...], tmp_path: Path, tiny_pack: Path
) -> None:
    cells = tiny_cells(tiny_pack, ["finetune", "nearest_neighbor", "meta_lstm"], shots)
    whole, runs, rng = tmp_path / "whole", tmp_path / "cut", random.Random("engine")
    start(cells, whole, tiny_pack, 1).join()
    for _ in range(3):
        engine = start(cells, runs, tiny_pack, 2)
        engine.join(rng.uniform(2.0, 5.0))
        if engine.exitcode is None:
            os.kill(engine.pid, 9)  # its workers are left alone: they notice and stop
            engine.join()
    again = start(cells, runs, tiny_pack, 2)
    again.join()
    assert again.exitcode == 0
    for cell in cells:
        assert_same(cell, whole, runs)
