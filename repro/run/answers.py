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
from repro.records.files import FILE, read_predictions
from repro.run.evaluation import accuracies
from repro.system.errors import RecordError, UsageError, from_os_error
from repro.system.given import whole_number
from repro.system.interrupts import StopRequest
from repro.system.locks import locked
from repro.system.progress import Silent

Predictions = npt.NDArray[np.uint8]


def check_episodes(episodes: Any) -> None:
    """Refuse what is not a list of fixed episodes.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(episodes, Episodes):
        raise UsageError(
            "expected are episodes such as repro.episodes('glyphs') or a slice of them, not a "
            f"{type(episodes).__name__}"
        )


def config_of(row: MethodSpec, episodes: Episodes, seed: int, precision: str = "fp32") -> RunConfig:
    """The cell of a row on fixed episodes; nothing is trained, so the recipe says nothing.

    Raises:
        UsageError: a seed that no training has.
    """
    return RunConfig(
        dataset=episodes.split.dataset,
        data_digest=episodes.split.digest,
        method=row.name,
        spec=episodes.spec,
        recipe=RECIPES["authors-code"],
        budget=episodes.budget,
        seed=whole_number("seed", seed),
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


def make(folder: Path) -> None:
    """Make a folder where there is none.

    Raises:
        StorageError: the disk refuses, or a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise from_os_error(error) from error


def keep(
    runs: Path,
    config: RunConfig,
    content: dict[str, Any],
    predictions: Predictions,
    force: bool = True,
) -> records.Record:
    """Write the record, which tells the tests that it replaces; the same predictions are left.

    Args:
        force: replace a record of other predictions, or one whose predictions are damaged.
    Raises:
        RecordError: there is such a record, without ``force``. StorageError: the disk refuses.
    """
    folder = records.cell_folder(runs, config)
    make(folder)
    # Held for as long as it takes to write two files, so nobody is told to wait.
    with locked(folder, config.method, Silent(), StopRequest()):
        there = _there(folder, force)
        if there is None or not np.array_equal(read_predictions(there), predictions):
            if there is not None and not force:
                raise RecordError(
                    f"{folder} has other predictions of {config.row.title!r} at seed "
                    f"{config.seed}; give another name or seed, or replace them with --force (the "
                    "record tells of the earlier ones)"
                )
            earlier = records.earlier_tests(folder)
            records.write_record(folder, {**content, "earlier_tests": earlier}, predictions)
        return records.read_record(folder)


def _there(folder: Path, force: bool) -> records.Record | None:
    """The whole record of a folder; None where there is none, or a damaged one is replaced."""
    if not (folder / FILE).exists():  # a replacement that was killed halfway leaves none
        return None
    try:
        return records.read_record(folder)
    except RecordError:
        if force:
            return None
        raise
