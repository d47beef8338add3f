"""Baseline-nearest-neighbor, and the pre-training it shares with fine-tuning.

Pre-training: classification of the meta-train classes, Adam 1e-3; a step's 64 images are a
random part of 64 classes x 5 images. Test: cosine similarity of the 1,600 features under running
statistics; a query takes the label of the single nearest support image.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.methods.base import StepResult, accuracy
from repro.methods.optimizers import Adam
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.system.seeding import Stream, rng


class NearestNeighbor:
    """The pre-trained network as a nearest-neighbour classifier."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.learner = Conv4(paper.BASELINE_FILTERS, setting.n_class, setting.image_size)
        initial = self.learner.initial(
            rng(setting.seed, Stream.LEARNER_INIT), setting.recipe.gamma_init
        ).to(setting.device)
        self.adam = Adam({"params": initial}, paper.PRETRAIN_LR)
        self.params = initial
        self.statistics = BatchNormStatistics(self.learner.n_filter, initial.detach())

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """One 64-image step; the draw depends on seed and step only."""
        rows, labels = self._batch(images.split.class_rows, step)
        with self.setting.autocast():
            batch = images.gather(rows, images.augmentation(step))
            logits = self.learner.logits(self.params, batch, self.statistics, training=True)
        target = torch.from_numpy(labels).to(logits.device)
        loss = F.cross_entropy(logits.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        return StepResult(loss.item(), accuracy(logits.detach(), target))

    def _batch(
        self, class_rows: tuple[tuple[int, int], ...], step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        stream = rng(self.setting.seed, Stream.PRETRAIN_BATCH, step)
        n_class, per_class = len(class_rows), paper.PRETRAIN_PER_CLASS
        classes = stream.permutation(n_class)[:64]
        of_classes = [
            class_rows[c][0] + stream.permutation(class_rows[c][1])[:per_class] for c in classes
        ]
        drawn = np.concatenate(of_classes)
        # A class of a folder may have fewer images than are drawn of each.
        labels = np.repeat(classes, [len(rows) for rows in of_classes])
        chosen = stream.permutation(len(drawn))[: paper.PRETRAIN_BATCH]
        return drawn[chosen], labels[chosen]

    def embed(self, batch: Tensor) -> Tensor:
        """Features under running statistics, ``[n, n_feature]``."""
        with torch.no_grad(), self.setting.autocast():
            return self.learner.features(self.params, batch, self.statistics, training=False)

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """The nearest support image's label has all the probability."""
        pixels = self.setting.recipe.neighbor_features == "pixels"
        embed = (lambda batch: batch.flatten(1)) if pixels else self.embed
        support = F.normalize(images.embedded("f", embed, episode.support), dim=1)
        query = F.normalize(images.embedded("f", embed, episode.query), dim=1)
        nearest = (query @ support.T).argmax(1).cpu()
        labels = torch.from_numpy(episode.support_labels)[nearest]
        return F.one_hot(labels, len(episode.class_indices)).double().log()

    def state(self) -> dict[str, Tensor]:
        """Parameters, running statistics, optimizer."""
        return {**self.adam.state(), **self.statistics.state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of pre-training."""
        self.adam.load_state(state)
        self.statistics.load_state(state)
