"""Frozen features: classifiers against brute force and an independent optimiser."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch.nn import functional as F

from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.pretrained import Pretrained, PretrainedCosine, PretrainedLogistic, fit_logistic
from repro.methods.split_images import SplitImages
from repro.system.seeding import Stream, rng
from tests.methods.random_images import decided, episode, images, setting


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
    uniform = rng(0, Stream.LEARNER_INIT).uniform(n * n_feature, -1, 1)
    drawn, labels, c = torch.from_numpy(uniform).view(n, n_feature), torch.arange(n) % 5, 0.7
    found = fit_logistic(drawn, labels, 5, c).requires_grad_()
    weights, intercepts = found[:, :-1], found[:, -1]
    value = c * F.cross_entropy(drawn @ weights.T + intercepts, labels, reduction="sum")
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
    inputs, labels = support.numpy(), drawn.support_labels

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weights, intercepts = flat[:-5].reshape(5, -1), flat[-5:]
        log_p = log_softmax(inputs @ weights.T + intercepts, axis=1)
        value = -log_p[np.arange(25), labels].sum() + (weights**2).sum() / 2
        error = np.exp(log_p) - np.eye(5)[labels]
        return value, np.concatenate([(error.T @ inputs + weights).ravel(), error.sum(0)])

    start = np.zeros(5 * inputs.shape[1] + 5)
    found = minimize(objective, start, jac=True, method="CG", options={"gtol": 1e-8}).x
    weights, intercepts = map(torch.from_numpy, (found[:-5].reshape(5, -1), found[-5:]))
    expected = (query @ weights.T + intercepts).log_softmax(1)
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
        nearest, scores = source.predict(drawn, pixels), method.predict(drawn, pixels)
        clear = decided(scores, 1e-4)  # scores are ten times the cosines
        assert torch.equal(scores.argmax(1)[clear], nearest.argmax(1)[clear])
