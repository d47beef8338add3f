"""Predictions that no training of this package made, as a record of a row of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro import records
from repro.episodes.images import Episodes
from repro.papers.config import RunConfig
from repro.papers.method_spec import MethodSpec
from repro.papers.recipes import RECIPES
from repro.run.evaluation import accuracies

Predictions = npt.NDArray[np.uint8]


def config_of(row: MethodSpec, episodes: Episodes, seed: int, precision: str = "fp32") -> RunConfig:
    """The cell of a row on fixed episodes; nothing is trained, so the recipe says nothing."""
    return RunConfig(
        dataset=episodes.split.dataset,
        data_digest=episodes.split.digest,
        method=row.name,
        spec=episodes.spec,
        recipe=RECIPES["authors-code"],
        budget=episodes.budget,
        seed=seed,
        precision=precision,
        episode_seed=episodes.sampler.seed,
        own=row,
    )


def content_of(
    config: RunConfig, episodes: Episodes, predictions: Predictions, made: dict[str, Any]
) -> dict[str, Any]:
    """What a record says of them.

    Args:
        predictions: ``[n_episode, n_way * n_query]``, the queries class by class.
        made: where, when and by which command.
    """
    return {
        "config": {**config.describe(), "n_test_class": len(episodes.split.class_ids)},
        "digests": {
            "config": config.digest,
            "data": config.data_digest,
            "episodes": episodes.digest,
            "checkpoint": "",
            "model": "",
        },
        "accuracy": accuracies(predictions, episodes.rows).tolist(),
        "training": {"n_step": 0},
        "selection": None,
        "earlier_tests": [],
        "numerics_revision": config.row.revision,
        **made,
    }


def same_as_there(folder: Path, predictions: Predictions) -> bool:
    """Whether the record in a folder has these predictions."""
    path = folder / "predictions.npy"
    return path.exists() and np.array_equal(np.load(path, allow_pickle=False), predictions)


def keep(
    runs: Path, config: RunConfig, content: dict[str, Any], predictions: Predictions
) -> records.Record:
    """Write the record, which tells the tests that it replaces; the same predictions are left."""
    folder = records.cell_folder(runs, config)
    earlier = records.earlier_tests(folder)
    if not (earlier and same_as_there(folder, predictions)):
        records.write_record(folder, {**content, "earlier_tests": earlier}, predictions)
    return records.read_record(folder)
