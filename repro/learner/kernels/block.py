"""[batch norm -> 2x2 max pool -> ReLU] as one function, forward and backward.

Both passes read and write the large activations as rarely as can be, and nothing is rounded to
bf16 in between. ``reference`` is the same in torch's operations: what runs where the kernel cannot,
and what the kernel is tested against.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.kernels.library import at, library

LANES = 16  # channels come in vectors
# Of images: the suffix of the kernels, and the type of the batch norm's own tensors.
TYPES = {
    torch.bfloat16: ("bf16", torch.float32),
    torch.float32: ("fp32", torch.float32),
    torch.float64: ("fp64", torch.float64),
}


class Dropout(NamedTuple):
    """Random ``bits``, int16 ``[n, c, h // 2, w // 2]``, and the share ``keep`` of what is kept."""

    bits: Tensor
    keep: float

    @property
    def below(self) -> int:
        """What the bits of a value are below that is kept."""
        return round(self.keep * 65536) - 32768

    @property
    def factor(self) -> float:
        """What a value is multiplied by that is kept: 1/keep in float32, as in the mask."""
        return (torch.ones(()) / self.keep).item()

    def mask(self) -> Tensor:
        """0, or 1/keep where a value is kept; float32, in the shape of the bits."""
        return (self.bits < self.below).float() / self.keep


def batch_norm_pool_relu(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """Batch norm, 2x2 max pooling and ReLU of ``x`` ``[n, c, h, w]``: ``[n, c, h // 2, w // 2]``.

    Args:
        mean, variance: running statistics ``[c]`` as of :func:`torch.nn.functional.batch_norm`.
        scale, shift: ``[c]``.
        dropout: of the output.
    """
    if not _fits(x, mean, variance, scale, shift, training):
        return reference(x, mean, variance, scale, shift, training, momentum, eps, dropout)
    if torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad or shift.requires_grad):
        found: Tensor = _Block.apply(x, scale, shift, mean, variance, momentum, eps, dropout)
        return found
    return _forward(x, scale, shift, mean, variance, training, momentum, eps, dropout, False)[0]


def reference(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    training: bool,
    momentum: float,
    eps: float,
    dropout: Dropout | None = None,
) -> Tensor:
    """As :func:`batch_norm_pool_relu`, by torch."""
    x = F.batch_norm(x, mean, variance, scale, shift, training, momentum, eps)
    # Both are monotone, so pooling first gives the same values at a quarter of the work.
    x = F.relu(F.max_pool2d(x, 2))
    return x if dropout is None else x * dropout.mask().to(x)


def _fits(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    scale: Tensor,
    shift: Tensor,
    training: bool,
) -> bool:
    """Whether there is a kernel for these tensors."""
    if x.device.type != "cpu" or x.dtype not in TYPES or x.shape[1] % LANES:
        return False
    if min(x.shape[2:]) < 2 or x.shape[0] == 0 or (mean is None and not training):
        return False
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    own = [scale, shift, *(part for part in (mean, variance) if part is not None)]
    if any(part.dtype != TYPES[x.dtype][1] or not part.is_contiguous() for part in own):
        return False
    if not training and torch.is_grad_enabled() and any(part.requires_grad for part in (x, *own)):
        return False  # nobody differentiates through running statistics here
    return library() is not None


def _longs(*values: int) -> list[ctypes.c_long]:
    return [ctypes.c_long(value) for value in values]


def _kernel(name: str, dtype: torch.dtype) -> Any:
    native = library()
    assert native is not None
    return getattr(native, f"{name}_{TYPES[dtype][0]}")


def _like(x: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)


def _forward(
    x: Tensor,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    dropout: Dropout | None,
    differentiable: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    n, c, h, w = x.shape
    small, threads = (n, c, h // 2, w // 2), torch.get_num_threads()
    out = _like(x, small, x.dtype)
    index = _like(x, small, torch.uint8) if differentiable else None
    chosen = _like(x, small, x.dtype) if differentiable else None
    terms = torch.empty((8, c), dtype=scale.dtype)
    sums = torch.empty((threads, 2, c), dtype=torch.float64)
    bits, below, factor = (
        (dropout.bits.contiguous(), dropout.below, dropout.factor) if dropout else (None, 0, 1.0)
    )
    _kernel("block_forward", x.dtype)(
        at(x), at(scale), at(shift), at(mean), at(variance),
        ctypes.c_double(momentum), ctypes.c_double(eps), ctypes.c_int(training),
        at(bits), ctypes.c_int(below), ctypes.c_double(factor), at(out), at(index), at(chosen),
        at(terms), at(sums), *_longs(n, h, w, c), ctypes.c_int(threads),
    )  # fmt: skip
    return out, index, chosen, terms


class _Block(torch.autograd.Function):
    """In training mode; arguments as of :func:`batch_norm_pool_relu`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor | None,
        variance: Tensor | None,
        momentum: float,
        eps: float,
        dropout: Dropout | None,
    ) -> Tensor:
        found = _forward(x, scale, shift, mean, variance, True, momentum, eps, dropout, True)
        out, *kept = found
        ctx.save_for_backward(x, scale, shift, *kept)
        ctx.eps, ctx.dropout = eps, dropout
        return out

    @staticmethod
    def backward(ctx: Any, of_out: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, index, chosen, terms = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated, too
            with torch.enable_grad():
                out = reference(x, None, None, scale, shift, True, 0.0, ctx.eps, ctx.dropout)
            inputs = [
                t for t, need in zip((x, scale, shift), ctx.needs_input_grad, strict=False) if need
            ]
            found = iter(torch.autograd.grad(out, inputs, of_out, create_graph=True))
            wanted = [next(found) if need else None for need in ctx.needs_input_grad[:3]]
            return (*wanted, None, None, None, None, None)
        n, c, h, w = x.shape
        threads = torch.get_num_threads()
        of_out = of_out.contiguous(memory_format=torch.channels_last)
        of_x = torch.empty_like(x)
        of_affine = torch.empty((2, c), dtype=scale.dtype)
        sums = torch.empty((threads, 2, c), dtype=torch.float64)
        _kernel("block_backward", x.dtype)(
            at(x), at(of_out), at(index), at(chosen), at(terms), at(of_x), at(of_affine),
            at(sums), ctypes.c_double(ctx.dropout.factor if ctx.dropout else 1.0),
            *_longs(n, h, w, c), ctypes.c_int(threads),
        )  # fmt: skip
        return of_x, of_affine[0], of_affine[1], None, None, None, None, None
