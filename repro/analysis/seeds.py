"""Records that are seeds of the same cell, and their accuracies side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from repro.analysis.statistics.classes import n_class
from repro.papers import paper
from repro.system import storage
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record


def siblings(record: Record, records: Iterable[Record]) -> list[Record]:
    """The record and those that differ from it in nothing but the seed, by seed, the newest of
    each."""
    key, by_seed = ignoring_seed(record), {record.seed: record}
    for other in sorted(records, key=lambda r: r.when):
        if other.seed != record.seed and ignoring_seed(other) == key:
            by_seed[other.seed] = other
    return [by_seed[seed] for seed in sorted(by_seed)]


def without_seed(record: Record) -> dict[str, Any]:
    """The record's config without what a training seed changes."""
    config = {k: v for k, v in record.config.items() if k not in ("seed", "training")}
    config["n_test_class"] = n_class(record)  # older records do not say it
    return config


def ignoring_seed(record: Record) -> str:
    """A key of everything that moves a record's numbers but the training seed."""
    step = record.n_step if record.unfinished else "all"
    digests = [record.digests.get(name) for name in ("data", "episodes")]
    return storage.digest([without_seed(record), record.numerics_revision, digests, step])


def block_size(record: Record) -> int:
    """Episodes of a block, which uses each test class once; 1 when drawn independently."""
    if record.episode_classes == "independent":
        return 1
    return max(1, n_class(record) // int(record.config.get("n_way") or paper.N_WAY))


def stacked(records: Sequence[Record]) -> npt.NDArray[Any]:
    """Accuracies of several seeds, ``[n_seed, n_episode]``.

    Raises:
        RecordError: the records are of other episodes.
    """
    first = records[0]
    for record in records[1:]:
        if record.n_episode != first.n_episode or record.digests.get(
            "episodes"
        ) != first.digests.get("episodes"):
            raise RecordError(
                f"{first.path} and {record.path} are of different episodes (digest of episodes); "
                "run them with the same budget"
            )
    return np.stack([record.accuracy for record in records])
