"""Classifiers of vectors: what the heads on frozen features fit on a support set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LOGISTIC_TOLERANCE = 1e-7  # largest entry of the gradient; the minimum itself is unique
MAX_ITERATIONS = 1000


def fit_logistic(features: Tensor, labels: Tensor, n_way: int, c: float) -> Tensor:
    """Multinomial logistic regression with an L2 penalty on all but the intercepts.

    Minimises ``c * sum of cross-entropies + |weights|^2 / 2`` by L-BFGS from zero.

    Args:
        features: double ``[n, n_feature]``. labels: ``[n]``, 0..n_way-1.
    Returns:
        ``[n_way, n_feature + 1]``: the weights, then the intercepts.
    """
    # The weights of the minimum lie in the span of the features, so n coordinates describe them.
    basis, triangle = torch.linalg.qr(features.T)
    inputs = torch.cat([triangle.T, features.new_ones(len(labels), 1)], dim=1)
    weights = inputs.new_zeros(n_way, inputs.shape[1]).requires_grad_()
    # torch's, not scipy's: that one's linear algebra takes more threads than the run was given.
    descent = torch.optim.LBFGS(
        [weights],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=LOGISTIC_TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def objective() -> float:
        descent.zero_grad()
        with torch.enable_grad():
            loss = F.cross_entropy(inputs @ weights.T, labels, reduction="sum")
            value = c * loss + weights[:, :-1].square().sum() / 2
        value.backward()  # type: ignore[no-untyped-call]
        return value.item()

    descent.step(objective)  # type: ignore[no-untyped-call]
    found = weights.detach()
    return torch.cat([found[:, :-1] @ basis.T, found[:, -1:]], dim=1)


def fit_logistic_newton(features: Tensor, labels: Tensor, n_way: int, c: float) -> Tensor:
    """The minimum that :func:`fit_logistic` finds, by Newton's method in a tenth of its time.

    That one stays as it is: published records have its last bits.

    Args, Returns: as :func:`fit_logistic`.
    """
    basis, triangle = torch.linalg.qr(features.T)
    inputs = torch.cat([triangle.T, features.new_ones(len(labels), 1)], dim=1)
    n, size = inputs.shape
    target = F.one_hot(labels, n_way).to(inputs.dtype)
    penalty = features.new_ones(size)
    penalty[-1] = 0
    products = (inputs[:, :, None] * inputs[:, None]).view(n, -1)
    # A number added to all intercepts changes nothing; this term keeps Newton's step free of it.
    free = torch.zeros(n_way, size, n_way, size, dtype=inputs.dtype)
    free[:, -1, :, -1] = 1
    weights = inputs.new_zeros(n_way, size)

    def objective(weights: Tensor) -> float:
        log_p = (inputs @ weights.T).log_softmax(1)
        return float(-c * (log_p * target).sum() + (penalty * weights.square()).sum() / 2)

    for _ in range(MAX_ITERATIONS):
        p = (inputs @ weights.T).softmax(1)
        gradient = c * (p - target).T @ inputs + penalty * weights
        if float(gradient.abs().max()) < LOGISTIC_TOLERANCE:
            break
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]
        hessian = c * (curvature.view(n, -1).T @ products).view(n_way, n_way, size, size)
        hessian = hessian.transpose(1, 2) + free
        hessian = hessian.reshape(n_way * size, -1) + torch.diag(penalty.repeat(n_way))
        step = torch.linalg.solve(hessian, gradient.flatten()).view_as(weights)
        value, length = objective(weights), 1.0
        while objective(weights - length * step) > value and length > 1e-9:
            length /= 2
        weights = weights - length * step
    return torch.cat([weights[:, :-1] @ basis.T, weights[:, -1:]], dim=1)


def class_means(features: Tensor, labels: Tensor, n_way: int) -> Tensor:
    """Mean of each class, ``[n_way, n_feature]``, of features ``[n, n_feature]``."""
    member = F.one_hot(labels, n_way).to(features.dtype)
    return (member / member.sum(0)).T @ features


def fit_ridge(features: Tensor, labels: Tensor, n_way: int, penalty: float) -> Tensor:
    """Ridge regression on one-hot labels, without a penalty on the intercepts.

    Minimises ``|features @ weights.T + intercepts - one_hot|^2 + penalty * |weights|^2``, in the
    dual form: one solve of ``[n, n]``.

    Args:
        features: double ``[n, n_feature]``. labels: ``[n]``, 0..n_way-1.
    Returns:
        ``[n_way, n_feature + 1]``: the weights, then the intercepts.
    """
    target = F.one_hot(labels, n_way).to(features.dtype)
    mean, share = features.mean(0), target.mean(0)
    centred = features - mean
    gram = centred @ centred.T + penalty * torch.eye(len(labels), dtype=features.dtype)
    weights = torch.linalg.solve(gram, target - share).T @ centred
    return torch.cat([weights, (share - weights @ mean)[:, None]], dim=1)


def soft_kmeans(
    support: Tensor, labels: Tensor, query: Tensor, n_way: int, scale: float, steps: int
) -> Tensor:
    """Class means that the queries move, each by its probabilities (Ren et al. 2018, Eq. 3 and 4).

    Args:
        support, query: double ``[n, n_feature]``. scale: of the squared distances in the softmax.
        steps: how often the means are moved.
    Returns:
        Log-probabilities of the queries under the last means, ``[n_query, n_way]``.
    """
    member = F.one_hot(labels, n_way).to(support.dtype)
    means = class_means(support, labels, n_way)
    for _ in range(steps):
        weight = (-scale * torch.cdist(query, means).square()).softmax(1)
        total = member.sum(0) + weight.sum(0)
        means = (member.T @ support + weight.T @ query) / total[:, None]
    return (-scale * torch.cdist(query, means).square()).log_softmax(1)
