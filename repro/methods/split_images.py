"""Images of a split as normalised batches, with features that are computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.data.pack import ImageSplit
from repro.episodes.augmentation import AUGMENTATIONS, resize_and_crop
from repro.methods.setting import EMBED_BUFFER_BYTES, Setting
from repro.papers import paper
from repro.system.seeding import Rng, Stream, rng


class SplitImages:
    """Images of a split as normalised batches, with features that are computed once.

    What is kept here are functions of single images; nothing of an episode.
    """

    def __init__(self, split: ImageSplit, setting: Setting) -> None:
        self.split, self.setting = split, setting
        self._features: dict[str, Tensor] = {}
        self._known: dict[str, Tensor] = {}
        shift, scale = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if setting.recipe.pixels == "imagenet":
            shift, scale = paper.IMAGENET_MEAN, paper.IMAGENET_STD
        self._shift = torch.tensor(shift, device=setting.device).view(1, 3, 1, 1)
        self._scale = torch.tensor(scale, device=setting.device).view(1, 3, 1, 1)

        self._resident: Tensor | None = None

    def _pixels(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """uint8 ``[n, H, W, 3]``; an accelerator holds the whole split from the first use on."""
        if self.setting.device.type == "cpu":
            return torch.from_numpy(self.split.images[rows])
        if self._resident is None:
            self._resident = torch.from_numpy(np.array(self.split.images)).to(self.setting.device)
        return self._resident[torch.from_numpy(rows).to(self.setting.device)]

    def labels(self, labels: npt.NDArray[np.int64]) -> Tensor:
        """Labels where the method computes."""
        return torch.from_numpy(labels).to(self.setting.device)

    def normalise(self, pixels: Tensor, augmentation: Rng | None = None) -> Tensor:
        """uint8 ``[n, H, W, 3]`` to float ``[n, 3, H, W]``, channels last in memory."""
        batch = pixels.permute(0, 3, 1, 2).float()
        batch /= 255
        if self.setting.recipe.eval_resize != "none" and self.split.split != "train":
            batch = resize_and_crop(batch)
        if augmentation is not None:
            batch = AUGMENTATIONS[self.setting.recipe.augmentation](batch, augmentation)
        if self.setting.recipe.pixels == "imagenet":
            batch = (batch - self._shift) / self._scale
        return batch

    def gather(self, rows: npt.NDArray[np.int64], augmentation: Rng | None = None) -> Tensor:
        """The images of ``rows`` ``[n]`` as float ``[n, 3, H, W]``.

        Args:
            augmentation: draws of a training step's augmentation; None for none.
        """
        return self.normalise(self._pixels(rows), augmentation)

    def gather_many(self, rows: Sequence[npt.NDArray[np.int64]]) -> Tensor:
        """Equally many rows of several episodes, float ``[n_episode, n, 3, H, W]``."""
        batch = self.gather(np.concatenate(rows))
        return batch.view(len(rows), len(rows[0]), *batch.shape[1:])

    def augmentation(self, step: int) -> Rng | None:
        """The draws for a training step, or None where the recipe has no augmentation."""
        if self.setting.recipe.augmentation == "none":
            return None
        return rng(self.setting.seed, Stream.AUGMENTATION, step)

    def forget(self) -> None:
        """Drop the features kept so far."""
        self._features.clear()
        self._known.clear()

    def embedded(
        self, key: str, embed: Callable[[Tensor], Tensor], rows: npt.NDArray[np.int64]
    ) -> Tensor:
        """``embed`` of the images of ``rows``, ``[n, n_feature]``; each image once per ``key``."""
        index = torch.from_numpy(rows)
        if key not in self._features:
            n_feature = embed(self.gather(rows[:1])).shape[1]
            n_image = len(self.split.images)
            self._features[key] = torch.empty(n_image, n_feature, device=self.setting.device)
            self._known[key] = torch.zeros(n_image, dtype=torch.bool)
        features, known = self._features[key], self._known[key]
        missing = np.unique(rows[~known[index].numpy()])
        # The largest buffer is the first block's output.
        per_image = paper.BASELINE_FILTERS * self.split.image_size**2 * 4
        size = max(1, EMBED_BUFFER_BYTES // per_image)
        for first in range(0, len(missing), size):
            part = missing[first : first + size]
            features[torch.from_numpy(part)] = embed(self.gather(part)).float()
            known[torch.from_numpy(part)] = True
        return features[index]
