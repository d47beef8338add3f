"""Frozen features: classifiers against brute force and an independent optimiser."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from repro.methods.base import SplitImages
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.pretrained import Pretrained, PretrainedCosine, PretrainedLogistic, fit_logistic
from repro.seeding import Stream, words
from tests.methods.random_images import episode, images, setting


def trained(kind: type[Pretrained]) -> tuple[Pretrained, NearestNeighbor, SplitImages]:
    source = NearestNeighbor(setting(5))
    pixels = images(source.setting)
    for step in range(2):
        source.train_step(pixels, step)
    method = kind(setting(5))
    method.load_state(source.state())
    return method, source, pixels


@pytest.mark.parametrize(("n", "n_feature"), [(10, 40), (10, 4)])
def test_the_logistic_fit_is_the_minimum_of_its_objective(n: int, n_feature: int) -> None:
    drawn = words(0, Stream.LEARNER_INIT).uniform(n * n_feature, -1, 1).reshape(n, n_feature)
    labels, c = np.arange(n) % 5, 0.7
    found = torch.from_numpy(fit_logistic(drawn, labels, 5, c)).requires_grad_()
    weights, intercepts = found[:, :-1], found[:, -1]
    logits = torch.from_numpy(drawn) @ weights.T + intercepts
    value = c * F.cross_entropy(logits, torch.from_numpy(labels), reduction="sum")
    value = value + weights.square().sum() / 2
    (gradient,) = torch.autograd.grad(value, found)  # strictly convex: 0 only at the minimum
    assert float(weights.detach().abs().max()) > 0.1
    assert float(gradient.abs().max()) < 1e-5


def test_logistic_regression_equals_another_optimiser_on_the_whole_features() -> None:
    method, source, pixels = trained(PretrainedLogistic)
    drawn = episode(5)
    support, query = (
        F.normalize(source.embed(pixels.gather(rows)).double(), dim=1)
        for rows in (drawn.support, drawn.query)
    )
    layer = torch.nn.Linear(support.shape[1], 5, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    labels = torch.from_numpy(drawn.support_labels)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(support), labels, reduction="sum")
        loss = loss + layer.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = layer(query).log_softmax(1).detach()
    torch.testing.assert_close(method.predict(drawn, pixels), expected, rtol=0, atol=1e-5)


def test_the_cosine_classifier_equals_brute_force() -> None:
    method, source, pixels = trained(PretrainedCosine)
    drawn = episode(5)
    support, query = (
        source.embed(pixels.gather(rows)).double().numpy() for rows in (drawn.support, drawn.query)
    )
    expected = np.empty((len(query), 5))
    for label in range(5):
        mine = [x / np.linalg.norm(x) for x in support[drawn.support_labels == label]]
        mean = np.mean(mine, axis=0)
        for q, x in enumerate(query):
            expected[q, label] = 10 * x @ mean / np.linalg.norm(x) / np.linalg.norm(mean)
    expected -= np.log(np.exp(expected).sum(1, keepdims=True))
    actual = method.predict(drawn, pixels)
    torch.testing.assert_close(actual.double(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_at_one_shot_the_cosine_classifier_is_the_nearest_neighbor() -> None:
    method, source, pixels = trained(PretrainedCosine)
    for index in range(4):
        drawn = episode(1, index)
        nearest = source.predict(drawn, pixels).argmax(1)
        assert torch.equal(method.predict(drawn, pixels).argmax(1), nearest)
