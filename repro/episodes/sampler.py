"""Episodes by random access: index in, rows out; no pixels, no state.

Episode 417 can be rebuilt alone, so resuming, sharding and "the same episodes for every method"
come for free. A manifest pins a list of episodes by a digest.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.papers import paper
from repro.papers.config import EpisodeSpec
from repro.system.errors import DataError, RecordError
from repro.system.given import whole_number
from repro.system.seeding import Stream, rng

_STREAMS = {
    "train": (Stream.EPISODE_TRAIN, Stream.CLASSES_TRAIN),
    "val": (Stream.EPISODE_VAL, Stream.CLASSES_VAL),
    "test": (Stream.EPISODE_TEST, Stream.CLASSES_TEST),
}

Rows = npt.NDArray[np.int64]
MAX_KEPT = 1000  # episodes of one list that are kept in memory, 3 KB each


@dataclass(frozen=True)
class Episode:
    """One n-way problem, as rows into the split's images.

    Attributes:
        class_indices: ``[n_way]`` classes of the split; the position is the label.
        support_rows: ``[n_way, k_shot]``.
        support_order: ``[n_way * k_shot]``, the random sequence of the flattened support set.
        query_rows: ``[n_way, n_query]``.
    """

    class_indices: Rows
    support_rows: Rows
    support_order: Rows
    query_rows: Rows
    seed: int
    index: int

    @property
    def support(self) -> Rows:
        """Support rows in their random order, ``[n_way * k_shot]``."""
        rows: Rows = self.support_rows.ravel()[self.support_order]
        return rows

    @property
    def support_labels(self) -> Rows:
        """Labels of :attr:`support`, ``[n_way * k_shot]``."""
        labels: Rows = self.support_order // self.support_rows.shape[1]
        return labels

    @property
    def query(self) -> Rows:
        """Query rows, class by class, ``[n_way * n_query]``."""
        return self.query_rows.ravel()

    @property
    def query_labels(self) -> Rows:
        """Labels of :attr:`query`, ``[n_way * n_query]``."""
        n_way, n_query = self.query_rows.shape
        return np.repeat(np.arange(n_way, dtype=np.int64), n_query)


def draw_classes(split: str, n_class: int, n_way: int, seed: int, classes: str, index: int) -> Rows:
    """The classes of an episode, ``[n_way]``: they do not depend on images.

    Args:
        classes: ``permutation`` or ``independent`` (see :class:`EpisodeSampler`).
    """
    stream = _STREAMS[split][1]
    if classes == "independent":
        return rng(seed, stream, index).permutation(n_class)[:n_way]
    block, place = divmod(index, n_class // n_way)
    order = rng(seed, stream, block).permutation(n_class)
    return order[place * n_way : (place + 1) * n_way]


class EpisodeSampler:
    """Draws episodes of one split: the same index is the same episode, on every machine.

    Args:
        class_rows: (first row, number of images) of each class of the split.
        split: ``train``, ``val`` or ``test``; each has streams of its own.
        classes: ``permutation`` (consecutive episodes use every class once per block; what is
            left at the end of a permutation is dropped) or ``independent``.

    All shots up to 5 share classes and queries, and the 1-shot support is the first column of the
    5-shot support, in the same relative order. Where a class has too few images for 5 shots, the
    shots that it has enough for do: no more images are drawn than a class has.
    """

    def __init__(
        self,
        class_rows: Sequence[tuple[int, int]],
        split: str,
        spec: EpisodeSpec,
        seed: int,
        classes: str = "permutation",
    ) -> None:
        if len(class_rows) < spec.n_way:
            raise DataError(
                f"{spec.n_way}-way episodes need at least {spec.n_way} classes, but the {split} "
                f"split has {len(class_rows)}; ask for fewer with --n-way (n_way= in Python) or "
                "use another split"
            )
        needed = spec.k_shot + spec.n_query
        fewest = min(count for _, count in class_rows)
        if fewest < needed:
            short = next(i for i, (_, count) in enumerate(class_rows) if count < needed)
            raise DataError(
                f"every class needs at least {needed} images, but class {short} of the {split} "
                f"split has {class_rows[short][1]}; add images, leave it out, or ask for fewer "
                "queries (--n-query, n_query= in Python) or shots"
            )
        # Queries come after the columns of the largest of the shots that share them.
        self._n_support = min(max(spec.k_shot, paper.MAX_SHOT), fewest - spec.n_query)
        self.class_rows = tuple((int(first), int(count)) for first, count in class_rows)
        self.split, self.spec = split, spec
        self.seed, self.classes = whole_number("seed", seed), classes
        self._images = _STREAMS[split][0]

    def __getitem__(self, index: int) -> Episode:
        """Episode number ``index`` (from 0)."""
        if index < 0:
            raise IndexError(index)
        spec = self.spec
        class_indices = draw_classes(
            self.split, len(self.class_rows), spec.n_way, self.seed, self.classes, index
        )
        stream = rng(self.seed, self._images, index)
        n_support = self._n_support
        n_drawn = n_support + spec.n_query
        rows = np.empty((spec.n_way, n_drawn), dtype=np.int64)
        for place, class_index in enumerate(class_indices):
            first, count = self.class_rows[class_index]
            rows[place] = first + stream.permutation(count)[:n_drawn]
        order = stream.permutation(spec.n_way * n_support)
        order = order[order % n_support < spec.k_shot]
        order = order // n_support * spec.k_shot + order % n_support
        return Episode(
            class_indices=class_indices,
            support_rows=rows[:, : spec.k_shot].copy(),
            support_order=order,
            query_rows=rows[:, n_support:].copy(),
            seed=self.seed,
            index=index,
        )

    def first(self, n: int) -> list[Episode]:
        """Episodes 0..n-1; the arrays are shared with other calls and are not to be written to."""
        if n > MAX_KEPT:
            return [self[index] for index in range(n)]
        key = (self.class_rows, self.split, self.spec, self.seed, self.classes)
        return list(_first(*key, n))


@functools.lru_cache(maxsize=8)  # the cells of a grid all see the same episodes
def _first(
    class_rows: tuple[tuple[int, int], ...], split: str, spec: EpisodeSpec, seed: int,
    classes: str, n: int,
) -> tuple[Episode, ...]:  # fmt: skip
    sampler = EpisodeSampler(class_rows, split, spec, seed, classes)
    return tuple(sampler[index] for index in range(n))


def episodes_digest(episodes: Iterable[Episode]) -> str:
    """SHA-256 over classes, rows and support orders, as little-endian 64-bit integers."""
    digest = hashlib.sha256()
    for episode in episodes:
        for array in (
            *(episode.class_indices, episode.support_rows),
            *(episode.support_order, episode.query_rows),
        ):
            digest.update(struct.pack(f"<{array.ndim}q", *array.shape))
            digest.update(array.astype("<i8", copy=False).tobytes())
    return digest.hexdigest()


def manifest(sampler: EpisodeSampler, n_episode: int, dataset: str) -> dict[str, Any]:
    """The first ``n_episode`` episodes as JSON, with their digest."""
    episodes = sampler.first(n_episode)
    spec = sampler.spec
    return {
        "schema": 1,
        "dataset": dataset,
        "split": sampler.split,
        "classes": sampler.classes,
        "n_way": spec.n_way,
        "k_shot": spec.k_shot,
        "n_query": spec.n_query,
        "seed": sampler.seed,
        "n_episode": n_episode,
        "digest": episodes_digest(episodes),
        "episodes": [
            {
                "class_indices": episode.class_indices.tolist(),
                "support_rows": episode.support_rows.tolist(),
                "support_order": episode.support_order.tolist(),
                "query_rows": episode.query_rows.tolist(),
            }
            for episode in episodes
        ],
    }


def verify_manifest(content: Any, sampler: EpisodeSampler, name: str) -> None:
    """Check a manifest against the episodes drawn now and against its own digest.

    Raises:
        RecordError: a field is missing, or an episode differs (the first is named).
    """
    try:
        listed = content["episodes"]
        episodes = [
            Episode(
                class_indices=np.asarray(item["class_indices"], dtype=np.int64),
                support_rows=np.asarray(item["support_rows"], dtype=np.int64),
                support_order=np.asarray(item["support_order"], dtype=np.int64),
                query_rows=np.asarray(item["query_rows"], dtype=np.int64),
                seed=int(content["seed"]),
                index=index,
            )
            for index, item in enumerate(listed)
        ]
        own, n_episode = content["digest"], content["n_episode"]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{name} is not an episode manifest (field {error}); write it again"
        ) from error
    if episodes_digest(episodes) != own or n_episode != len(episodes):
        raise RecordError(f"{name} is damaged: its episodes do not have its digest; write it again")
    for episode in episodes:
        if episodes_digest([sampler[episode.index]]) != episodes_digest([episode]):
            raise RecordError(
                f"{name}: episode {episode.index} differs from the one drawn now from seed "
                f"{sampler.seed}; the manifest belongs to other data or another version"
            )
