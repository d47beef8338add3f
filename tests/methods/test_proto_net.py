"""Prototypes against plain loops and against an ordinary module."""

import math

import pytest
import torch

from repro.learner.conv4 import Conv4
from repro.methods.proto_net import ProtoNet, ProtoNetWide, prototype_scores
from repro.system.seeding import Stream, rng
from tests.methods.random_images import (
    N_CLASS,
    SIZE,
    Exact,
    conv4_layers,
    episode,
    images,
    mixed,
    setting,
)


def test_scores_are_a_softmax_over_squared_distances_to_class_means() -> None:
    drawn = torch.from_numpy(rng(0, Stream.LEARNER_INIT).uniform(17 * 6, -2, 2)).view(17, 6)
    support, query = drawn[:10], drawn[10:]
    labels = [3, 1, 0, 2, 4, 4, 1, 2, 3, 0]
    actual = prototype_scores(support, torch.tensor(labels), query, 5).softmax(1)
    for q, features in enumerate(query.tolist()):
        weights = []
        for label in range(5):
            mine = [row for row, own in zip(support.tolist(), labels, strict=True) if own == label]
            mean = [sum(column) / len(mine) for column in zip(*mine, strict=True)]
            squared = sum((a - b) ** 2 for a, b in zip(features, mean, strict=True))
            weights.append(math.exp(-squared))
        for label, weight in enumerate(weights):
            assert float(actual[q, label]) == pytest.approx(weight / sum(weights), abs=1e-12)


def module(method: ProtoNet) -> torch.nn.Sequential:
    """The same network as ordinary layers."""
    model = torch.nn.Sequential(*conv4_layers(), torch.nn.Flatten()).double()
    parts = method.learner.split(method.params.detach())
    with torch.no_grad():
        for parameter, part in zip(model.parameters(), parts, strict=True):
            parameter.copy_(part)
    return model


@pytest.mark.parametrize("k_shot", [1, 5])
def test_training_and_test_equal_an_ordinary_module(
    k_shot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In double precision: Adam amplifies rounding, in its first steps above all.
    first = Conv4.initial
    monkeypatch.setattr(Conv4, "initial", lambda *args: first(*args).double())
    method = ProtoNet(setting(k_shot))
    model, pixels = module(method), images(method.setting, Exact)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(2):
        drawn = episode(k_shot, step, "train")
        batch = torch.cat([pixels.gather(drawn.support), pixels.gather(drawn.query)])
        features = model(batch)
        support, query = features[: 5 * k_shot], features[5 * k_shot :]
        labels = torch.from_numpy(drawn.support_labels)
        means = torch.stack([support[labels == label].mean(0) for label in range(5)])
        loss = torch.nn.functional.cross_entropy(
            -(torch.cdist(query, means) ** 2), torch.from_numpy(drawn.query_labels)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert method.train_step(pixels, step).loss == pytest.approx(loss.item(), rel=1e-4)
    # What is left of it does not count in a test of networks with the same parameters.
    model, state, drawn = module(method), method.state(), episode(k_shot)
    for block, norm in enumerate(m for m in model if isinstance(m, torch.nn.BatchNorm2d)):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(state["mean"][block])
        norm.running_var.copy_(state["variance"][block])
    labels = torch.from_numpy(drawn.support_labels)
    with torch.no_grad():
        support, query = map(model.eval(), map(pixels.gather, (drawn.support, drawn.query)))
        means = torch.stack([support[labels == label].mean(0) for label in range(5)])
        expected = (-(torch.cdist(query, means) ** 2)).log_softmax(1)
    actual = method.predict(drawn, pixels)
    torch.testing.assert_close(actual.exp().double(), expected.exp(), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        method.predict(mixed(drawn, episode(k_shot, 1)), pixels)[0], actual[0], rtol=0, atol=1e-4
    )


def test_the_learning_rate_is_halved_every_2000_episodes() -> None:
    for step, rate in ((0, 1e-3), (1999, 1e-3), (2000, 5e-4), (4001, 2.5e-4)):
        method = ProtoNet(setting(1))
        before = method.params.detach().clone()
        method.train_step(images(method.setting), step)
        # Adam's first step has the size of the learning rate.
        moved = (method.params.detach() - before).abs()
        assert float(moved.max()) == pytest.approx(rate, rel=1e-2)


def test_the_wide_row_trains_with_the_published_classes_where_there_are_enough() -> None:
    for k_shot, published in ((1, 30), (5, 20)):
        assert ProtoNetWide(setting(k_shot, n_class=64))._spec().n_way == published
        assert ProtoNet(setting(k_shot, n_class=64))._spec().n_way == 5
        few = ProtoNetWide(setting(k_shot))
        assert few._spec().n_way == N_CLASS and few.setting.image_size == SIZE
        # Chance among six classes, not among five.
        assert few.train_step(images(few.setting), 0).accuracy * 6 * 15 % 1 == pytest.approx(
            0, abs=1e-3
        )
