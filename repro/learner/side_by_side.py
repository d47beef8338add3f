"""Several learners of one shape in one pass, for several episodes at once on an accelerator.

Episodes become groups of the convolutions. Batch norm works channel by channel, so every episode
has statistics of its own, as when it is alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.learner.conv4 import N_BLOCK, BatchNormStatistics, Conv4, conv_block
from repro.papers import paper


@dataclass(frozen=True)
class StackedConv4:
    """``n_learner`` copies of a :class:`Conv4`, each with parameters of its own.

    One alone computes what the :class:`Conv4` does, to the bit: on a processor published numbers
    are made by one.
    """

    learner: Conv4
    n_learner: int

    def statistics(self, like: BatchNormStatistics) -> BatchNormStatistics:
        """Running statistics of all learners, ``[n_block, n_learner * n_filter]``, from one's."""
        stacked = BatchNormStatistics(self.n_learner * self.learner.n_filter, like.mean)
        stacked.mean.copy_(like.mean.repeat(1, self.n_learner))
        stacked.variance.copy_(like.variance.repeat(1, self.n_learner))
        return stacked

    def logits(
        self,
        params: Tensor,
        images: Tensor,
        statistics: BatchNormStatistics | None,
        training: bool,
        momentum: float = paper.BASELINE_BATCH_NORM_MOMENTUM,
    ) -> Tensor:
        """As :meth:`Conv4.logits`, for parameters ``[n_learner, n_param]``.

        Args:
            images: ``[n_learner, n_image, 3, image_size, image_size]``.
        Returns:
            ``[n_learner, n_image, n_output]``.
        """
        n_learner, n_image = images.shape[:2]
        if n_learner == 1:
            alone = params.reshape(-1), images.squeeze(0)
            return self.learner.logits(*alone, statistics, training, momentum).unsqueeze(0)
        shapes = list(self.learner.shapes.values())
        sizes = [torch.Size(shape).numel() for shape in shapes]
        parts = [
            part.reshape(n_learner, *shape)
            for part, shape in zip(torch.split(params, sizes, dim=1), shapes, strict=True)
        ]
        x = images.transpose(0, 1).flatten(1, 2)  # [n_image, n_learner * 3, size, size]
        for block in range(N_BLOCK):
            of_block = [part.flatten(0, 1) for part in parts[4 * block : 4 * block + 4]]
            x = conv_block(x, of_block, statistics, block, training, momentum, n_learner)
        features = x.reshape(n_image, n_learner, self.learner.n_feature).transpose(0, 1)
        weight, bias = parts[-2:]
        return torch.baddbmm(bias[:, None], features, weight.transpose(1, 2))

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of each learner, ``[n_learner]``, nats.

        Learners share nothing: the gradient of the sum holds each one's own.

        Args:
            logits: ``[n_learner, n_image, n_output]``. labels: ``[n_learner, n_image]``.
        """
        if len(logits) == 1:
            return F.cross_entropy(logits.squeeze(0), labels.squeeze(0)).unsqueeze(0)
        return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)
