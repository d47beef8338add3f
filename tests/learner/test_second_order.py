"""Second-order meta-gradients against finite differences through the whole learner, in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.data.pack import open_pack
from repro.learner.conv4 import Conv4
from repro.learner.meta_learner import (
    LossAndGradient,
    MetaParams,
    inner_loop,
    replay_backward,
    second_order_gradient,
)
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import config
from repro.papers.config import Recipe
from repro.system.seeding import Stream, rng

LEARNER = Conv4(2, 2, 16)
SIZES = [6] * 3
STEP = 1e-6


def uniform(seed: int, *shape: int) -> Tensor:
    n = torch.Size(shape).numel()
    return torch.from_numpy(rng(seed, Stream.GLYPHS).uniform(n, -1, 1)).view(shape)


IMAGES, LABELS = uniform(1, 6, 3, 16, 16), torch.tensor([0, 1] * 3)
QUERIES, QUERY_LABELS = uniform(2, 8, 3, 16, 16), torch.tensor([1, 0] * 4)


def loss(params: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = LEARNER.logits(params, images, None, training=True)
    return F.cross_entropy(logits, labels), logits


def problem(second_order: bool) -> LossAndGradient:
    def loss_and_gradient(params: Tensor, _: int) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = params if second_order else params.detach().requires_grad_()
            value, _ = loss(leaf, IMAGES, LABELS)
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=second_order)
        return (value, gradient) if second_order else (value.detach(), gradient)

    return loss_and_gradient


def start(recipe: Recipe) -> tuple[MetaParams, Tensor]:
    """Gates half open, so that the learner moves, and everything has a part in it."""
    initial = MetaParams.initial(rng(3, Stream.META_LEARNER_INIT), recipe)
    meta = MetaParams(*(parameter.double() for parameter in initial))
    for parameter in (meta.lstm_weight, meta.forget_weight, meta.input_weight):
        parameter *= 30
    meta.forget_bias, meta.input_bias = meta.forget_bias - 2, meta.input_bias + 4
    return meta, LEARNER.initial(rng(4, Stream.LEARNER_INIT)).double()


def query_loss_after(parts: list[Tensor], recipe: Recipe) -> float:
    with torch.no_grad():
        end = inner_loop(MetaParams(*parts[:-1]), parts[-1], problem(False), SIZES, recipe)
        return float(loss(end.learner_params, QUERIES, QUERY_LABELS)[0])


def finite_difference(parts: list[Tensor], which: int, way: Tensor, recipe: Recipe) -> float:
    ends = []
    for sign in (1, -1):
        moved = [p + sign * STEP * way if i == which else p for i, p in enumerate(parts)]
        ends.append(query_loss_after(moved, recipe))
    return (ends[0] - ends[1]) / (2 * STEP)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(meta_gradient="second-order"),
        Recipe(meta_gradient="second-order", gate_recurrence="gate", gradient_over_batch=False),
        Recipe(meta_gradient="second-order", gates="constant"),
    ],
    ids=["authors-code", "paper", "constant-gates"],
)
def test_second_order_gradients_are_the_slopes_of_the_query_loss(recipe: Recipe) -> None:
    meta, theta_0 = start(recipe)
    value, logits, gradients, of_theta_0 = second_order_gradient(
        meta, theta_0, problem(True), SIZES, lambda p: loss(p, QUERIES, QUERY_LABELS), recipe
    )
    parts, found = [*meta, theta_0], [*gradients, of_theta_0]
    assert float(value) == pytest.approx(query_loss_after(parts, recipe), abs=1e-14)
    assert logits.shape == (8, 2)
    assert not value.requires_grad
    with torch.no_grad():
        trajectory = inner_loop(meta, theta_0, problem(False), SIZES, recipe)
    end = trajectory.learner_params.requires_grad_()
    (upstream,) = torch.autograd.grad(loss(end, QUERIES, QUERY_LABELS)[0], end)
    first, first_theta_0 = replay_backward(meta, theta_0, trajectory, upstream, recipe)
    apart = 0.0
    for which, (part, gradient, of_first) in enumerate(
        zip(parts, found, [*first, first_theta_0], strict=True)
    ):
        for seed in range(3):
            way = uniform(100 + seed, *part.shape)
            slope = finite_difference(parts, which, way, recipe)
            assert float((gradient.detach() * way).sum()) == pytest.approx(
                slope, rel=2e-5, abs=1e-8
            )
            apart = max(apart, abs(float((of_first * way).sum()) - slope) / max(abs(slope), 1e-3))
    assert apart > 0.1, "first order leaves something out"


@pytest.mark.parametrize(
    ("switches", "precision"),
    [("", "bf16"), (",theta_0=random", "fp32"), (",gates=constant", "fp32")],
)
def test_a_second_order_step_learns_from_another_gradient_than_a_first_order_one(
    switches: str, precision: str, tiny_pack: Path
) -> None:
    split = open_pack(tiny_pack, "train")

    def stepped(order: str) -> tuple[float, dict[str, Tensor]]:
        recipe = config.recipe(f"authors-code,meta_gradient={order}{switches}")
        setting = Setting(16, len(split.class_ids), 5, 5, recipe, 0, precision)
        method = MetaLSTM(setting)
        return method.train_step(SplitImages(split, setting), 0).loss, method.state()

    (first_loss, first), (second_loss, second) = stepped("first-order"), stepped("second-order")
    assert second_loss == pytest.approx(first_loss, rel=1e-3)  # the same episode, the same start
    moment = "adam.input_bias.exp_avg"
    assert bool(torch.isfinite(second[moment]).all())
    assert not torch.allclose(first[moment], second[moment], rtol=1e-3, atol=0)
    assert ("adam.theta_0.exp_avg" in second) == (switches != ",theta_0=random")
