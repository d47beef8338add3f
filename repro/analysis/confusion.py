"""The confusion matrix over a record's episodes, from its predicted labels.

Classes of an episode are drawn again from the sampler, which needs nothing but the number of
images per class; the record's episode digest says whether they are the same episodes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from repro.data.mini_imagenet.ravi import IMAGES_PER_CLASS, RAVI_SPLIT
from repro.episodes import Episode, EpisodeSampler, episodes_digest
from repro.papers.config import EpisodeSpec
from repro.records.files import read_predictions

if TYPE_CHECKING:
    from repro.records import Record

Counts = npt.NDArray[np.int64]
# Meta-test classes in the order of their WordNet ids.
_IMAGENET_NAMES = (
    *("nematode", "king crab", "golden retriever", "malamute", "dalmatian", "African hunting dog"),
    *("lion", "ant", "black-footed ferret", "bookshop", "crate", "cuirass", "electric guitar"),
    *("hourglass", "mixing bowl", "school bus", "scoreboard", "theater curtain", "vase", "trifle"),
)


@dataclass(frozen=True)
class Confusion:
    """Queries by class and prediction, over all episodes.

    Attributes:
        chosen: ``[n_class, n_class]`` queries of the row's class that were given the column's.
        offered: ``[n_class, n_class]`` queries of the row's class in episodes that had the
            column's class too; so ``chosen / offered`` is a share of chances.
    """

    names: tuple[str, ...]
    chosen: Counts
    offered: Counts

    @property
    def share(self) -> npt.NDArray[np.float64]:
        """``chosen / offered``; nan where two classes never met. The diagonal is accuracy."""
        with np.errstate(invalid="ignore"):
            share: npt.NDArray[np.float64] = self.chosen / self.offered
        return share

    def worst(self, class_index: int) -> tuple[int, float] | None:
        """The class that this one is taken for most often, and its share; None if never."""
        row = self.share[class_index].copy()
        row[class_index] = np.nan
        if np.isnan(row).all() or np.nanmax(row) == 0:
            return None
        other = int(np.nanargmax(row))
        return other, float(row[other])


def class_names(dataset: str) -> tuple[str, ...]:
    """Names of the meta-test classes of a built-in data set; empty for any other."""
    if dataset == "mini-imagenet":
        assert len(_IMAGENET_NAMES) == len(RAVI_SPLIT["test"])
        return _IMAGENET_NAMES
    if dataset == "glyphs":
        source = resources.files("repro.data.sets") / "glyph_shapes.npz"
        with resources.as_file(source) as path, np.load(path, allow_pickle=False) as stored:
            points = stored["code_points"][-20:].tolist()
        return tuple(_glyph_name(int(point)) for point in points)
    return ()


def _glyph_name(point: int) -> str:
    name = unicodedata.name(chr(point), "").title().replace(" Letter", "")
    return f"{chr(point)} {name}" if name else f"U+{point:04X}"


def redrawn_episodes(record: Record, n_class: int) -> list[Episode] | None:
    """The record's episodes with ``n_class`` classes of 600 images; None if they are others."""
    kept = record.config
    try:
        spec = EpisodeSpec(int(kept["n_way"]), record.k_shot, int(kept["n_query"]))
        seed = int(kept.get("episode_seed", 0))
    except (KeyError, TypeError, ValueError):
        return None
    rows = [(IMAGES_PER_CLASS * i, IMAGES_PER_CLASS) for i in range(n_class)]
    if n_class < spec.n_way:
        return None
    sampler = EpisodeSampler(rows, "test", spec, seed, record.episode_classes)
    episodes = sampler.first(record.n_episode)
    return episodes if episodes_digest(episodes) == record.digests.get("episodes") else None


def count(
    predictions: npt.NDArray[np.uint8], episodes: Sequence[Episode], names: Sequence[str]
) -> Confusion:
    """Count over episodes; predictions ``[n_episode, n_way * n_query]``, class by class."""
    n_class = len(names)
    chosen = np.zeros((n_class, n_class), np.int64)
    offered = np.zeros((n_class, n_class), np.int64)
    for row, episode in zip(predictions, episodes, strict=True):
        classes = episode.class_indices
        truth = classes[episode.query_labels]
        np.add.at(chosen, (truth, classes[row]), 1)
        offered[np.ix_(classes, classes)] += episode.query_rows.shape[1]
    return Confusion(tuple(names), chosen, offered)


def confusion(record: Record) -> Confusion | None:
    """Confusion of a record of a built-in data set; None where its episodes cannot be redrawn.

    Raises:
        RecordError: the predictions are missing or damaged.
    """
    names = class_names(record.tested_on)
    episodes = redrawn_episodes(record, len(names)) if names else None
    return None if episodes is None else count(read_predictions(record), episodes, names)
