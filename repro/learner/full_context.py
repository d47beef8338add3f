"""Full context embeddings (FCE): the support set and the queries read each other.

Source: Vinyals et al. 2016, Sec. 2.1.2 and App. A; the switches are where the code of Ravi &
Larochelle departs from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from repro.papers import paper
from repro.papers.config import Recipe
from repro.system.seeding import Rng


class _Recurrence(torch.autograd.Function):
    """The steps of an LSTM over one sequence: its large matrix is read once a step, each way."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor) -> Tensor:
        """Hidden states ``[n, n_hidden]`` from the inputs' part of the gates ``[n, 4 n_hidden]``.

        Args:
            weight: ``[4 * n_hidden, n_hidden]``, on the hidden state before.
        """
        n, hidden = inputs.shape[0], weight.shape[1]
        states = inputs.new_zeros(n + 1, hidden)
        cells, gates = torch.zeros_like(states), torch.empty_like(inputs)
        for t in range(n):
            # The first hidden state is 0.
            logits = inputs[t] + weight @ states[t] if t else inputs[t]
            enter, keep, candidate, leave = logits.chunk(4)
            torch.cat(
                [enter.sigmoid(), keep.sigmoid(), candidate.tanh(), leave.sigmoid()], out=gates[t]
            )
            enter, keep, candidate, leave = gates[t].chunk(4)
            cells[t + 1] = keep * cells[t] + enter * candidate
            states[t + 1] = leave * cells[t + 1].tanh()
        ctx.save_for_backward(weight, states, cells, gates)
        return states[1:].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_states: Tensor) -> tuple[Tensor, Tensor]:
        weight, states, cells, gates = ctx.saved_tensors
        of_inputs, of_cell = torch.empty_like(gates), torch.zeros_like(states[0])
        of_hidden = of_cell
        for t in reversed(range(len(gates))):
            of_hidden = of_hidden + of_states[t]
            enter, keep, candidate, leave = gates[t].chunk(4)
            tanh_cell = cells[t + 1].tanh()
            of_cell = of_cell + of_hidden * leave * (1 - tanh_cell * tanh_cell)
            torch.cat(
                [
                    of_cell * candidate * enter * (1 - enter),
                    of_cell * cells[t] * keep * (1 - keep),
                    of_cell * enter * (1 - candidate * candidate),
                    of_hidden * tanh_cell * leave * (1 - leave),
                ],
                out=of_inputs[t],
            )
            of_cell = of_cell * keep
            if t:
                of_hidden = of_inputs[t] @ weight
        return of_inputs, of_inputs.T @ states[:-1]


def recurrence(sequence: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    """An LSTM with torch's weights over ``[n, n_input]``: its outputs ``[n, n_hidden]``."""
    found: Tensor = _Recurrence.apply(F.linear(sequence, weight_ih, bias), weight_hh)
    return found


class FullContext(nn.Module):
    """A bidirectional LSTM over the support sequence and an attention LSTM for the queries.

    Each LSTM has one bias vector, as in the authors' code; Vinyals et al. do not say how many.
    torch's have two that are added: trained both, a bias would learn at twice the rate and count
    twice in a gradient's norm. So the second is held at zero.
    """

    def __init__(self, n_feature: int, recipe: Recipe, rng: Rng) -> None:
        super().__init__()
        self.recipe = recipe
        self.bidirectional = nn.LSTM(n_feature, n_feature, bidirectional=True)
        self.attention = nn.LSTMCell(2 * n_feature, n_feature)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                second_bias = "bias_hh" in name
                parameter.requires_grad_(not second_bias)
                if recipe.fce_init == "zero" or second_bias:
                    parameter.zero_()
                else:
                    bound = n_feature**-0.5
                    values = rng.uniform(parameter.numel(), -bound, bound)
                    parameter.copy_(torch.from_numpy(values).view(parameter.shape))

    def support(self, features: Tensor) -> Tensor:
        """g(x_i) = g'(x_i) + forward + backward output, ``[n_support, n_feature]``, in sequence."""

        def run(sequence: Tensor, suffix: str) -> Tensor:
            names = ("weight_ih", "weight_hh", "bias_ih")
            parts = (self.bidirectional.get_parameter(f"{name}_l0{suffix}") for name in names)
            return recurrence(sequence, *parts)

        forward = run(features, "")
        backward = run(features.flip(0), "_reverse").flip(0)
        if self.recipe.fce_backward == "reversed":
            # The authors' code adds the outputs in the order in which they are computed.
            backward = backward.flip(0)
        embedded: Tensor = features + forward + backward
        return embedded

    def query(self, features: Tensor, support: Tensor) -> Tensor:
        """The queries' embeddings after three reads of the support set.

        Args:
            features: f'(x) ``[n_query, n_feature]``. support: g ``[n_support, n_feature]``.
        """
        # An LSTM cell whose products are made where their inputs change: those of f'(x) once, and
        # a read that all queries share as one row. A third of the arithmetic of nn.LSTMCell.
        lstm = self.attention
        # One product with zeros where nothing is known yet: the gradient of two halves of the
        # matrix would be put together by another copy of it.
        shared = torch.stack([support.mean(0), support.sum(0)])
        rows = torch.cat(
            [F.pad(features, (0, shared.shape[1])), F.pad(shared, (shared.shape[1], 0))]
        )
        products = F.linear(rows, lstm.weight_ih)
        fixed, reads = products[:-2] + lstm.bias_ih, products[-2:]
        hidden = cell = torch.zeros_like(features)
        for step in range(paper.FCE_READ_STEPS):
            gates = fixed + reads[0] if step == 0 else fixed + F.linear(hidden, lstm.weight_hh)
            if step > 0 and self.recipe.fce_read == "softmax":
                read = (hidden @ support.T).softmax(1) @ support
                gates = gates + F.linear(read, lstm.weight_ih[:, features.shape[1] :])
            elif step > 0:
                # The authors' softmax normalises rows of one element: every weight is 1.
                gates = gates + reads[1]
            i, f, g, o = gates.chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = features + o.sigmoid() * cell.tanh()
        return hidden
