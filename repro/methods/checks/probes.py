"""Helpers of the checks of a method: changed episodes and comparisons."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repro.data.pack import ImageSplit
from repro.episodes import Episode
from repro.system.seeding import Stream, rng

PER_CLASS = 30  # images of a class that are used


def part_of(split: ImageSplit, n_class: int, folder: Path) -> ImageSplit:
    """The first images of the first classes, mapped from a file in ``folder``, as in a run."""
    rows = split.class_rows[:n_class]
    kept = np.concatenate([split.images[first : first + PER_CLASS] for first, _ in rows])
    places = tuple((PER_CLASS * i, PER_CLASS) for i in range(len(rows)))
    path = folder / f"{split.split}.npy"
    np.save(path, kept, allow_pickle=False)
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    return replace(split, images=images, class_ids=split.class_ids[:n_class], class_rows=places)


def shuffled_queries(episode: Episode) -> tuple[Episode, np.ndarray]:
    """The episode with its queries in another order, across classes; and that order."""
    order = rng(1, Stream.METHOD_CHECK, episode.index).permutation(episode.query_rows.size)
    rows = episode.query[order].reshape(episode.query_rows.shape)
    return replace(episode, query_rows=rows), order


def renumbered(episode: Episode, split: ImageSplit) -> tuple[Episode, ImageSplit]:
    """The same pixels in the same order under other numbers, of images and of classes."""
    number = rng(2, Stream.METHOD_CHECK).permutation(len(split.images))
    images = np.empty_like(split.images)
    images[number] = split.images
    other = replace(
        episode,
        class_indices=(episode.class_indices + 1) % len(split.class_ids),
        support_rows=number[episode.support_rows],
        query_rows=number[episode.query_rows],
    )
    return other, replace(split, images=images)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two predictions agree but for rounding, which depends on what is in a batch."""
    a, b = a.double(), b.double()
    finite = torch.isfinite(a)
    if a.shape != b.shape or not torch.equal(finite, torch.isfinite(b)):
        return False
    if not finite.any():
        return True
    # Near-uniform predictions of a network at its start differ by little: the limit is relative.
    values = a[finite]
    limit = 1e-6 + 1e-3 * float((values - values.mean()).abs().mean())
    return float((values - b[finite]).abs().max()) <= limit


class Generators:
    """The global generators of Python, numpy and torch: seen before, compared after."""

    def __init__(self) -> None:
        self.before = self._states()

    def _states(self) -> dict[str, Any]:
        return {
            "random": random.getstate(),
            "numpy.random": [np.asarray(part).tobytes() for part in np.random.get_state()],
            "torch": torch.get_rng_state().clone(),
        }

    def drawn(self) -> list[str]:
        """The names of those that moved."""
        now = self._states()
        moved = [name for name in ("random", "numpy.random") if now[name] != self.before[name]]
        if not torch.equal(now["torch"], self.before["torch"]):
            moved.append("torch")
        return moved


def reseed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def differing_entries(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of tensors that one has and the other has not, or whose bits differ."""
    names = sorted(set(one) ^ set(other))
    names += [n for n in one if n in other and not torch.equal(one[n], other[n])]
    return names
