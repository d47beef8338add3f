"""Methods on small random images: brute force, no leaks, exact state."""

import numpy as np
import pytest
import torch

from repro.episodes import Episode
from repro.methods import registry
from repro.methods.base import Searching, Trainable
from repro.methods.finetune import Finetune
from repro.methods.meta_lstm import inner_schedule
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.registry import build_training
from repro.methods.split_images import SplitImages
from repro.papers.budgets import GridPoint, grid
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import RECIPES, Recipe
from tests.methods import random_images

# One row of each training.
TRAINABLE = sorted({row.training: row.name for row in BUILT_IN.values() if row.training}.values())


def build(name: str, k_shot: int = 5) -> tuple[Trainable, SplitImages]:
    made = random_images.setting(k_shot)
    return build_training(BUILT_IN[name], made), random_images.images(made)


def test_pretraining_takes_small_classes_with_their_own_labels() -> None:
    made = random_images.setting(5)
    rows, first = [], 0
    for count in (7, 2, 5, 1, *(6 for _ in range(60))):
        rows.append((first, count))
        first += count
    label = {row: c for c, (start, n) in enumerate(rows) for row in range(start, start + n)}
    for step in range(20):
        drawn, labels = NearestNeighbor(made)._batch(tuple(rows), step)
        assert len(drawn) == len(labels) == 64
        assert [label[int(row)] for row in drawn] == labels.tolist()


def test_nearest_neighbor_equals_brute_force() -> None:
    made = random_images.setting(5, Recipe(neighbor_features="pixels"))
    images, drawn = random_images.images(made), random_images.episode(5)
    predicted = NearestNeighbor(made).predict(drawn, images).argmax(1)
    flat = images.split.images.reshape(random_images.N_CLASS * random_images.PER_CLASS, -1).astype(
        np.float64
    )
    scores = torch.full((len(drawn.query), 5), -1.0, dtype=torch.float64)
    for place, row in enumerate(drawn.query):
        for s, label in zip(drawn.support, drawn.support_labels, strict=True):
            cosine = flat[row] @ flat[s] / np.linalg.norm(flat[row]) / np.linalg.norm(flat[s])
            scores[place, label] = max(float(scores[place, label]), cosine)
    clear = random_images.decided(scores, 1e-6)
    assert torch.equal(predicted[clear], scores.argmax(1)[clear])


def test_inner_schedules_are_the_published_ones() -> None:
    def sizes(trained_k: int, k_shot: int, recipe: str) -> list[int]:
        parts = inner_schedule(trained_k, k_shot, 5, RECIPES[recipe])
        return [part.stop - part.start for part in parts]

    assert sizes(1, 1, "authors-code") == [5] * 12
    assert sizes(1, 1, "authors-2016-11") == [5] * 10
    assert sizes(5, 5, "authors-code") == sizes(5, 5, "authors-2016-11") == [25] * 8
    assert sizes(5, 5, "paper") == [25] * 5
    for recipe in RECIPES:  # at the other shot no recipe's passes matter
        assert sizes(5, 1, recipe) == [5] * 5
        assert sizes(1, 5, recipe) == [5] * 25


@pytest.mark.parametrize("name", TRAINABLE)
def test_training_goes_on_from_a_state_with_the_same_bits(name: str) -> None:
    whole, images = build(name)
    for step in range(4):
        result = whole.train_step(images, step)
        assert np.isfinite(result.loss)
        if step == 1:
            kept = {key: value.clone() for key, value in whole.state().items()}
    resumed, images = build(name)
    resumed.load_state(kept)
    for step in (2, 3):
        resumed.train_step(images, step)
    for key, value in whole.state().items():
        assert torch.equal(value, resumed.state()[key]), key


def test_an_inductive_prediction_does_not_depend_on_other_queries_or_episodes() -> None:
    method, images = build("meta_lstm")
    method.train_step(images, 0)
    drawn = random_images.episode(5)
    alone = method.predict(drawn, images)
    method.predict(random_images.episode(5, 1), images)
    assert torch.equal(method.predict(drawn, images), alone)
    swapped = Episode(
        drawn.class_indices,
        drawn.support_rows,
        drawn.support_order,
        drawn.query_rows[:, ::-1].copy(),
        drawn.seed,
        drawn.index,
    )
    actual = method.predict(swapped, images).view(5, 15, 5).flip(1).reshape(75, 5)
    torch.testing.assert_close(actual, alone, rtol=0, atol=1e-5)
    other = random_images.episode(5, 1).query_rows.copy()
    other[0, 0] = drawn.query_rows[0, 0]
    mixed = Episode(
        drawn.class_indices, drawn.support_rows, drawn.support_order, other, 0, drawn.index
    )
    torch.testing.assert_close(method.predict(mixed, images)[0], alone[0], rtol=0, atol=1e-5)


def test_meta_training_learns_to_lower_the_loss_of_one_episode() -> None:
    method, images = build("meta_lstm")
    losses = [method.train_step(images, 0).loss for _ in range(40)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_the_published_grid_has_42_settings() -> None:
    assert len(set(grid("full"))) == 42
    assert set(grid("small")) <= set(grid("full"))
    assert set(grid("middle")) <= set(grid("full"))


def test_the_catalogue_says_which_methods_search_a_grid() -> None:
    made = random_images.setting(5)
    for row in BUILT_IN.values():
        assert row.searches == isinstance(registry.build(row, made), Searching), row.name


def test_finetune_equals_sgd_on_an_ordinary_module_and_leaves_no_trace() -> None:
    pretrained, images = build("nearest_neighbor")
    for step in range(2):
        pretrained.train_step(images, step)
    method = Finetune(random_images.setting(5))
    method.load_state(pretrained.state())
    method.choice, drawn = GridPoint(0.05, 0.1), random_images.episode(5)
    actual = method.predict(drawn, images)
    assert torch.equal(method.predict(drawn, images), actual)
    learner = method.learner
    parts = iter(learner.split(torch.cat([method._body, method._head(learner)])))
    layers = random_images.conv4_layers()
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(64, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(next(parts))
        norms = [layer for layer in layers if isinstance(layer, torch.nn.BatchNorm2d)]
        for block, norm in enumerate(norms):
            norm.running_mean.copy_(pretrained.state()["mean"][block])
            norm.running_var.copy_(pretrained.state()["variance"][block])
    labels = torch.from_numpy(drawn.support_labels)
    for update in range(15):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05 / (1 + 0.1 * update))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images.gather(drawn.support)), labels).backward()
        optimizer.step()
    expected = model.eval()(images.gather(drawn.query)).log_softmax(1)
    torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=1e-4)
