"""MAML and first-order MAML: a learned initialisation for a few gradient steps.

The inner loop is the meta-LSTM's (``learner.inner_loop``) with a forget gate of 1 and a constant
input gate. Batch norm uses the statistics of the batch at hand everywhere, that of the queries of
an episode at test among them: the predictions are transductive. Source: Finn et al. 2017, Sec. 5.2
and App. A.1, and the authors' code, which sums the loss over images and divides it by the shot;
so a step of 0.01 is one of 0.01 * n_way for the mean loss, and the meta-gradient's entries are cut
at 10 on that scale. Apart from the authors' code, batch norm here has a scale, too, both of its
parameters are adapted like all others, and the initial values are those of the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode, EpisodeSampler
from repro.learner.conv4 import Conv4
from repro.learner.inner_loop import ConstantGates, on_support, run
from repro.learner.side_by_side import StackedConv4
from repro.methods.base import Stackable, StepResult, accuracy
from repro.methods.optimizers import Adam
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper, references
from repro.papers.config import EpisodeSpec
from repro.system.seeding import Stream, rng


class MAML(Stackable):
    """Model-agnostic meta-learning; the meta-gradient goes through the inner gradients."""

    second_order: ClassVar[bool] = True

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.learner = Conv4(paper.META_FILTERS, setting.n_way, setting.image_size)
        self.theta_0 = self.learner.initial(
            rng(setting.seed, Stream.LEARNER_INIT), setting.recipe.gamma_init
        ).to(setting.device)
        self.adam = Adam({"theta_0": self.theta_0}, references.MAML_META_LR)
        self.rule = ConstantGates(forget=1.0, input=references.MAML_INNER_LR * setting.n_way)

    @property
    def meta_batch(self) -> int:
        """Episodes of a training step."""
        return references.MAML_META_BATCH[references.by_shot(self.setting.k_shot)]

    def _logits(self, params: Tensor, batch: Tensor) -> Tensor:
        with self.setting.autocast():
            return self.learner.logits(params, batch, None, training=True).to(params.dtype)

    def _loss(self, params: Tensor, batch: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self._logits(params, batch), labels)

    def adapt(
        self,
        theta_0: Tensor,
        support: Tensor,
        labels: Tensor,
        n_step: int,
        second_order: bool = False,
    ) -> Tensor:
        """The parameters ``[n_param]`` after ``n_step`` full-batch updates from ``theta_0``.

        Without ``second_order`` the gradients are constants of that function of ``theta_0``.
        """
        n_support = len(labels)
        schedule = [slice(0, n_support)] * n_step
        problem = on_support(self._loss, support, labels, schedule, second_order)
        return run(self.rule, theta_0, problem, [n_support] * n_step).learner_params

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """One meta-batch of training episodes."""
        setting, n = self.setting, self.meta_batch
        sampler = EpisodeSampler(
            images.split.class_rows,
            "train",
            EpisodeSpec(setting.n_way, setting.k_shot, setting.n_query),
            setting.seed,
            setting.recipe.episode_classes,
        )
        losses, shares = [], []
        for index in range(step * n, (step + 1) * n):
            episode, augmentation = sampler[index], images.augmentation(index)
            params = self.adapt(
                self.theta_0,
                images.gather(episode.support, augmentation),
                images.labels(episode.support_labels),
                references.MAML_INNER_STEPS,
                self.second_order,
            )
            target = images.labels(episode.query_labels)
            logits = self._logits(params, images.gather(episode.query, augmentation))
            loss = F.cross_entropy(logits, target)
            # One graph at a time: gradients add up in theta_0.
            (loss * (len(target) / setting.k_shot / n)).backward()  # type: ignore[no-untyped-call]
            losses.append(loss.item())
            shares.append(accuracy(logits.detach(), target))
        torch.nn.utils.clip_grad_value_([self.theta_0], references.MAML_CLIP_VALUE)
        self.adam.step()
        return StepResult(float(np.mean(losses)), float(np.mean(shares)))

    def predict_many(self, episodes: Sequence[Episode], images: SplitImages) -> Tensor:
        """Adapt to the support sets, then classify all queries of an episode as one batch."""
        n = len(episodes)
        stacked = StackedConv4(self.learner, n)
        support = images.gather_many([episode.support for episode in episodes])
        labels = images.labels(np.stack([episode.support_labels for episode in episodes]))
        query = images.gather_many([episode.query for episode in episodes])

        def logits(params: Tensor, batch: Tensor) -> Tensor:
            with self.setting.autocast():
                found = stacked.logits(params.view(n, -1), batch, None, training=True)
            return found.to(params.dtype)

        def loss(params: Tensor, batch: Tensor, of_batch: Tensor) -> Tensor:
            return stacked.losses(logits(params, batch), of_batch).sum()

        n_step = references.MAML_TEST_STEPS
        problem = on_support(loss, support, labels, [slice(None)] * n_step)
        with torch.no_grad():
            start = self.theta_0.detach().repeat(n)
            params = run(self.rule, start, problem, [labels.shape[1]] * n_step).learner_params
            return logits(params, query).log_softmax(2)

    def state(self) -> dict[str, Tensor]:
        """The initialisation and the optimizer."""
        return self.adam.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of meta-training."""
        self.adam.load_state(state)


class FirstOrderMAML(MAML):
    """MAML whose inner gradients are constants of the meta-gradient."""

    second_order = False
