"""Heads: classifiers on frozen features, which are looked up and never computed here.

All compute in double precision. Their settings are in :mod:`repro.papers.references`, their
sources in :mod:`repro.papers.heads`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.data.pack import ImageSplit
from repro.episodes import Episode
from repro.learner.classifiers import class_means, fit_logistic_newton, fit_ridge, soft_kmeans
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import references


class FeatureImages(SplitImages):
    """A split whose images are features; no pixel is read.

    Args:
        features: float32 ``[n_image, n_feature]``, mapped.
    """

    def __init__(
        self, split: ImageSplit, setting: Setting, features: npt.NDArray[np.float32]
    ) -> None:
        super().__init__(split, setting)
        self.features = features

    def vectors(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """The features of ``rows``, double ``[n, n_feature]``."""
        return torch.from_numpy(np.asarray(self.features[rows], dtype=np.float64))


class Head:
    """What the heads share: features of length 1 of the support and the queries."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def fit(self, images: FeatureImages) -> None:
        """Look at the meta-train features once; most heads need nothing of them."""

    def vectors(self, images: FeatureImages, rows: npt.NDArray[np.int64]) -> Tensor:
        """Features as the head takes them, double ``[n, n_feature]``."""
        return F.normalize(images.vectors(rows), dim=1)

    def predict(self, episode: Episode, images: FeatureImages) -> Tensor:
        """Log-probabilities ``[n_way * n_query, n_way]``."""
        support, query = (self.vectors(images, rows) for rows in (episode.support, episode.query))
        labels = torch.from_numpy(episode.support_labels)
        return self.scores(support, labels, query, len(episode.class_indices)).log_softmax(1)

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        """Scores ``[n_query, n_way]``, whose softmax are the probabilities."""
        raise NotImplementedError


class Nearest(Head):
    """The label of the single support image with the largest cosine."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        nearest = labels[(query @ support.T).argmax(1)]
        return F.one_hot(nearest, n_way).to(query.dtype).log()


class CosineMeans(Head):
    """The class whose mean feature has the largest cosine."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        means = F.normalize(class_means(support, labels, n_way), dim=1)
        return references.COSINE_SCALE * query @ means.T


class Logistic(Head):
    """Logistic regression on the support set."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        fitted = fit_logistic_newton(support, labels, n_way, references.LOGISTIC_C)
        return query @ fitted[:, :-1].T + fitted[:, -1]


class Ridge(Head):
    """Ridge regression on one-hot labels of the support set."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        fitted = fit_ridge(support, labels, n_way, references.RIDGE_PENALTY)
        return query @ fitted[:, :-1].T + fitted[:, -1]


class Centred(Head):
    """Features minus the mean of the meta-train features, then of length 1 (CL2N)."""

    def fit(self, images: FeatureImages) -> None:
        """Take the mean of the meta-train features."""
        self.mean = torch.from_numpy(images.features.mean(axis=0, dtype=np.float64))

    def vectors(self, images: FeatureImages, rows: npt.NDArray[np.int64]) -> Tensor:
        return F.normalize(images.vectors(rows) - self.mean, dim=1)


class SimpleShot(Centred):
    """The class whose mean of centred features of length 1 is nearest."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        return -torch.cdist(query, class_means(support, labels, n_way)).square()


class SoftKMeans(Centred):
    """SimpleShot's features and means, which all queries together then move: transductive."""

    def scores(self, support: Tensor, labels: Tensor, query: Tensor, n_way: int) -> Tensor:
        steps = references.SOFT_KMEANS_STEPS
        return soft_kmeans(support, labels, query, n_way, references.COSINE_SCALE, steps)
