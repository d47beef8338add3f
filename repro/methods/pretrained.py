"""Strong simple baselines: the features of the pre-training, frozen, and a plain classifier.

The network is that of Baseline-nearest-neighbor; nothing else is trained. Features are taken
under running statistics and scaled to length 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode
from repro.learner.classifiers import fit_logistic
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper, references


class Pretrained:
    """What both rows share: the network of the pre-training without its last layer."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.learner = Conv4(paper.BASELINE_FILTERS, 0, setting.image_size)
        self._body = torch.empty(0)
        self._statistics = BatchNormStatistics(paper.BASELINE_FILTERS)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of pre-training; its last layer is dropped."""
        self._body = state["params"].detach()[: self.learner.n_param].to(self.setting.device)
        self._statistics = BatchNormStatistics(paper.BASELINE_FILTERS, self._body)
        self._statistics.load_state(state)

    def _embed(self, batch: Tensor) -> Tensor:
        with torch.no_grad(), self.setting.autocast():
            features = self.learner.features(self._body, batch, self._statistics, training=False)
        return F.normalize(features.float(), dim=1)


class PretrainedCosine(Pretrained):
    """The class whose mean support feature has the largest cosine with the query's.

    At 1 shot this is Baseline-nearest-neighbor. Source: the classifier baseline of Chen et al.
    2021, "Meta-Baseline", with its temperature, on features of length 1.
    """

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Log-softmax of the scaled cosines; each image is embedded once."""
        support = images.embedded("unit", self._embed, episode.support)
        query = images.embedded("unit", self._embed, episode.query)
        labels = images.labels(episode.support_labels)
        member = F.one_hot(labels, len(episode.class_indices)).to(support.dtype)
        means = F.normalize(member.T @ support, dim=1)
        return (references.COSINE_SCALE * query @ means.T).log_softmax(1)


class PretrainedLogistic(Pretrained):
    """Logistic regression on the features of the support set.

    The penalty (C = 1) is not tuned. Source: Tian et al. 2020, "Rethinking Few-Shot Image
    Classification", without their augmentation of the support set.
    """

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Fit in double precision, then classify; each image is embedded once."""
        support = images.embedded("unit", self._embed, episode.support).cpu().double()
        query = images.embedded("unit", self._embed, episode.query).cpu().double()
        labels, n_way = torch.from_numpy(episode.support_labels), len(episode.class_indices)
        fitted = fit_logistic(support, labels, n_way, references.LOGISTIC_C)
        return (query @ fitted[:, :-1].T + fitted[:, -1]).log_softmax(1)
