"""Conv4, the learner of every method, as a function of one flat parameter vector.

Four blocks of [3x3 convolution, padding 1, bias -> batch norm -> ReLU -> 2x2 max pool], flatten,
and a linear layer where the method has one. Source: Ravi & Larochelle 2017, Sec. 5.1, and the
authors' code for initial values and batch norm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.kernels.block import Dropout, batch_norm_pool_relu
from repro.papers import paper
from repro.system.seeding import Rng

N_BLOCK = 4
LAYERS = ("conv1", "conv2", "conv3", "conv4", "linear")


class BatchNormStatistics:
    """Running mean and variance of the four batch norms, each ``[n_block, n_filter]``."""

    def __init__(self, n_filter: int, like: Tensor | None = None) -> None:
        like = torch.empty(0) if like is None else like
        self.mean = like.new_zeros((N_BLOCK, n_filter))
        self.variance = like.new_ones((N_BLOCK, n_filter))

    def copy(self) -> BatchNormStatistics:
        """An independent copy."""
        twin = BatchNormStatistics(self.mean.shape[1], self.mean)
        twin.mean.copy_(self.mean)
        twin.variance.copy_(self.variance)
        return twin

    def state(self, name: str = "") -> dict[str, Tensor]:
        """Both as entries of a method's state; ``name`` tells several statistics apart."""
        return {_entry("mean", name): self.mean, _entry("variance", name): self.variance}

    def load_state(self, state: dict[str, Tensor], name: str = "") -> None:
        """Take over what :meth:`state` gave."""
        self.mean.copy_(state[_entry("mean", name)])
        self.variance.copy_(state[_entry("variance", name)])


def _entry(what: str, name: str) -> str:
    return f"{what}.{name}" if name else what


def conv_block(
    x: Tensor,
    parts: Sequence[Tensor],
    statistics: BatchNormStatistics | None,
    block: int,
    training: bool,
    momentum: float,
    groups: int = 1,
    dropout: Callable[[torch.Size], Dropout] | None = None,
) -> Tensor:
    """One block: convolution, batch norm, pooling and ReLU; arguments as :meth:`Conv4.features`.

    Args:
        parts: weight and bias of the convolution, scale and shift of the batch norm.
        groups: learners side by side, each with channels of its own.
    """
    weight, bias, scale, shift = parts
    x = F.conv2d(x, weight, bias, padding=1, groups=groups)
    n, c, h, w = x.shape
    return batch_norm_pool_relu(
        x,
        None if statistics is None else statistics.mean[block],
        None if statistics is None else statistics.variance[block],
        scale,
        shift,
        training,
        momentum,
        paper.BATCH_NORM_EPS,
        dropout(torch.Size((n, c, h // 2, w // 2))) if dropout else None,
    )


@dataclass(frozen=True)
class Conv4:
    """The shape of a learner; parameters and statistics are arguments.

    Attributes:
        n_output: logits of the linear layer; 0 for features only.
        image_size: height and width, px.
    """

    n_filter: int
    n_output: int
    image_size: int

    @property
    def n_feature(self) -> int:
        """Length of the flattened output of block 4."""
        side = self.image_size >> N_BLOCK  # four poolings, each rounding down
        return self.n_filter * side * side

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each part of the flat vector, in its order."""
        shapes: dict[str, tuple[int, ...]] = {}
        n_input = 3
        for block in range(1, N_BLOCK + 1):
            shapes[f"conv{block}.weight"] = (self.n_filter, n_input, 3, 3)
            shapes[f"conv{block}.bias"] = (self.n_filter,)
            shapes[f"norm{block}.weight"] = (self.n_filter,)
            shapes[f"norm{block}.bias"] = (self.n_filter,)
            n_input = self.n_filter
        if self.n_output:
            shapes["linear.weight"] = (self.n_output, self.n_feature)
            shapes["linear.bias"] = (self.n_output,)
        return shapes

    @property
    def n_param(self) -> int:
        """Length of the flat parameter vector."""
        total: int = sum(math.prod(shape) for shape in self.shapes.values())
        return total

    def split(self, params: Tensor) -> list[Tensor]:
        """Views of a flat vector ``[n_param]`` as the tensors of :attr:`shapes`."""
        shapes = list(self.shapes.values())
        parts = torch.split(params, [math.prod(shape) for shape in shapes])
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def initial(self, rng: Rng, gamma: str = "uniform") -> Tensor:
        """Torch7's initial values, float32 ``[n_param]``.

        Weights and biases uniform in +-1/sqrt(fan_in); batch-norm scale uniform in [0, 1]
        (``gamma="one"``: 1), shift 0.
        """
        parts, fan_in = [], 1
        for name, shape in self.shapes.items():
            n = math.prod(shape)
            if name.startswith("norm"):
                scale = torch.from_numpy(rng.uniform(n)) if gamma == "uniform" else torch.ones(n)
                parts.append(scale if name.endswith("weight") else torch.zeros(n))
                continue
            if name.endswith("weight"):
                fan_in = n // shape[0]
            bound = fan_in**-0.5
            parts.append(torch.from_numpy(rng.uniform(n, -bound, bound)))
        return torch.cat([part.to(torch.float32) for part in parts])

    def features(
        self,
        params: Tensor,
        images: Tensor,
        statistics: BatchNormStatistics | None,
        training: bool,
        momentum: float = paper.BASELINE_BATCH_NORM_MOMENTUM,
        dropout: Callable[[torch.Size], Dropout] | None = None,
    ) -> Tensor:
        """Flattened output of the four blocks, ``[n_image, n_feature]``.

        Args:
            images: ``[n_image, 3, image_size, image_size]``.
            statistics: running statistics; with ``training`` they are updated in place
                (new = momentum * batch + (1 - momentum) * old, unbiased variance), and None
                leaves no trace; without ``training`` they normalise.
            dropout: gives that of a block's output, from its shape ``[n, c, h, w]``.
        """
        x = images
        parts = self.split(params)
        for block in range(N_BLOCK):
            of_block = parts[4 * block : 4 * block + 4]
            x = conv_block(x, of_block, statistics, block, training, momentum, dropout=dropout)
        return x.flatten(1)

    def logits(
        self,
        params: Tensor,
        images: Tensor,
        statistics: BatchNormStatistics | None,
        training: bool,
        momentum: float = paper.BASELINE_BATCH_NORM_MOMENTUM,
    ) -> Tensor:
        """Scores of the linear layer, ``[n_image, n_output]``; arguments as :meth:`features`."""
        weight, bias = self.split(params)[-2:]
        return F.linear(self.features(params, images, statistics, training, momentum), weight, bias)

    def layer_of_coordinate(self) -> list[str]:
        """Layer of each coordinate of the flat vector, one of :data:`LAYERS` or ``norm``."""
        names: list[str] = []
        for name, shape in self.shapes.items():
            layer = name.split(".")[0]
            names += ["norm" if layer.startswith("norm") else layer] * math.prod(shape)
        return names
