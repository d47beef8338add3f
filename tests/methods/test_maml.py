"""MAML's gradients against finite differences and a plain loop; what its predictions read."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.conv4 import Conv4
from repro.methods.maml import MAML, FirstOrderMAML
from repro.system.seeding import Stream, rng
from tests.methods.random_images import Exact, episode, images, initial, mixed, setting

TINY = Conv4(n_filter=3, n_output=5, image_size=16)


def tiny(kind: type[MAML], k_shot: int) -> MAML:
    method = kind(setting(k_shot))
    method.learner = TINY
    return method


def cross_entropy(params: Tensor, batch: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(TINY.logits(params, batch, None, training=True), labels)


def of_episode(index: int, k_shot: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    made = setting(k_shot)
    pixels, drawn = images(made, Exact), episode(k_shot, index, "train")
    return (
        pixels.gather(drawn.support),
        torch.from_numpy(drawn.support_labels),
        pixels.gather(drawn.query),
        torch.from_numpy(drawn.query_labels),
    )


def test_the_second_order_gradient_is_that_of_finite_differences() -> None:
    method = tiny(MAML, 1)
    support, labels, query, target = of_episode(0, 1)

    def query_loss(theta_0: Tensor, second_order: bool) -> Tensor:
        params = method.adapt(theta_0, support, labels, 5, second_order)
        return cross_entropy(params, query, target)

    theta_0 = initial(TINY).double()
    gradients = {}
    for second_order in (True, False):
        leaf = theta_0.clone().requires_grad_()
        (gradients[second_order],) = torch.autograd.grad(query_loss(leaf, second_order), leaf)
    # Rectifiers and poolings switch somewhere: a longer step meets jumps of the inner gradient.
    n, step, apart = TINY.n_param, 1e-7, []
    for index in range(5):
        direction = torch.from_numpy(rng(index, Stream.VERIFY).uniform(n, -1, 1))
        ends = [query_loss(theta_0 + sign * step * direction, False) for sign in (1, -1)]
        slope = float(ends[0] - ends[1]) / (2 * step)
        assert float(gradients[True] @ direction) == pytest.approx(slope, rel=1e-6)
        apart.append(abs(float(gradients[False] @ direction) - slope))
    assert max(apart) > 1e-3  # the first-order gradient is another one


@pytest.mark.parametrize("kind", [MAML, FirstOrderMAML])
@pytest.mark.parametrize(("k_shot", "meta_batch"), [(1, 4), (5, 2)])
def test_a_training_step_is_adams_on_a_plain_loop(
    kind: type[MAML], k_shot: int, meta_batch: int
) -> None:
    theta_0 = initial(TINY).double().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for index in range(3 * meta_batch, 4 * meta_batch):
        support, labels, query, target = of_episode(index, k_shot)
        params = theta_0
        for _ in range(5):
            loss = cross_entropy(params, support, labels)
            (gradient,) = torch.autograd.grad(loss, params, create_graph=True)
            # 0.01 for a loss that is summed over images and divided by the shot
            params = params - 0.05 * (gradient if kind is MAML else gradient.detach())
        total = total + cross_entropy(params, query, target) / meta_batch
    (expected,) = torch.autograd.grad(total, theta_0)
    method = tiny(kind, k_shot)
    start = initial(TINY)
    method.theta_0.data = start.clone()
    result = method.train_step(images(method.setting), 3)
    assert result.loss == pytest.approx(total.item(), rel=1e-4)
    # Adam's first step is the learning rate against the sign of the gradient.
    step = (method.theta_0.detach() - start).double()
    clear = expected.abs() > 1e-4
    assert clear.sum() > 100
    torch.testing.assert_close(step[clear], -1e-3 * expected[clear].sign(), rtol=0, atol=1e-5)


def test_entries_of_the_meta_gradient_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def cut(parameters: list[Tensor], value: float) -> None:
        seen.append(value)
        assert parameters[0].grad is not None
        parameters[0].grad.clamp_(-value, value)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_value_", cut)
    method = tiny(FirstOrderMAML, 1)
    method.theta_0.data = initial(TINY)
    method.train_step(images(method.setting), 0)
    assert seen == [10.0]


def test_a_test_makes_ten_steps_and_normalises_by_the_query_batch() -> None:
    method = MAML(setting(1))
    method.theta_0 = method.theta_0.detach().double()
    pixels, drawn = images(method.setting, Exact), episode(1)
    params = method.theta_0.detach()
    support, labels = pixels.gather(drawn.support), torch.from_numpy(drawn.support_labels)
    logits = method.learner.logits
    for _ in range(10):
        leaf = params.clone().requires_grad_()
        loss = F.cross_entropy(logits(leaf, support, None, training=True), labels)
        params = params - 0.05 * torch.autograd.grad(loss, leaf)[0]
    expected = logits(params, pixels.gather(drawn.query), None, training=True).log_softmax(1)
    actual = method.predict(drawn, pixels)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-9)
    other = method.predict(mixed(drawn, episode(1, 1)), pixels)
    assert (other[0] - actual[0]).abs().max() > 1e-3  # transductive: the other queries count


def test_several_episodes_at_once_are_each_as_alone() -> None:
    method = FirstOrderMAML(setting(5))
    method.theta_0 = method.theta_0.detach().double()
    pixels, drawn = images(method.setting, Exact), [episode(5, index) for index in range(3)]
    together = method.predict_many(drawn, pixels)
    for found, one in zip(together, drawn, strict=True):
        torch.testing.assert_close(found, method.predict(one, pixels), rtol=0, atol=1e-9)
