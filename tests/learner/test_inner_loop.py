"""MAML's inner loop is the meta-LSTM's with its gates held constant; both are gradient descent."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.conv4 import Conv4
from repro.learner.inner_loop import ConstantGates, on_support, run
from repro.learner.meta_learner import MetaParams, inner_loop
from repro.methods.maml import FirstOrderMAML
from repro.methods.meta_lstm import MetaLSTM
from repro.papers.config import Recipe
from repro.system.seeding import Stream, rng
from tests.methods.random_images import Exact, episode, images, initial, setting

ALPHA = 0.05
CONSTANT = Recipe(gates="constant", gradient_over_batch=False)
LEARNER = Conv4(n_filter=4, n_output=5, image_size=16)


def constant_meta(forget: float, enter: float) -> MetaParams:
    """A meta-learner whose weights are drawn and whose constant gates are the given ones."""
    drawn = MetaParams.initial(rng(0, Stream.META_LEARNER_INIT), CONSTANT)
    meta = MetaParams(*(parameter.double() for parameter in drawn))
    for bias, gate in ((meta.forget_bias, forget), (meta.input_bias, enter)):
        # The sigmoid of 60 rounds to exactly 1.
        bias.fill_(60.0 if gate == 1 else math.log(gate / (1 - gate)))
    return meta


def problem() -> tuple[Tensor, Tensor]:
    n = 10 * 3 * 16 * 16
    support = torch.from_numpy(rng(1, Stream.GLYPHS).uniform(n)).view(10, 3, 16, 16)
    return support, torch.arange(10) % 5


def loss(params: Tensor, batch: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(LEARNER.logits(params, batch, None, training=True), labels)


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("gate", [1.0, 0.97])
def test_constant_gates_are_the_meta_lstm_with_its_gates_held_constant(
    gate: float, second_order: bool
) -> None:
    theta_0 = initial(LEARNER).double().requires_grad_()
    support, labels = problem()
    schedule = [slice(0, 5), slice(5, 10)] * 4
    sizes = [5] * len(schedule)
    given = on_support(loss, support, labels, schedule, second_order)
    mine = run(ConstantGates(gate, ALPHA), theta_0, given, sizes).learner_params
    meta = constant_meta(gate, ALPHA)
    theirs = inner_loop(meta, theta_0, given, sizes, CONSTANT).learner_params
    assert not torch.equal(mine, theta_0)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    upstream = torch.linspace(-1, 1, len(theta_0), dtype=torch.float64)
    gradients = [torch.autograd.grad(end, theta_0, upstream)[0] for end in (mine, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-10)


def test_a_forget_gate_of_one_is_gradient_descent() -> None:
    theta_0 = initial(LEARNER).double()
    support, labels = problem()
    given = on_support(loss, support, labels, [slice(0, 10)] * 6)
    actual = run(ConstantGates(1.0, ALPHA), theta_0, given, [10] * 6).learner_params
    params = torch.nn.Parameter(theta_0.clone())
    descent = torch.optim.SGD([params], lr=ALPHA)
    for _ in range(6):
        descent.zero_grad()
        loss(params, support, labels).backward()
        descent.step()
    torch.testing.assert_close(actual, params.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k_shot", "n_step"), [(1, 12), (5, 8)])
def test_first_order_maml_adapts_as_the_rows_meta_lstm_with_constant_gates(
    k_shot: int, n_step: int
) -> None:
    made = setting(k_shot, CONSTANT)
    maml, lstm = FirstOrderMAML(made), MetaLSTM(made)
    lstm.meta = constant_meta(1.0, maml.rule.input)
    assert torch.equal(maml.theta_0, lstm.theta_0)  # one seed, one initialisation
    pixels, drawn, start = images(made, Exact), episode(k_shot), maml.theta_0.detach().double()
    theirs = lstm.adapt(drawn, pixels, start, None).learner_params
    mine = maml.adapt(
        start, pixels.gather(drawn.support), pixels.labels(drawn.support_labels), n_step
    )
    assert (mine - start).abs().max() > 1e-2
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-10)
