"""Strong simple baselines: the features of the pre-training, frozen, and a plain classifier.

The network is that of Baseline-nearest-neighbor; nothing else is trained. Features are taken
under running statistics and scaled to length 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from repro import paper, references
from repro.episodes import Episode
from repro.learner import BatchNormStatistics, Conv4
from repro.methods.base import Setting, SplitImages

Floats = npt.NDArray[np.float64]
LOGISTIC_TOLERANCE = 1e-7  # largest entry of the gradient; the minimum itself is unique
MAX_ITERATIONS = 1000


def fit_logistic(features: Floats, labels: npt.NDArray[np.int64], n_way: int, c: float) -> Floats:
    """Multinomial logistic regression with an L2 penalty on all but the intercepts.

    Minimises ``c * sum of cross-entropies + |weights|^2 / 2`` by L-BFGS from zero.

    Args:
        features: ``[n, n_feature]``. labels: ``[n]``, 0..n_way-1.
    Returns:
        ``[n_way, n_feature + 1]``: the weights, then the intercepts.
    """
    # The weights of the minimum lie in the span of the features, so n coordinates describe them.
    basis, triangle = np.linalg.qr(features.T)
    inputs = np.hstack([triangle.T, np.ones((len(labels), 1))])
    target = np.eye(n_way)[labels]

    def objective(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(n_way, -1)
        logits = inputs @ weights.T
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        penalised = weights.copy()
        penalised[:, -1] = 0
        value = -c * float((target * logits).sum()) + 0.5 * float((penalised**2).sum())
        gradient: Floats = c * (np.exp(logits) - target).T @ inputs + penalised
        return value, gradient.ravel()

    found = minimize(
        objective,
        np.zeros(n_way * inputs.shape[1]),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "gtol": LOGISTIC_TOLERANCE, "ftol": 0.0},
    )
    weights = found.x.reshape(n_way, -1)
    return np.hstack([weights[:, :-1] @ basis.T, weights[:, -1:]])


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
        self._statistics.mean.copy_(state["mean"])
        self._statistics.variance.copy_(state["variance"])

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
        n_way = len(episode.class_indices)
        fitted = torch.from_numpy(
            fit_logistic(support.numpy(), episode.support_labels, n_way, references.LOGISTIC_C)
        )
        return (query @ fitted[:, :-1].T + fitted[:, -1]).log_softmax(1)
