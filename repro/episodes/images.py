"""Fixed episodes with their images as tensors: what a user's own model is tested on."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from repro.data.dataset import Selection
from repro.data.pack import SPLITS, ImageSplit, open_pack
from repro.data.preparing import prepare
from repro.episodes import export
from repro.episodes.sampler import Episode, EpisodeSampler, Rows, episodes_digest
from repro.papers import budgets, paper
from repro.papers.config import EpisodeSpec
from repro.system.errors import UsageError, unknown
from repro.system.given import whole_number

if TYPE_CHECKING:
    from torch import Tensor


def image_batch(split: ImageSplit, rows: Rows) -> Tensor:
    """The images of ``rows`` ``[n]`` as float32 ``[n, 3, height, width]`` in [0, 1]."""
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(split.images[rows]))
    return pixels.permute(0, 3, 1, 2).float().contiguous() / 255


@dataclass(frozen=True)
class Labelled:
    """Images and labels of one part of an episode; ``images, labels = part`` works, too.

    Attributes:
        rows: of the images in the split, int64 ``[n]``.
    """

    split: ImageSplit
    rows: Rows
    _labels: Rows

    @property
    def images(self) -> Tensor:
        """float32 ``[n, 3, height, width]`` in [0, 1], not normalised further."""
        return image_batch(self.split, self.rows)

    @property
    def labels(self) -> Tensor:
        """int64 ``[n]``, from 0 to n_way - 1."""
        import torch

        return torch.from_numpy(self._labels.copy())

    def __iter__(self) -> Iterator[Tensor]:
        yield self.images
        yield self.labels

    def __repr__(self) -> str:
        size = self.split.image_size
        return f"images [{len(self.rows)}, 3, {size}, {size}], labels [{len(self.rows)}]"


@dataclass(frozen=True)
class EpisodeImages:
    """One episode of a data set.

    Attributes:
        episode: as rows of the split (:class:`repro.Episode`).
        class_ids: names of its classes, by label.
    """

    split: ImageSplit
    episode: Episode

    @property
    def index(self) -> int:
        return self.episode.index

    @property
    def class_ids(self) -> tuple[str, ...]:
        return tuple(self.split.class_ids[i] for i in self.episode.class_indices)

    @property
    def support(self) -> Labelled:
        """``n_way * k_shot`` labelled images, in a random order."""
        return Labelled(self.split, self.episode.support, self.episode.support_labels)

    @property
    def query(self) -> Labelled:
        """``n_way * n_query`` images to be classified, class by class, and their labels."""
        return Labelled(self.split, self.episode.query, self.episode.query_labels)

    def __repr__(self) -> str:
        return (
            f"episode {self.index} of {self.split.dataset} {self.split.split}: classes "
            f"{', '.join(self.class_ids)}; support: {self.support}; query: {self.query}"
        )


class Episodes(Sequence[EpisodeImages]):
    """Fixed episodes of one split: index ``i`` is the same episode on every machine.

    A slice from the beginning (``episodes[:100]``) is the list of that many, for quick tries.

    Attributes:
        budget: whose number of test episodes this is, as the record of an evaluation says.
    """

    def __init__(
        self, split: ImageSplit, sampler: EpisodeSampler, budget: budgets.Budget, pack: Path
    ) -> None:
        self.split, self.sampler, self.budget, self.pack = split, sampler, budget, pack

    @property
    def spec(self) -> EpisodeSpec:
        """The size of each episode."""
        return self.sampler.spec

    @property
    def rows(self) -> list[Episode]:
        """All of them as rows of the split."""
        return self.sampler.first(len(self))

    @property
    def digest(self) -> str:
        """SHA-256 of all of them, as in the records of runs on them."""
        return episodes_digest(self.rows)

    @property
    def short_digest(self) -> str:
        """Of images and episodes together, as an export and an import name them."""
        return export.short_digest(self.split.digest, self.digest)

    def export(self, path: str | Path) -> str:
        """Write them for others: the images, orders and labels of each, as ``.json`` or ``.csv``.

        Returns:
            The short digest of images and episodes, which predictions are imported with.
        Raises:
            UsageError: another ending. StorageError: the disk refuses.
        """
        return export.write(self.split, self.sampler, len(self), Path(path))

    def __len__(self) -> int:
        return self.budget.n_test_episode

    @overload
    def __getitem__(self, index: int) -> EpisodeImages: ...
    @overload
    def __getitem__(self, index: slice) -> Episodes: ...
    def __getitem__(self, index: int | slice) -> EpisodeImages | Episodes:
        if isinstance(index, slice):
            first, stop, step = index.indices(len(self))
            if (first, step) != (0, 1) or stop < 1:
                raise UsageError("episodes are sliced from the beginning, such as episodes[:100]")
            budget = _with_tests(self.budget, stop)
            return Episodes(self.split, self.sampler, budget, self.pack)
        if not -len(self) <= index < len(self):
            raise IndexError(f"episode {index} of {len(self)}")
        return EpisodeImages(self.split, self.sampler[index % len(self)])

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"{len(self)} {self.split.split} episodes of {self.split.dataset}: {spec.n_way}-way "
            f"{spec.k_shot}-shot, {spec.n_query} queries per class, images of "
            f"{self.split.image_size} px"
        )


def _with_tests(budget: budgets.Budget, n: int) -> budgets.Budget:
    if n == budget.n_test_episode:
        return budget
    name = budget.name.removesuffix("-custom") + "-custom"
    return dataclasses.replace(budget, name=name, n_test_episode=n)


def episodes(
    dataset: str = "glyphs",
    split: str = "test",
    k_shot: int = 5,
    *,
    budget: str = "paper",
    n_episode: int | None = None,
    n_way: int = paper.N_WAY,
    n_query: int = paper.N_QUERY,
    seed: int = 0,
    data: str | Path | None = None,
    selection: Selection | None = None,
) -> Episodes:
    """The fixed episodes that every method is tested on, with images as tensors.

    Args:
        dataset: a name as after ``--dataset``. split: ``train``, ``val`` or ``test``; choose and
            tune on ``val``.
        k_shot: support images per class. n_query: queries per class.
        budget: ``smoke``, ``quick`` or ``paper``: how many test episodes. n_episode: another
            number of them.
        seed: of the episodes; 0 is that of all runs.
        data: where the images are, when the data set has not been prepared yet.
        selection: of classes and image size, as ``--split`` and ``--image-size``.
    Raises:
        UsageError: an unknown name or an impossible size. DataError: the images are not there.

    >>> import repro
    >>> episodes = repro.episodes("glyphs", k_shot=1, n_episode=10)
    >>> episodes
    10 test episodes of glyphs: 5-way 1-shot, 15 queries per class, images of 28 px
    >>> images, labels = episodes[3].support
    >>> images.shape, labels.tolist()
    (torch.Size([5, 3, 28, 28]), [0, 3, 4, 2, 1])
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    asked, spec = budgets.budget(budget), EpisodeSpec(n_way, k_shot, n_query)
    seed = whole_number("seed", seed)
    if n_episode is not None:
        asked = _with_tests(asked, whole_number("n_episode", n_episode, 1))
    pack = prepare(dataset, None if data is None else Path(data), selection=selection)
    opened = open_pack(pack, split)
    return Episodes(opened, EpisodeSampler(opened.class_rows, split, spec, seed), asked, pack)


class CallablePackage(types.ModuleType):
    """The package :mod:`repro.episodes`, which is also the function ``repro.episodes(...)``."""

    def __call__(self, *words: Any, **options: Any) -> Episodes:
        return episodes(*words, **options)
