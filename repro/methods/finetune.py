"""Baseline-finetune: the pre-trained network, all of it, fine-tuned on each support set.

A random linear layer, drawn once for the grid and once for the test; 15 full-batch SGD updates of
all parameters with batch norm in training mode on top of the pre-trained running statistics; then
running statistics for the queries. Learning rate and decay are chosen on meta-validation.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from repro.episodes import Episode
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.learner.side_by_side import StackedConv4
from repro.methods.base import Stackable
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.papers.budgets import GridPoint
from repro.system.seeding import Stream, rng


class Finetune(Stackable):
    """Fine-tuning; ``choice`` is the grid point in use, ``head_index`` 0 for the grid, 1 after."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.pretrained = Conv4(paper.BASELINE_FILTERS, setting.n_class, setting.image_size)
        self.learner = Conv4(paper.BASELINE_FILTERS, setting.n_way, setting.image_size)
        self.choice = GridPoint(0.01, 0.0)
        self.head_index = 0
        self._body = torch.empty(0)
        self._statistics = BatchNormStatistics(paper.BASELINE_FILTERS)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of pre-training; its 64-way layer is dropped."""
        body = Conv4(paper.BASELINE_FILTERS, 0, self.setting.image_size).n_param
        self._body = state["params"][:body].to(self.setting.device)
        self._statistics = BatchNormStatistics(paper.BASELINE_FILTERS, self._body)
        self._statistics.load_state(state)

    def choose(self, point: GridPoint, final: bool) -> None:
        """As :meth:`repro.methods.base.Searching.choose`; the test has a head of its own."""
        self.choice, self.head_index = point, int(final)

    def _head(self, learner: Conv4) -> Tensor:
        stream = rng(self.setting.seed, Stream.FINETUNE_HEAD, self.head_index)
        n = learner.n_param - len(self._body)
        bound = learner.n_feature**-0.5
        return torch.from_numpy(stream.uniform(n, -bound, bound)).to(self._body)

    def predict_many(self, episodes: Sequence[Episode], images: SplitImages) -> Tensor:
        """Fine-tune on the support sets, then classify the queries under running statistics."""
        lr, decay = self.choice
        learner, n_way = self.learner, len(episodes[0].class_indices)
        if n_way != self.setting.n_way:  # meta-validation may have fewer classes than a test
            learner = Conv4(paper.BASELINE_FILTERS, n_way, self.setting.image_size)
        stacked = StackedConv4(learner, len(episodes))
        start = torch.cat([self._body, self._head(learner)])
        params = start.repeat(len(episodes), 1).requires_grad_()
        statistics = stacked.statistics(self._statistics)
        support = images.gather_many([episode.support for episode in episodes])
        labels = images.labels(np.stack([episode.support_labels for episode in episodes]))
        for update in range(paper.FINETUNE_UPDATES):
            with torch.enable_grad(), self.setting.autocast():
                logits = stacked.logits(params, support, statistics, training=True)
                loss = stacked.losses(logits.float(), labels).sum()
            (gradient,) = torch.autograd.grad(loss, params)
            with torch.no_grad():
                params -= lr / (1 + decay * update) * gradient
        query = images.gather_many([episode.query for episode in episodes])
        with torch.no_grad(), self.setting.autocast():
            logits = stacked.logits(params, query, statistics, training=False)
        return logits.float().log_softmax(2)
