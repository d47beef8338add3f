"""What a grid of a thousand cells costs apart from the methods themselves.

Ten cells (five rows, two shots) x 100 seeds with methods that do nothing: one training step, 600
test episodes answered at random. Measured are the time per cell, going on when all but ten cells
are finished, the table, the report, and the memory of the process that drives.

    python scripts/simulate_scale.py --seeds 100
    python scripts/simulate_scale.py --seeds 10 --jobs 2   # workers of their own
    python scripts/simulate_scale.py --seeds 10 --profile  # where the time goes

Wall times are of whatever else the machine does, too; the processor's seconds beside them less.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import functools
import importlib
import json
import os
import pstats
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro import records
from repro.bench.measure import peak_rss_mib
from repro.data.preparing import prepare
from repro.engines.local import run
from repro.episodes import Episode
from repro.methods.base import StepResult
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import config, paper
from repro.papers.catalogue import built_in
from repro.run.cell import RunContext, plan
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent

BUDGET = (
    "smoke,pretrain=1,matching_net=1,matching_net_fce=1,meta_lstm_1shot=1,meta_lstm_5shot=1,"
    "n_validation_episode=2"
)
N_ANSWER = 5_000
N_LEFT = 10  # cells that a run which is gone on with has still to do


class NoOp:
    """Trains nothing and answers at random, right in 40% of the queries, the same each time."""

    def __init__(self, setting: Setting, **_: Any) -> None:
        self._first = setting.seed * 7

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        return StepResult(1.0, 0.2)

    def state(self) -> dict[str, Tensor]:
        return {"parameter": torch.zeros(1)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        pass

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        return answers()[(self._first + episode.index) % N_ANSWER]


@functools.cache
def answers() -> list[Tensor]:
    """Scores ``[75, 5]`` that are right in 40% of the queries, and by chance in others."""
    drawn = np.random.default_rng(0)
    labels = np.tile(np.repeat(np.arange(paper.N_WAY), paper.N_QUERY), (N_ANSWER, 1))
    wrong = drawn.random(labels.shape) > 0.4
    labels[wrong] = drawn.integers(0, paper.N_WAY, int(wrong.sum()))
    return list(torch.from_numpy(np.eye(paper.N_WAY, dtype=np.float32)[labels]))


def install() -> None:
    """Put :class:`NoOp` in the place of every method; worker processes do it by importing this."""
    for method in paper.METHODS:
        module, _, name = built_in(method).target.partition(":")
        setattr(importlib.import_module(module), name, NoOp)


@contextlib.contextmanager
def timed(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Note wall and processor seconds (this process and its children) under a name."""

    def cpu() -> float:
        spent = os.times()
        return spent.user + spent.system + spent.children_user + spent.children_system

    wall, began = time.monotonic(), cpu()
    yield
    found[f"{name}_s"] = round(time.monotonic() - wall, 3)
    found[f"{name}_cpu_s"] = round(cpu() - began, 3)


def simulate(runs: Path, n_seed: int, n_episode: int, jobs: int) -> dict[str, Any]:
    """Run the grid in ``runs``, take ten records away, go on, and build table and report."""
    from repro.analysis.report import page as report
    from repro.analysis.selection import select
    from repro.analysis.table import table1

    pack = prepare("glyphs", None)
    budget = config.budget(f"{BUDGET},n_test_episode={n_episode}")
    cells = plan("glyphs", pack, list(paper.METHODS), (1, 5), range(n_seed),
                 config.recipe("authors-code"), budget, "fp32", "cpu")  # fmt: skip
    context = RunContext(runs, pack, 1, "cpu")
    found: dict[str, Any] = {"cells": len(cells), "episodes": n_episode, "jobs": jobs}
    found["rss_before_mib"] = round(peak_rss_mib())
    with timed("run", found):
        assert run(cells, context, jobs, Silent(), StopRequest(), "simulate") == []
    found["per_cell_ms"] = round(1000 * found["run_s"] / len(cells), 1)
    found["per_cell_cpu_ms"] = round(1000 * found["run_cpu_s"] / len(cells), 1)
    found["rss_driver_mib"] = round(peak_rss_mib())
    for cell in random.Random(0).sample(cells, min(N_LEFT, len(cells))):
        shutil.rmtree(records.cell_folder(runs, cell))
    with timed("resume_with_10_left", found):
        assert run(cells, context, jobs, Silent(), StopRequest(), "simulate") == []
    with timed("resume_when_done", found):
        assert run(cells, context, jobs, Silent(), StopRequest(), "simulate") == []
    with timed("read_records", found):
        read = records.read_records(runs, "glyphs")
    with timed("table", found):
        chosen = select(read, "authors-code").records
        text = table1.build(chosen, "glyphs").format("text")
    with timed("report", found):
        page = report.render(chosen, "glyphs")
    found["records"] = len(read)
    found["table_bytes"], found["report_bytes"] = len(text.encode()), len(page.encode())
    found["rss_all_mib"] = round(peak_rss_mib())
    return found


install()
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=paper.N_TEST_EPISODE)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, cProfile.Profile() as profile:
        if not given.profile:
            profile.disable()
        print(json.dumps(simulate(Path(folder), given.seeds, given.episodes, given.jobs), indent=1))
        profile.disable()
    if given.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(60)
