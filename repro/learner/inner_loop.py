"""The inner loop: a learner's updates on a support set, whatever rule makes them.

Every rule here has one form, theta_t = f_t * theta_{t-1} - i_t * gradient_t. The Meta-Learner LSTM
learns the gates f and i (``learner.meta_learner``); with f = 1 and a constant i it is gradient
descent, and that is the inner loop of MAML.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# (learner_params, step) -> (mean loss [], gradient [n_param]); gradients are of this mean loss.
# Several learners in one vector give a loss for each coordinate, [n_param].
LossAndGradient = Callable[[Tensor, int], tuple[Tensor, Tensor]]
# (learner_params, images, labels) -> mean loss []
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Rule(Protocol):
    """Gates of the next update; it may keep a state from one update to the next."""

    def __call__(
        self, learner_params: Tensor, loss: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The new parameters ``[n_param]``, and the forget and input gates that made them.

        Args:
            loss: ``[1]`` or ``[n_param]``, nats. gradient: ``[n_param]``.
        """
        ...


def gated(params: Tensor, gradient: Tensor, forget_gate: Tensor, input_gate: Tensor) -> Tensor:
    """One update, ``[n_param]``: theta_t = f_t * theta_{t-1} - i_t * gradient_t."""
    return forget_gate * params - input_gate * gradient


@dataclass(frozen=True)
class ConstantGates:
    """The same gates for every coordinate and step; ``forget`` 1 makes it gradient descent."""

    forget: float
    input: float

    def __call__(
        self, learner_params: Tensor, loss: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`Rule.__call__`; gates ``[]``."""
        forget_gate = learner_params.new_full((), self.forget)
        input_gate = learner_params.new_full((), self.input)
        new = gated(learner_params, gradient, forget_gate, input_gate)
        return new, forget_gate, input_gate


@dataclass
class Trajectory:
    """An inner loop: the constants fed in at each step, and what came out.

    Attributes:
        learner_params: the last parameters ``[n_param]``.
        gradients: ``[n_param]`` per step.
        losses: ``[1]`` per step, nats (``[n_param]`` where coordinates are of several learners).
        forget_gates, input_gates: ``[n_param]`` per step when traced, else empty.
    """

    learner_params: Tensor
    gradients: list[Tensor]
    losses: list[Tensor]
    forget_gates: list[Tensor]
    input_gates: list[Tensor]


def run(
    rule: Rule,
    theta_0: Tensor,
    loss_and_gradient: LossAndGradient,
    batch_sizes: Sequence[int],
    gradient_over_batch: bool = False,
    trace: bool = False,
) -> Trajectory:
    """Run ``len(batch_sizes)`` updates from ``theta_0`` ``[n_param]``.

    ``loss_and_gradient`` decides what is differentiable: where it returns detached tensors (first
    order) they are constants of the graph. With ``gradient_over_batch`` the gradient of the mean
    loss is divided once more by the batch size, as Ravi and Larochelle's code does.
    """
    trajectory = Trajectory(theta_0, [], [], [], [])
    for index, batch_size in enumerate(batch_sizes):
        loss, gradient = loss_and_gradient(trajectory.learner_params, index)
        loss = loss.reshape(-1)
        if gradient_over_batch:
            gradient = gradient / batch_size
        found = rule(trajectory.learner_params, loss, gradient)
        trajectory.learner_params, forget_gate, input_gate = found
        trajectory.gradients.append(gradient)
        trajectory.losses.append(loss)
        if trace:
            trajectory.forget_gates.append(forget_gate)
            trajectory.input_gates.append(input_gate)
    return trajectory


def on_support(
    loss: Loss,
    support: Tensor,
    labels: Tensor,
    schedule: Sequence[slice],
    second_order: bool = False,
) -> LossAndGradient:
    """Loss and gradient on the batch of a support set that a step sees.

    Args:
        support: ``[n_way * k_shot, 3, H, W]``. labels: ``[n_way * k_shot]``.
        schedule: the batch of each step, as a slice of the first dimension of both.
        second_order: both stay functions of the parameters; else both are constants.
    """

    def loss_and_gradient(params: Tensor, index: int) -> tuple[Tensor, Tensor]:
        part = schedule[index]
        with torch.enable_grad():
            leaf = params if second_order else params.detach().requires_grad_()
            value = loss(leaf, support[part], labels[part])
            (gradient,) = torch.autograd.grad(value, leaf, create_graph=second_order)
        return value if second_order else value.detach(), gradient

    return loss_and_gradient
