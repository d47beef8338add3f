"""The Meta-Learner LSTM: gradient preprocessing, the two-layer cell, its inner loop.

The learner's flat parameter vector is the cell state of the second layer. Weights are shared by
all coordinates, and each coordinate keeps its own state. Tensors hold coordinates last, so that
every gate is contiguous. Source: Ravi & Larochelle 2017, Sec. 3, and the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from repro.learner.inner_loop import LossAndGradient, Trajectory, gated, run
from repro.papers import paper
from repro.papers.config import Recipe
from repro.system.seeding import Rng

# learner_params -> (mean query loss [], logits)
QueryLoss = Callable[[Tensor], tuple[Tensor, Tensor]]
REPLAY_BLOCK = 8192  # coordinates whose replayed states fit in a core's cache


def preprocess(x: Tensor, p: float = paper.PREPROCESS_P) -> Tensor:
    """Split values of any magnitude into two features of order one.

    Args:
        x: learner gradient ``[n_param]`` or loss ``[1]``, in nats.
    Returns:
        ``[2, len(x)]``: (log|x| / p, sign x) where |x| >= e^-p, else (-1, e^p x).
    Source: Ravi & Larochelle 2017, Sec. 3.2, after Andrychowicz et al. 2016, App. A.
    """
    # Filled where it is needed: a copy from the host could not be part of a CUDA graph.
    smallest = torch.full((), -p, dtype=x.dtype, device=x.device).exp()
    magnitude = x.abs()
    large = magnitude >= smallest
    log = torch.log(torch.where(large, magnitude, smallest)) / p  # no log of 0 in either branch
    return torch.stack([torch.where(large, log, -1.0), torch.where(large, x.sign(), x / smallest)])


@dataclass
class MetaParams:
    """The meta-learner's own parameters; the learned theta_0 is kept beside them.

    ``lstm_weight [4 * n_hidden, 4 + n_hidden]`` and ``lstm_bias [4 * n_hidden]`` in gate order
    (input, forget, output, candidate); ``*_weight [n_hidden + 2]`` act on (h, theta, recurrent).
    """

    lstm_weight: Tensor
    lstm_bias: Tensor
    forget_weight: Tensor
    forget_bias: Tensor
    input_weight: Tensor
    input_bias: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter(getattr(self, field.name) for field in fields(self))

    @classmethod
    def initial(cls, rng: Rng, recipe: Recipe) -> MetaParams:
        """Initial values: all uniform in +-0.01, except b_F in [4, 5] and b_I in [-5, -4]."""
        n_hidden = recipe.hidden_size

        def uniform(shape: tuple[int, ...], low: float, high: float) -> Tensor:
            n = torch.Size(shape).numel()
            return torch.from_numpy(rng.uniform(n, low, high)).to(torch.float32).view(shape)

        bound = 0.01 if recipe.lstm_init == "0.01" else n_hidden**-0.5
        return cls(
            lstm_weight=uniform((4 * n_hidden, 4 + n_hidden), -bound, bound),
            lstm_bias=uniform((4 * n_hidden,), -bound, bound),
            forget_weight=uniform((n_hidden + 2,), -0.01, 0.01),
            forget_bias=uniform((1,), 4.0, recipe.forget_bias_high),
            input_weight=uniform((n_hidden + 2,), -0.01, 0.01),
            input_bias=uniform((1,), -5.0, -4.0),
        )


@dataclass
class CellState:
    """State of every coordinate: ``hidden``, ``cell`` ``[n_hidden, n]``; the others ``[n]``."""

    hidden: Tensor
    cell: Tensor
    learner_params: Tensor
    forget_recurrent: Tensor
    input_recurrent: Tensor

    @classmethod
    def start(cls, learner_params: Tensor, n_hidden: int) -> CellState:
        """Zero states around initial learner parameters."""
        zeros = learner_params.new_zeros(n_hidden, learner_params.shape[0])
        flat = torch.zeros_like(learner_params)
        return cls(zeros, zeros, learner_params, flat, flat)


def step(
    meta: MetaParams, state: CellState, gradient: Tensor, features: Tensor, recipe: Recipe
) -> tuple[CellState, Tensor, Tensor]:
    """One update of every coordinate.

    Args:
        gradient: ``[n]``, what the input gate multiplies.
        features: ``[4, n]``, preprocessed loss and gradient.
    Returns:
        The new state, and the forget and input gates ``[n]`` after the sigmoid.
    """
    n_hidden = state.hidden.shape[0]
    gates = torch.addmm(
        meta.lstm_bias[:, None], meta.lstm_weight, torch.cat([features, state.hidden])
    )
    opened = gates[: 3 * n_hidden].sigmoid()
    candidate = gates[3 * n_hidden :].tanh()
    enter, keep, leave = opened.chunk(3)
    cell = keep * state.cell + enter * candidate
    hidden = leave * cell.tanh()

    def gate_logit(weight: Tensor, bias: Tensor, recurrent: Tensor) -> Tensor:
        logit: Tensor = (
            weight[:n_hidden] @ hidden
            + weight[n_hidden] * state.learner_params
            + weight[n_hidden + 1] * recurrent
            + bias
        )
        return logit

    forget_logit = gate_logit(meta.forget_weight, meta.forget_bias, state.forget_recurrent)
    input_logit = gate_logit(meta.input_weight, meta.input_bias, state.input_recurrent)
    if recipe.gates == "constant":
        # The learned rule switched off: a learned but constant decay and learning rate.
        forget_logit = meta.forget_bias.expand_as(forget_logit)
        input_logit = meta.input_bias.expand_as(input_logit)
    forget_gate, input_gate = forget_logit.sigmoid(), input_logit.sigmoid()
    learner_params = gated(state.learner_params, gradient, forget_gate, input_gate)
    # The authors feed the logit back, the paper's equation the gate.
    logit_recurs = recipe.gate_recurrence == "logit"
    new = CellState(
        hidden=hidden,
        cell=cell,
        learner_params=learner_params,
        forget_recurrent=forget_logit if logit_recurs else forget_gate,
        input_recurrent=input_logit if logit_recurs else input_gate,
    )
    return new, forget_gate, input_gate


def _features(loss: Tensor, gradient: Tensor) -> Tensor:
    return torch.cat([preprocess(loss).expand(2, gradient.shape[0]), preprocess(gradient)])


class LearnedGates:
    """The meta-learner as the rule of an inner loop that starts at ``theta_0`` ``[n]``."""

    def __init__(self, meta: MetaParams, theta_0: Tensor, recipe: Recipe) -> None:
        self.meta, self.recipe = meta, recipe
        self.state = CellState.start(theta_0, meta.lstm_weight.shape[0] // 4)

    def __call__(
        self, learner_params: Tensor, loss: Tensor, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Rule.__call__``; the parameters are the cell's own state."""
        features = _features(loss, gradient)
        self.state, forget_gate, input_gate = step(
            self.meta, self.state, gradient, features, self.recipe
        )
        return self.state.learner_params, forget_gate, input_gate


def inner_loop(
    meta: MetaParams,
    theta_0: Tensor,
    loss_and_gradient: LossAndGradient,
    batch_sizes: Sequence[int],
    recipe: Recipe,
    trace: bool = False,
) -> Trajectory:
    """As :func:`repro.learner.inner_loop.run`, with the meta-learner's gates."""
    rule = LearnedGates(meta, theta_0, recipe)
    return run(rule, theta_0, loss_and_gradient, batch_sizes, recipe.gradient_over_batch, trace)


def second_order_gradient(
    meta: MetaParams,
    theta_0: Tensor,
    loss_and_gradient: LossAndGradient,
    batch_sizes: Sequence[int],
    query_loss: QueryLoss,
    recipe: Recipe,
) -> tuple[Tensor, Tensor, list[Tensor], Tensor]:
    """The whole meta-gradient: also through the losses and gradients that are fed in.

    Args:
        loss_and_gradient: gives both as functions of the learner's parameters, with a graph.
    Returns:
        Query loss ``[]`` and logits, and the gradients of the meta parameters, in their order,
        and of theta_0 ``[n_param]``.
    """
    params = [parameter.detach().requires_grad_() for parameter in meta]
    start = theta_0.detach().requires_grad_()
    with torch.enable_grad():
        end = inner_loop(MetaParams(*params), start, loss_and_gradient, batch_sizes, recipe)
        loss, logits = query_loss(end.learner_params)
    # With constant gates the first layer does not matter: its gradients are zeros.
    found = torch.autograd.grad(loss, [*params, start], materialize_grads=True)
    return loss.detach(), logits.detach(), list(found[:-1]), found[-1]


def replay_backward(
    meta: MetaParams,
    theta_0: Tensor,
    trajectory: Trajectory,
    upstream: Tensor,
    recipe: Recipe,
    block: int = REPLAY_BLOCK,
) -> tuple[list[Tensor], Tensor]:
    """First-order meta-gradient of an inner loop that was run without a graph.

    Because gradients and losses are constants, coordinates do not depend on each other, so the
    loop is replayed for one block of coordinates at a time, whose states fit in cache.

    Args:
        upstream: d(query loss) / d(theta_T), ``[n_param]``.
    Returns:
        Gradients of the meta parameters, in their order, and of theta_0 ``[n_param]``.
    """
    params = [parameter.detach().requires_grad_() for parameter in meta]
    replayed = MetaParams(*params)
    n_hidden = meta.lstm_weight.shape[0] // 4
    totals = [torch.zeros_like(parameter) for parameter in params]
    of_theta_0 = torch.empty_like(upstream)
    for first in range(0, len(theta_0), block):
        part = slice(first, min(first + block, len(theta_0)))
        start = theta_0[part].detach().requires_grad_()
        state = CellState.start(start, n_hidden)
        for gradient, loss in zip(trajectory.gradients, trajectory.losses, strict=True):
            piece = gradient[part]
            state, _, _ = step(replayed, state, piece, _features(loss, piece), recipe)
        found = torch.autograd.grad(
            state.learner_params, [*params, start], upstream[part], allow_unused=True
        )
        for total, gradient_part in zip(totals, found[:-1], strict=True):
            if gradient_part is not None:
                total += gradient_part
        of_theta_0[part] = found[-1]
    return totals, of_theta_0
