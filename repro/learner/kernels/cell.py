"""The fused cell (:mod:`repro.learner.fused_cell`) as a native kernel, on a processor.

It keeps the learner's parameters of every step and computes the rest again on the way back.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from repro.learner.kernels.library import at, library
from repro.learner.meta_learner import MetaParams, preprocess
from repro.papers import paper
from repro.papers.config import Recipe

LANES = 16  # coordinates in a vector
TYPES = {torch.float32: "fp32", torch.float64: "fp64"}


def fits(meta: MetaParams, recipe: Recipe) -> bool:
    """Whether the kernel serves: a processor, the published size, learned gates."""
    weight = meta.lstm_weight
    return (
        weight.device.type == "cpu"
        and weight.dtype in TYPES
        and weight.shape[0] == 4 * paper.N_HIDDEN
        and recipe.gates == "learned"
        and library() is not None
    )


class NativeTape:
    """As ``fused_cell.Tape``: an inner loop of ``n_step`` updates on ``n`` coordinates.

    Buffers are padded with coordinates that stay 0.
    """

    def __init__(self, n: int, n_step: int, meta: MetaParams) -> None:
        self.n, self.n_step = n, n_step
        hidden = meta.lstm_weight.shape[0] // 4
        padded = self.n_padded = -(-n // LANES) * LANES
        new = meta.lstm_weight.new_zeros
        self.theta = new((n_step + 1, padded))
        self.state = new((padded, 2 * hidden + 2))
        self.gradient = new((n_step, padded))
        self.features = new((n_step, 2, padded))
        self.of_loss = new((n_step, 2))

    def _meta(self, meta: MetaParams) -> tuple[Tensor, ...]:
        gate = torch.stack([meta.forget_weight, meta.input_weight])
        bias = torch.cat([meta.forget_bias, meta.input_bias])
        return meta.lstm_weight.contiguous(), meta.lstm_bias.contiguous(), gate, bias

    def start(self, theta_0: Tensor) -> None:
        """Zero states around ``theta_0`` ``[n]``."""
        self.theta[0, : self.n] = theta_0
        self.state.zero_()

    def learner_params(self, index: int) -> Tensor:
        """theta before step ``index``, ``[n]``."""
        return self.theta[index, : self.n]

    def step(
        self, meta: MetaParams, index: int, gradient: Tensor, loss: Tensor, recipe: Recipe
    ) -> None:
        """Update number ``index`` with ``gradient`` ``[n]`` and ``loss`` ``[1]``."""
        self.gradient[index, : self.n] = gradient
        self.features[index, :, : self.n] = preprocess(gradient)
        self.of_loss[index] = preprocess(loss)[:, 0]
        lstm, lstm_bias, gate, bias = self._meta(meta)
        self._kernel("cell_forward")(
            at(lstm), at(lstm_bias), at(gate), at(bias), at(self.of_loss), at(self.features),
            at(self.gradient), at(self.theta), at(self.state), ctypes.c_long(self.n_padded),
            ctypes.c_long(index), ctypes.c_int(recipe.gate_recurrence == "logit"),
            ctypes.c_int(torch.get_num_threads()),
        )  # fmt: skip

    def backward(
        self, meta: MetaParams, upstream: Tensor, recipe: Recipe
    ) -> tuple[list[Tensor], Tensor]:
        """As :meth:`repro.learner.fused_cell.Tape.backward`."""
        padded = torch.nn.functional.pad(upstream, (0, self.n_padded - self.n))
        of_theta = torch.empty_like(padded)
        rows, columns = meta.lstm_weight.shape
        hidden = rows // 4
        sums = torch.empty(rows * (columns + 1) + 2 * (hidden + 3) + 2, dtype=torch.float64)
        lstm, lstm_bias, gate, bias = self._meta(meta)
        failed = self._kernel("cell_backward")(
            at(lstm), at(lstm_bias), at(gate), at(bias), at(self.of_loss), at(self.features),
            at(self.gradient), at(self.theta), at(padded), at(of_theta), at(sums),
            ctypes.c_long(self.n_padded), ctypes.c_long(self.n_step),
            ctypes.c_int(recipe.gate_recurrence == "logit"), ctypes.c_int(torch.get_num_threads()),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for the meta-gradient")
        sizes = [rows * (columns + 1), 2 * (hidden + 3), 2]
        of_lstm, of_gate, of_bias = torch.split(sums.to(lstm.dtype), sizes)
        of_lstm, of_gate = of_lstm.view(rows, columns + 1), of_gate.view(2, hidden + 3)
        forget = of_gate[0, : hidden + 2]
        enter = torch.cat([of_gate[1, : hidden + 1], of_gate[1, hidden + 2 :]])
        gradients = [
            *(of_lstm[:, :-1].contiguous(), of_lstm[:, -1].contiguous()),
            *(forget.contiguous(), of_bias[:1], enter, of_bias[1:]),
        ]
        return gradients, of_theta[: self.n]

    def _kernel(self, name: str) -> ctypes._NamedFuncPointer:
        native = library()
        assert native is not None
        return getattr(native, f"{name}_{TYPES[self.theta.dtype]}")  # type: ignore[no-any-return]
