"""The meta-learner's cell with a backward of its own: the same numbers, several times faster.

``meta_learner.step`` is the readable reference and the oracle of this file's test. Here the
coordinates are cut into blocks whose states fit in a core's cache, and what the backward pass
needs is kept on a tape instead of being computed again. Only the first-order meta-gradient has
this form: gradients and losses are constants, so coordinates do not depend on each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repro.learner.meta_learner import MetaParams, preprocess
from repro.papers.config import Recipe

BLOCK = 4096  # coordinates


class Tape:
    """An inner loop of ``n_step`` updates on ``n`` coordinates, block by block.

    Every buffer has the block first; the last block is padded with coordinates that stay 0.
    """

    def __init__(self, n: int, n_step: int, meta: MetaParams, block: int = BLOCK) -> None:
        self.n, self.n_step, self.block = n, n_step, block
        hidden = self.n_hidden = meta.lstm_weight.shape[0] // 4
        blocks = self.n_block = -(-n // block)
        new = meta.lstm_weight.new_empty
        self.inputs = new((blocks, n_step + 1, 4 + hidden, block))  # features, h before the step
        self.gates = new((blocks, n_step, 4 * hidden, block))  # in, forget, out; candidate
        self.cell = new((blocks, n_step + 1, hidden, block))
        self.tanh_cell = new((blocks, n_step, hidden, block))
        self.theta = new((blocks, n_step + 1, block))
        self.recurrent = new((blocks, n_step + 1, 2, block))  # forget, input
        self.opened = new((blocks, n_step, 2, block))  # forget gate, input gate
        self.gradient = new((blocks, n_step, block))

    def _blocks(self, flat: Tensor) -> Tensor:
        padding = self.n_block * self.block - self.n
        return torch.nn.functional.pad(flat, (0, padding)).view(self.n_block, self.block)

    def start(self, theta_0: Tensor) -> None:
        """Zero states around ``theta_0`` ``[n]``."""
        self.theta[:, 0] = self._blocks(theta_0)
        for state in (self.inputs[:, 0, 4:], self.cell[:, 0], self.recurrent[:, 0]):
            state.zero_()

    def learner_params(self, index: int) -> Tensor:
        """theta before step ``index``, ``[n]``."""
        return self.theta[:, index].reshape(-1)[: self.n]

    def step(
        self, meta: MetaParams, index: int, gradient: Tensor, loss: Tensor, recipe: Recipe
    ) -> None:
        """Update number ``index`` with ``gradient`` ``[n]`` and ``loss`` ``[1]``."""
        hidden = self.n_hidden
        weight = torch.stack([meta.forget_weight, meta.input_weight])
        bias = torch.stack([meta.forget_bias, meta.input_bias])
        lstm_bias = meta.lstm_bias[:, None]
        self.gradient[:, index] = self._blocks(gradient)
        self.inputs[:, index, :2] = preprocess(loss)
        for b in range(self.n_block):
            inputs, gates = self.inputs[b, index], self.gates[b, index]
            inputs[2:4] = preprocess(self.gradient[b, index])
            torch.addmm(lstm_bias, meta.lstm_weight, inputs, out=gates)
            gates[: 3 * hidden].sigmoid_()
            gates[3 * hidden :].tanh_()
            enter, keep, leave, candidate = gates.chunk(4)
            cell, tanh_cell = self.cell[b, index + 1], self.tanh_cell[b, index]
            torch.mul(keep, self.cell[b, index], out=cell)
            cell.addcmul_(enter, candidate)
            torch.tanh(cell, out=tanh_cell)
            output = self.inputs[b, index + 1, 4:]
            torch.mul(leave, tanh_cell, out=output)
            theta, opened = self.theta[b, index], self.opened[b, index]
            logit = torch.addmm(bias, weight[:, :hidden], output)
            logit.addcmul_(weight[:, hidden, None], theta)
            logit.addcmul_(weight[:, hidden + 1, None], self.recurrent[b, index])
            torch.sigmoid(logit, out=opened)
            self.recurrent[b, index + 1] = logit if recipe.gate_recurrence == "logit" else opened
            torch.mul(opened[0], theta, out=self.theta[b, index + 1])
            self.theta[b, index + 1].addcmul_(opened[1], self.gradient[b, index], value=-1)

    def backward(
        self, meta: MetaParams, upstream: Tensor, recipe: Recipe
    ) -> tuple[list[Tensor], Tensor]:
        """Gradients of the meta parameters, in their order, and of theta_0 ``[n]``.

        Args:
            upstream: d(query loss) / d(theta_T), ``[n]``.
        """
        hidden = self.n_hidden
        logit_recurs = recipe.gate_recurrence == "logit"
        weight = torch.stack([meta.forget_weight, meta.input_weight])
        of_lstm = torch.zeros_like(meta.lstm_weight)
        of_lstm_bias = torch.zeros_like(meta.lstm_bias)
        of_weight = torch.zeros_like(weight)
        of_bias = weight.new_zeros(2)
        of_theta_0 = torch.empty_like(self.theta[:, 0])
        blocks = self._blocks(upstream)
        of_gates = weight.new_empty((4 * hidden, self.block))
        scratch = weight.new_empty((3 * hidden, self.block))
        into_hidden = meta.lstm_weight[:, 4:].T.contiguous()
        for b in range(self.n_block):
            of_theta = blocks[b]
            of_recurrent = weight.new_zeros((2, self.block))
            of_hidden = weight.new_zeros((hidden, self.block))
            of_cell = weight.new_zeros((hidden, self.block))
            for index in reversed(range(self.n_step)):
                theta, opened = self.theta[b, index], self.opened[b, index]
                # theta_t = f * theta_{t-1} - i * gradient
                of_opened = torch.stack([theta, -self.gradient[b, index]]) * of_theta
                if not logit_recurs:
                    of_opened += of_recurrent
                of_logit = torch.ops.aten.sigmoid_backward(of_opened, opened)
                if logit_recurs:
                    of_logit += of_recurrent
                output = self.inputs[b, index + 1, 4:]
                of_weight[:, :hidden] += of_logit @ output.T
                of_weight[:, hidden] += of_logit @ theta
                of_weight[:, hidden + 1] += (of_logit * self.recurrent[b, index]).sum(1)
                of_bias += of_logit.sum(1)
                of_recurrent = of_logit * weight[:, hidden + 1, None]
                of_theta = opened[0] * of_theta + weight[:, hidden] @ of_logit

                of_hidden.addmm_(weight[:, :hidden].T, of_logit)
                gates, tanh_cell = self.gates[b, index], self.tanh_cell[b, index]
                enter, keep, leave, candidate = gates.chunk(4)
                of_cell += torch.ops.aten.tanh_backward(of_hidden * leave, tanh_cell)
                torch.mul(of_cell, candidate, out=scratch[:hidden])
                torch.mul(of_cell, self.cell[b, index], out=scratch[hidden : 2 * hidden])
                torch.mul(of_hidden, tanh_cell, out=scratch[2 * hidden :])
                torch.ops.aten.sigmoid_backward.grad_input(
                    scratch, gates[: 3 * hidden], grad_input=of_gates[: 3 * hidden]
                )
                torch.ops.aten.tanh_backward.grad_input(
                    of_cell * enter, candidate, grad_input=of_gates[3 * hidden :]
                )
                of_lstm.addmm_(of_gates, self.inputs[b, index].T)
                of_lstm_bias += of_gates.sum(1)
                torch.mm(into_hidden, of_gates, out=of_hidden)
                of_cell *= keep
            of_theta_0[b] = of_theta
        gradients = [of_lstm, of_lstm_bias, of_weight[0], of_bias[:1], of_weight[1], of_bias[1:]]
        return gradients, of_theta_0.reshape(-1)[: self.n]
