"""Textbook versions of the fast paths: the oracle of the tests and the baseline of bench.

Blocks in the order of the paper (ReLU before pooling), images in channel order, the meta-gradient
by autograd through the whole inner loop, every episode embedded by itself, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.conv4 import N_BLOCK, BatchNormStatistics, Conv4
from repro.learner.kernels.block import Dropout
from repro.learner.meta_learner import inner_loop
from repro.methods.finetune import Finetune
from repro.methods.matching_net import MatchingNet
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.system.seeding import Rng


class PlainConv4(Conv4):
    """Conv4 block by block as the paper writes it."""

    def features(
        self,
        params: Tensor,
        images: Tensor,
        statistics: BatchNormStatistics | None,
        training: bool,
        momentum: float = paper.BASELINE_BATCH_NORM_MOMENTUM,
        dropout: Callable[[torch.Size], Dropout] | None = None,
    ) -> Tensor:
        """As :meth:`Conv4.features`."""
        parts, x = self.split(params), images
        for block in range(N_BLOCK):
            weight, bias, scale, shift = parts[4 * block : 4 * block + 4]
            x = F.conv2d(x, weight, bias, padding=1)
            mean = None if statistics is None else statistics.mean[block]
            variance = None if statistics is None else statistics.variance[block]
            x = F.batch_norm(
                x, mean, variance, scale, shift, training, momentum, paper.BATCH_NORM_EPS
            )
            x = F.max_pool2d(F.relu(x), 2)
            if dropout is not None:
                x = x * dropout(x.shape).mask().to(x)
        return x.flatten(1)


class PlainImages(SplitImages):
    """Images in channel order; nothing is kept from one episode to the next."""

    def gather(self, rows: npt.NDArray[np.int64], augmentation: Rng | None = None) -> Tensor:
        """As :meth:`SplitImages.gather`."""
        return super().gather(rows, augmentation).contiguous()

    def embedded(
        self, key: str, embed: Callable[[Tensor], Tensor], rows: npt.NDArray[np.int64]
    ) -> Tensor:
        """As :meth:`SplitImages.embedded`."""
        return embed(self.gather(rows))


class PlainMetaLSTM(MetaLSTM):
    """The meta-LSTM with one graph for the whole episode."""

    def learn(
        self,
        support: Tensor,
        support_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
        theta_0: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`MetaLSTM.learn`, where theta_0 is learned."""
        problem, sizes = self._problem(support, support_labels, None)
        found = inner_loop(self.meta, self.theta_0, problem, sizes, self.setting.recipe)
        loss, logits = self._loss(found.learner_params, query, query_labels, None, True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*self.meta, self.theta_0], paper.META_CLIP_NORM)
        self.adam.step()
        return loss.detach(), logits.detach()


Plain = TypeVar("Plain", bound=NearestNeighbor | Finetune | MatchingNet | MetaLSTM)


def make_plain(method: Plain) -> Plain:
    """The same method with the same parameters on the plain network."""
    learner = method.learner
    method.learner = PlainConv4(learner.n_filter, learner.n_output, learner.image_size)
    return method
