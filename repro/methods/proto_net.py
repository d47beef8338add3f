"""Prototypical Networks: a query's class is that of the nearest mean of support features.

The distance is squared Euclidean. Adam 1e-3, halved every 2,000 episodes; the support and the
query images of a training episode go through the network as one batch, and running statistics
normalise at test, as in the authors' code. Source: Snell et al. 2017, Sec. 2.2 and 3.2. The
learner is that of the other baselines here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode, EpisodeSampler
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.methods.base import StepResult, accuracy
from repro.methods.optimizers import Adam
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper, references
from repro.papers.config import EpisodeSpec
from repro.system.seeding import Stream, rng


def prototype_scores(support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
    """Class scores of queries, ``[n_query, n_way]``: -|query - prototype|^2 + |query|^2.

    The last term is the same for all classes of a query, so a softmax of the scores is one of
    the negative distances (Snell et al. 2017, Eq. 8).

    Args:
        support: features ``[n_support, n_feature]``. labels: of the support, ``[n_support]``.
    """
    member = F.one_hot(labels, n_way).to(support.dtype)
    prototypes = (member / member.sum(0)).T @ support
    return 2 * query @ prototypes.T - prototypes.square().sum(1)


class ProtoNet:
    """A Prototypical Network, trained in episodes of the task's size."""

    # Classes of training episodes by shot; empty: as many as the task has.
    train_n_way: ClassVar[Mapping[int, int]] = {}

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.learner = Conv4(paper.BASELINE_FILTERS, 0, setting.image_size)
        self.params = self.learner.initial(
            rng(setting.seed, Stream.LEARNER_INIT), setting.recipe.gamma_init
        ).to(setting.device)
        self.statistics = BatchNormStatistics(self.learner.n_filter, self.params)
        self.adam = Adam({"params": self.params}, references.PROTO_NET_LR)

    def _spec(self) -> EpisodeSpec:
        setting, wide = self.setting, self.train_n_way
        n_way = wide[references.by_shot(setting.k_shot)] if wide else setting.n_way
        # A small data set may have fewer classes; it has no published number to be held against.
        return EpisodeSpec(min(n_way, setting.n_class), setting.k_shot, setting.n_query)

    def _features(self, batch: Tensor, training: bool) -> Tensor:
        with self.setting.autocast():
            features = self.learner.features(self.params, batch, self.statistics, training)
        return features.float()

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """One training episode."""
        setting, spec = self.setting, self._spec()
        episode = EpisodeSampler(
            images.split.class_rows, "train", spec, setting.seed, setting.recipe.episode_classes
        )[step]
        augmentation = images.augmentation(step)
        support, query = (images.gather(r, augmentation) for r in (episode.support, episode.query))
        features = self._features(torch.cat([support, query]), training=True)
        labels, target = map(images.labels, (episode.support_labels, episode.query_labels))
        n_support = len(labels)
        scores = prototype_scores(features[:n_support], labels, features[n_support:], spec.n_way)
        loss = F.cross_entropy(scores, target)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step(references.PROTO_NET_LR * 0.5 ** (step // references.PROTO_NET_HALVED_EVERY))
        return StepResult(loss.item(), accuracy(scores.detach(), target))

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Log-probabilities; each image is embedded once."""

        def embed(batch: Tensor) -> Tensor:
            return self._features(batch, training=False)

        with torch.no_grad():
            scores = prototype_scores(
                images.embedded("f", embed, episode.support),
                images.labels(episode.support_labels),
                images.embedded("f", embed, episode.query),
                len(episode.class_indices),
            )
            return scores.log_softmax(1)

    def state(self) -> dict[str, Tensor]:
        """Parameters, running statistics, optimizer."""
        return {**self.adam.state(), **self.statistics.state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of training."""
        self.adam.load_state(state)
        self.statistics.load_state(state)


class ProtoNetWide(ProtoNet):
    """As published: trained in episodes of 30 classes for 1-shot and 20 for 5-shot."""

    train_n_way = references.PROTO_NET_N_WAY
