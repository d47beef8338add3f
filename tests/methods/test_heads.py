"""Heads on frozen features, against independent computations in double precision."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax

from repro.episodes import Episode
from repro.methods import heads
from repro.papers.heads import HEADS
from repro.system.seeding import Stream, rng
from tests.methods.random_images import N_CLASS, PER_CLASS, episode, images, setting

Array = npt.NDArray[np.float64]
N_FEATURE = 12


def features() -> npt.NDArray[np.float32]:
    """Of six classes that overlap, with a mean far from zero."""
    n = N_CLASS * PER_CLASS
    noise = rng(1, Stream.GLYPHS).uniform(n * N_FEATURE, -1, 1).reshape(n, N_FEATURE)
    centres = rng(2, Stream.GLYPHS).uniform(N_CLASS * N_FEATURE, 0, 2).reshape(N_CLASS, -1)
    return (noise + np.repeat(centres, PER_CLASS, axis=0)).astype(np.float32)


def predicted(kind: type[heads.Head], drawn: Episode) -> Array:
    """Log-probabilities ``[n_query, 5]`` of a head whose meta-train features are the same."""
    made = setting(5)
    seen = heads.FeatureImages(images(made).split, made, features())
    head = kind(made)
    head.fit(seen)
    return head.predict(drawn, seen).numpy()


def unit(values: Array) -> Array:
    return values / np.sqrt((values**2).sum(1, keepdims=True))


def sides(drawn: Episode, centred: bool = False) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Features of length 1 of support and queries, and the labels of the support."""
    known = features().astype(np.float64)
    known = unit(known - known.mean(0) if centred else known)
    return known[drawn.support], known[drawn.query], drawn.support_labels


def means(support: Array, labels: npt.NDArray[np.int64]) -> Array:
    return np.stack([support[labels == label].mean(0) for label in range(5)])


def squares(query: Array, points: Array) -> Array:
    return np.array([[((q - p) ** 2).sum() for p in points] for q in query])


def test_nearest_takes_the_label_of_the_closest_support_image() -> None:
    drawn = episode(5)
    support, query, labels = sides(drawn)
    found = np.exp(predicted(heads.Nearest, drawn))
    np.testing.assert_array_equal(found, np.eye(5)[labels[squares(query, support).argmin(1)]])


def test_cosine_means_equal_brute_force() -> None:
    drawn = episode(5)
    support, query, labels = sides(drawn)
    expected = log_softmax(10 * query @ unit(means(support, labels)).T, axis=1)
    np.testing.assert_allclose(predicted(heads.CosineMeans, drawn), expected, atol=1e-12)


def test_simpleshot_centres_by_the_meta_train_mean_before_lengths_become_one() -> None:
    drawn = episode(5)
    support, query, labels = sides(drawn, centred=True)
    expected = log_softmax(-squares(query, means(support, labels)), axis=1)
    found = predicted(heads.SimpleShot, drawn)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(found - predicted(heads.CosineMeans, drawn)).max() > 0.1


@pytest.mark.parametrize("k_shot", [1, 5])
def test_logistic_equals_another_optimiser(k_shot: int) -> None:
    drawn = episode(k_shot)
    support, query, labels = sides(drawn)

    def objective(flat: Array) -> tuple[float, Array]:
        weights, intercepts = flat[:-5].reshape(5, -1), flat[-5:]
        log_p = log_softmax(support @ weights.T + intercepts, axis=1)
        error = np.exp(log_p) - np.eye(5)[labels]
        value = -log_p[np.arange(len(labels)), labels].sum() + (weights**2).sum() / 2
        return value, np.concatenate([(error.T @ support + weights).ravel(), error.sum(0)])

    start = np.zeros(5 * N_FEATURE + 5)
    flat = minimize(objective, start, jac=True, method="CG", options={"gtol": 1e-9}).x
    scores = query @ flat[:-5].reshape(5, -1).T + flat[-5:]
    found = predicted(heads.Logistic, drawn)
    np.testing.assert_allclose(found, log_softmax(scores, axis=1), atol=1e-6)


@pytest.mark.parametrize("k_shot", [1, 5])
def test_ridge_equals_least_squares_with_the_penalty_as_further_rows(k_shot: int) -> None:
    drawn = episode(k_shot)
    support, query, labels = sides(drawn)
    inputs = np.hstack([support, np.ones((len(support), 1))])
    penalty = np.hstack([np.eye(N_FEATURE), np.zeros((N_FEATURE, 1))])  # none on the intercept
    target = np.vstack([np.eye(5)[labels], np.zeros((N_FEATURE, 5))])
    weights = np.linalg.lstsq(np.vstack([inputs, penalty]), target, rcond=None)[0]
    expected = log_softmax(np.hstack([query, np.ones((len(query), 1))]) @ weights, axis=1)
    np.testing.assert_allclose(predicted(heads.Ridge, drawn), expected, atol=1e-10)


def test_soft_kmeans_equals_its_update_written_out() -> None:
    drawn = episode(5)
    support, query, labels = sides(drawn, centred=True)
    points = means(support, labels)
    for _ in range(10):
        share = np.exp(log_softmax(-10 * squares(query, points), axis=1))
        for c in range(5):
            mine = support[labels == c]
            total = mine.sum(0) + sum(w * q for w, q in zip(share[:, c], query, strict=True))
            points[c] = total / (len(mine) + share[:, c].sum())
    expected = log_softmax(-10 * squares(query, points), axis=1)
    np.testing.assert_allclose(predicted(heads.SoftKMeans, drawn), expected, atol=1e-9)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_reads_other_queries_exactly_where_it_is_called_transductive(name: str) -> None:
    kind = getattr(heads, HEADS[name].target.partition(":")[2])
    drawn, made = episode(5), setting(5)
    seen = heads.FeatureImages(images(made).split, made, features())
    head = kind(made)
    head.fit(seen)
    support, query = (head.vectors(seen, rows) for rows in (drawn.support, drawn.query))
    labels = torch.from_numpy(drawn.support_labels)
    whole = head.scores(support, labels, query, 5).log_softmax(1)
    first = head.scores(support, labels, query[:1], 5).log_softmax(1)
    same = torch.allclose(whole[:1], first, rtol=0, atol=1e-9)
    assert same != HEADS[name].transductive
