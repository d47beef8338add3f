"""Slow evaluations in parts: ranges of episodes tested anywhere, merged in their order.

Episodes are independent, so the parts give the bytes of one pass. They are merged into the files
that an interrupted cell leaves (``selection.json``, ``test.partial``), and the cell goes on there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from repro import records
from repro.data.pack import open_pack
from repro.papers.config import RunConfig
from repro.run.cell import TEST_PARTIAL, select, trained_for
from repro.run.context import RunContext
from repro.run.evaluation import EPISODES_AT_ONCE, Partial, accuracies, evaluate
from repro.run.grid_search import SELECTION, tried_before, write_tried
from repro.run.setup import cell_run, grid_episodes, tested
from repro.run.training import tested_digest
from repro.system import storage
from repro.system.interrupts import StopRequest
from repro.system.progress import Phase, Reporter

SLOW_S = 0.1  # of a test episode: worth dividing; most methods embed each image once
# A multiple of what a GPU tests in one pass, so that the groups are those of an undivided test.
PART_EPISODES = 2 * EPISODES_AT_ONCE


@dataclass(frozen=True)
class Part:
    """Grid point ``first`` or the test episodes ``first`` to ``last - 1`` of a cell."""

    kind: Phase  # "grid" or "test"
    first: int
    last: int


def run_part(
    config: RunConfig, context: RunContext, part: Part, reporter: Reporter, stop: StopRequest
) -> npt.NDArray[np.uint8]:
    """Test one part; training and selection are in ``context.runs``.

    Returns:
        Predicted labels, uint8 ``[n_episode, n_way * n_query]``.
    """
    run = cell_run(config, context)
    trained = trained_for(run, reporter, stop)
    torch.set_num_threads(context.threads)
    method = run.method(trained.state if trained else None, run.folder)
    images = run.images("val" if part.kind == "grid" else config.split)
    if part.kind == "grid":
        method.choose(config.grid[part.first], final=False)
        episodes, title = grid_episodes(config, images.split), f"grid point {part.first + 1}"
    else:
        if config.grid:
            select(run, method, trained, reporter, stop)
        episodes = run.episodes[part.first : part.last]
        title = f"test episodes {part.first + 1} to {part.last}"
    return evaluate(method, episodes, images, reporter, f"{run.title}: {title}", stop)


class Divided:
    """The grid search or test of one cell, handed out in parts and put together in ``runs``.

    Finished parts are written as soon as all before them are, so that little is lost with the
    process that holds them.
    """

    def __init__(
        self, config: RunConfig, runs: Path, pack: Path, kind: Phase, size: int = PART_EPISODES
    ) -> None:
        self.config, self.pack, self.kind = config, pack, kind
        self.folder = records.cell_folder(runs, config)
        training = config.training()
        assert training is not None
        self.checkpoint = tested_digest(training, records.training_folder(runs, training))
        self._early: dict[int, npt.NDArray[np.uint8]] = {}
        if kind == "grid":
            points = config.grid
            self._tried = tried_before(self.folder / SELECTION, self.checkpoint, points)
            self._points = points
            n_done, n, size = len(self._tried), len(points), 1
        else:
            digest = storage.digest(tested(config, self.checkpoint))
            self._partial = Partial(self.folder / TEST_PARTIAL, digest)
            self._rows = self._partial.load(config.spec.n_way * config.spec.n_query)
            n_done, n = len(self._rows), config.budget.n_test_episode
        self._next = n_done
        self.parts = [Part(kind, first, min(first + size, n)) for first in range(n_done, n, size)]

    def add(self, part: Part, rows: npt.NDArray[np.uint8]) -> None:
        """Keep what a part gave; write it when nothing before it is missing."""
        self._early[part.first] = rows
        while (following := self._early.pop(self._next, None)) is not None:
            if self.kind == "grid":
                self._tried.append(self._point(self._next, following))
                self._next += 1
                write_tried(self.folder / SELECTION, self.checkpoint, self._tried)
            else:
                self._rows = np.concatenate([self._rows, following])
                self._next += len(following)
                self._partial.save(self._rows, now=True)

    def _point(self, number: int, rows: npt.NDArray[np.uint8]) -> dict[str, Any]:
        episodes = grid_episodes(self.config, open_pack(self.pack, "val"))
        lr, decay = self._points[number]
        return {"lr": lr, "decay": decay, "accuracy": float(accuracies(rows, episodes).mean())}


def kinds(config: RunConfig, force: bool) -> list[Phase]:
    """What of a cell is worth dividing, in the order in which it is run.

    A forced cell is left whole: it is to leave out what an interrupted one found.
    """
    if force or config.row.episode_s < SLOW_S or config.training() is None:
        return []
    return ["grid", "test"] if config.grid else ["test"]
