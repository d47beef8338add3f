"""The cell and its meta-gradient against independent computations, in float64."""

import math

import pytest
import torch
from torch import Tensor

from repro.learner.meta_learner import MetaParams, inner_loop, preprocess, replay_backward
from repro.papers.config import Recipe
from repro.system.seeding import Stream, rng

N = 37
SIZES = [5] * 6


def double(meta: MetaParams) -> MetaParams:
    return MetaParams(*(parameter.double() for parameter in meta))


def random_meta(recipe: Recipe, scale: float = 20.0) -> MetaParams:
    meta = double(MetaParams.initial(rng(3, Stream.META_LEARNER_INIT), recipe))
    for parameter in (meta.lstm_weight, meta.forget_weight, meta.input_weight):
        parameter *= scale
    return meta


def quadratic(theta: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """A loss whose gradient is known: 0.5 sum_j a_j (theta_j - index)^2; constants of the graph."""
    curvature = torch.linspace(0.1, 2.0, len(theta), dtype=theta.dtype)
    error = theta.detach() - index
    return 0.5 * (curvature * error**2).sum(), curvature * error


def theta() -> Tensor:
    return torch.from_numpy(rng(0, Stream.LEARNER_INIT).uniform(N, -1, 1))


@pytest.mark.parametrize("x", [1.0, -3.0, 1e-3, math.exp(-10), -1e-6, 0.0, 1e8])
def test_preprocessing_follows_the_formula(x: float) -> None:
    if abs(x) >= math.exp(-10):
        expected = [math.log(abs(x)) / 10, math.copysign(1, x)]
    else:
        expected = [-1.0, math.exp(10) * x]
    actual = preprocess(torch.tensor([x], dtype=torch.float64))[:, 0]
    torch.testing.assert_close(
        actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
    )


def test_open_forget_gate_and_constant_input_gate_is_gradient_descent() -> None:
    lr = 0.1
    recipe = Recipe(gates="constant", gradient_over_batch=False)
    meta = random_meta(recipe)
    meta.forget_bias = torch.tensor([60.0], dtype=torch.float64)  # sigmoid rounds to exactly 1
    meta.input_bias = torch.tensor([math.log(lr / (1 - lr))], dtype=torch.float64)
    actual = inner_loop(meta, theta(), quadratic, SIZES, recipe).learner_params
    expected = theta()
    for index in range(len(SIZES)):
        expected = expected - lr * quadratic(expected, index)[1]
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("recurrence", ["logit", "gate"])
def test_the_cell_equals_a_loop_over_coordinates(recurrence: str) -> None:
    recipe = Recipe(gate_recurrence=recurrence)  # type: ignore[arg-type]
    meta = random_meta(recipe)
    trajectory = inner_loop(meta, theta(), quadratic, SIZES, recipe)
    weight_ih, weight_hh = meta.lstm_weight[:, :4], meta.lstm_weight[:, 4:]

    def torch_order(x: Tensor) -> Tensor:  # nn.LSTMCell has (input, forget, candidate, output)
        enter, keep, leave, candidate = x.split(20)
        return torch.cat([enter, keep, candidate, leave])

    lstm = torch.nn.LSTMCell(4, 20, dtype=torch.float64)
    with torch.no_grad():
        lstm.weight_ih.copy_(torch_order(weight_ih))
        lstm.weight_hh.copy_(torch_order(weight_hh))
        lstm.bias_ih.copy_(torch_order(meta.lstm_bias))
        lstm.bias_hh.zero_()
        for j in range(N):
            value = theta()[j]
            h = c = torch.zeros(1, 20, dtype=torch.float64)
            forget = enter = torch.zeros((), dtype=torch.float64)
            for loss, gradient in zip(trajectory.losses, trajectory.gradients, strict=True):
                x = torch.cat([preprocess(loss)[:, 0], preprocess(gradient[j : j + 1])[:, 0]])
                h, c = lstm(x[None], (h, c))
                seen = torch.cat([h[0], value[None], forget[None]])
                forget_logit = seen @ meta.forget_weight + meta.forget_bias[0]
                seen = torch.cat([h[0], value[None], enter[None]])
                input_logit = seen @ meta.input_weight + meta.input_bias[0]
                value = forget_logit.sigmoid() * value - input_logit.sigmoid() * gradient[j]
                forget = forget_logit if recurrence == "logit" else forget_logit.sigmoid()
                enter = input_logit if recurrence == "logit" else input_logit.sigmoid()
            torch.testing.assert_close(trajectory.learner_params[j], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(gate_recurrence="gate", gates="constant")])
def test_replay_in_blocks_equals_autograd_through_the_whole_loop(recipe: Recipe) -> None:
    meta = random_meta(recipe)
    upstream = torch.linspace(-1, 1, N, dtype=torch.float64)
    whole = MetaParams(*(parameter.clone().requires_grad_() for parameter in meta))
    start = theta().requires_grad_()
    end = inner_loop(whole, start, quadratic, SIZES, recipe).learner_params
    expected = torch.autograd.grad(end, [*whole, start], upstream, materialize_grads=True)
    with torch.no_grad():
        trajectory = inner_loop(meta, theta(), quadratic, SIZES, recipe)
    totals, of_start = replay_backward(meta, theta(), trajectory, upstream, recipe, block=10)
    for actual, reference in zip([*totals, of_start], expected, strict=True):
        torch.testing.assert_close(actual, reference, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_divided_again_by_the_batch_only_in_the_authors_recipe() -> None:
    for divided, factor in ((True, 5.0), (False, 1.0)):
        recipe = Recipe(gradient_over_batch=divided)
        trajectory = inner_loop(random_meta(recipe), theta(), quadratic, [5], recipe)
        expected = quadratic(theta(), 0)[1] / factor
        torch.testing.assert_close(trajectory.gradients[0], expected, rtol=0, atol=1e-15)


def test_initial_gates_are_nearly_closed_and_nearly_open() -> None:
    for seed in range(5):
        meta = MetaParams.initial(rng(seed, Stream.META_LEARNER_INIT), Recipe())
        assert 4 <= float(meta.forget_bias) <= 5
        assert -5 <= float(meta.input_bias) <= -4
        assert max(float(p.abs().max()) for p in (meta.lstm_weight, meta.input_weight)) <= 0.01


def test_first_order_gradients_do_not_flow_through_the_learners_gradient() -> None:
    # With a forget gate of exactly 1, d(theta_T)/d(theta_0) is 1 to first order, whatever the
    # curvature; through the learner's gradient it would be prod(1 - 0.1 a_j).
    recipe = Recipe(gates="constant", gradient_over_batch=False)
    meta = random_meta(recipe)
    meta.forget_bias = torch.tensor([60.0], dtype=torch.float64)
    meta.input_bias = torch.tensor([math.log(0.1 / 0.9)], dtype=torch.float64)
    upstream = torch.linspace(-1, 1, N, dtype=torch.float64)
    with torch.no_grad():
        trajectory = inner_loop(meta, theta(), quadratic, SIZES, recipe)
    _, of_theta_0 = replay_backward(meta, theta(), trajectory, upstream, recipe)
    torch.testing.assert_close(of_theta_0, upstream, rtol=0, atol=1e-12)
    through = upstream * (1 - 0.1 * torch.linspace(0.1, 2.0, N, dtype=torch.float64)) ** len(SIZES)
    assert (of_theta_0 - through).abs().max() > 0.1
