"""Small random images and episodes of them, for tests of methods."""

import numpy as np
import torch
from torch import Tensor

from repro.data.pack import ImageSplit
from repro.episodes import Episode, EpisodeSampler
from repro.learner.conv4 import Conv4
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import EpisodeSpec, Recipe
from repro.system.seeding import Rng, Stream, rng

N_CLASS, PER_CLASS, SIZE = 6, 30, 16
ROWS = tuple((i * PER_CLASS, PER_CLASS) for i in range(N_CLASS))


def setting(k_shot: int, recipe: Recipe | None = None, n_class: int = N_CLASS) -> Setting:
    return Setting(SIZE, n_class, 5, k_shot, recipe or Recipe(), seed=0)


class Exact(SplitImages):
    """The same images in double precision, in which rounding decides nothing."""

    def normalise(self, pixels: Tensor, augmentation: Rng | None = None) -> Tensor:
        return super().normalise(pixels, augmentation).double()


def images(made: Setting, kind: type[SplitImages] = SplitImages) -> SplitImages:
    n = N_CLASS * PER_CLASS
    pixels = rng(0, Stream.GLYPHS).raw(n * SIZE * SIZE * 3).astype(np.uint8)
    ids = tuple(f"c{i}" for i in range(N_CLASS))
    split = ImageSplit("toy", "train", pixels.reshape(n, SIZE, SIZE, 3), ids, ROWS, "0" * 64)
    return kind(split, made)


def episode(k_shot: int, index: int = 0, split: str = "val") -> Episode:
    return EpisodeSampler(ROWS, split, EpisodeSpec(k_shot=k_shot), 0)[index]


def mixed(drawn: Episode, other: Episode) -> Episode:
    """``drawn`` with all queries but the first of ``other``."""
    query_rows = other.query_rows.copy()
    query_rows[0, 0] = drawn.query_rows[0, 0]
    return Episode(
        drawn.class_indices,
        drawn.support_rows,
        drawn.support_order,
        query_rows,
        drawn.seed,
        drawn.index,
    )


def decided(scores: Tensor, margin: float) -> Tensor:
    """Which rows of ``scores`` ``[n, n_way]`` have a largest entry by more than ``margin``.

    Two ways to compute the same scores agree on the labels of these rows; on the others rounding
    decides, and it differs between processors.
    """
    first, second = scores.topk(2).values.T
    found = first - second > margin
    assert float(found.float().mean()) > 0.5, "most rows are near ties: labels would say nothing"
    return found


def conv4_layers() -> list[torch.nn.Module]:
    """The four blocks of 64 filters as ordinary layers."""
    layers: list[torch.nn.Module] = []
    for n_input in (3, 64, 64, 64):
        layers += [
            torch.nn.Conv2d(n_input, 64, 3, padding=1),
            torch.nn.BatchNorm2d(64, eps=1e-3, momentum=0.1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
        ]
    return layers


def initial(learner: Conv4) -> Tensor:
    """The parameters that a method with seed 0 starts from, float32 ``[n_param]``."""
    return learner.initial(rng(0, Stream.LEARNER_INIT))
