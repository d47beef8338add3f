"""Matching Network, with and without full context embeddings: two rows, one method.

f embeds queries and g support images; they share weights and have separate running statistics.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode, EpisodeSampler
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.learner.full_context import FullContext
from repro.learner.kernels.block import Dropout
from repro.methods.base import StepResult, accuracy
from repro.methods.optimizers import Adam
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.papers.config import EpisodeSpec
from repro.system.seeding import Rng, Stream, rng


def matching_scores(similarity: Tensor, labels: Tensor, n_way: int, kind: str) -> Tensor:
    """Class scores of queries, ``[n_query, n_way]``; a log-softmax of them is log p.

    Args:
        similarity: cosines ``[n_query, n_support]``. labels: of the support, ``[n_support]``.
        kind: ``sum`` of cosines per class (the authors' code), or ``softmax`` over the support
            and the log of the weights summed per class (Vinyals et al. 2016, Eq. 1).
    """
    one_hot = F.one_hot(labels, n_way).to(similarity.dtype)
    if kind == "sum":
        return similarity @ one_hot
    masked = similarity[:, :, None] + one_hot.log()[None]
    return masked.logsumexp(1) - similarity.logsumexp(1, keepdim=True)


def draw_dropout(shape: torch.Size, stream: Rng) -> Dropout:
    """A tenth is dropped, by 16 random bits per element."""
    n = shape.numel()
    # numpy's uint16 has no torch twin everywhere; int16 thresholds are the same bits.
    bits = torch.from_numpy(stream.raw(-(-n // 4)).view("int16")[:n]).view(shape)
    return Dropout(bits, 1 - paper.MATCHING_DROPOUT)


class MatchingNet:
    """A Matching Network; ``full_context`` makes it the FCE row."""

    def __init__(self, setting: Setting, full_context: bool = False) -> None:
        self.setting = setting
        recipe = setting.recipe
        self.learner = Conv4(paper.BASELINE_FILTERS, 0, setting.image_size)
        params = self.learner.initial(rng(setting.seed, Stream.LEARNER_INIT), recipe.gamma_init).to(
            setting.device
        )
        self.statistics = {
            name: BatchNormStatistics(self.learner.n_filter, params) for name in "fg"
        }
        # The authors' table of parameters holds f and g as two entries of the same tensors. Their
        # automatic differentiation makes a start node of each entry, and their optimiser goes
        # entry by entry with moments of its own for each. So a step is two updates of the same
        # weights, by the gradient of the queries' path and by that of the support's, both taken
        # before either update. Here too f and g are leaves of the graph on one storage.
        double = recipe.matching_double_step
        self.params = {"f": params, "g": params.detach() if double else params}
        self.adams = [Adam({"params": params}, paper.MATCHING_LR)]
        if double:
            g = {"params": self.params["g"]}
            self.adams.append(Adam(g, paper.MATCHING_LR, prefix="adam.g"))
        self.context: FullContext | None = None
        if full_context:
            stream = rng(setting.seed, Stream.CONTEXT_INIT)
            self.context = FullContext(self.learner.n_feature, recipe, stream).to(setting.device)
            named: dict[str, Tensor] = {
                f"context.{name}": value
                for name, value in self.context.named_parameters()
                if value.requires_grad
            }
            self.adams.append(Adam(named, paper.MATCHING_LR, fused=True))

    def _features(self, name: str, batch: Tensor, stream: Rng | None) -> Tensor:
        def dropout(shape: torch.Size) -> Dropout:
            assert stream is not None
            return draw_dropout(shape, stream)

        with self.setting.autocast():
            features = self.learner.features(
                self.params[name],
                batch,
                self.statistics[name],
                training=stream is not None,
                dropout=dropout if stream else None,
            )
        return features.float() if features.dtype == torch.bfloat16 else features

    def _scores(self, support: Tensor, query: Tensor, labels: Tensor, n_way: int) -> Tensor:
        if self.context is not None:
            support = self.context.support(support)
            query = self.context.query(query, support)
        similarity = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
        return matching_scores(similarity, labels, n_way, self.setting.recipe.matching_scores)

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """One training episode."""
        setting, recipe = self.setting, self.setting.recipe
        spec = EpisodeSpec(setting.n_way, setting.k_shot, setting.n_query)
        episode = EpisodeSampler(
            images.split.class_rows, "train", spec, setting.seed, recipe.episode_classes
        )[step]
        stream = rng(setting.seed, Stream.DROPOUT, step)
        augmentation = images.augmentation(step)
        support = self._features("g", images.gather(episode.support, augmentation), stream)
        query = self._features("f", images.gather(episode.query, augmentation), stream)
        target = torch.from_numpy(episode.query_labels).to(setting.device)
        labels = torch.from_numpy(episode.support_labels).to(setting.device)
        scores = self._scores(support, query, labels, setting.n_way)
        loss = F.cross_entropy(scores, target)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.context is not None:
            clipped: list[Any] = [list(self.context.attention.parameters())]
            if recipe.fce_clip == "both":
                clipped.append(list(self.context.bidirectional.parameters()))
            for parameters in clipped:
                torch.nn.utils.clip_grad_norm_(parameters, paper.FCE_CLIP_NORM)
        for adam in self.adams:
            adam.step()
        return StepResult(loss.item(), accuracy(scores.detach(), target))

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Log-probabilities; each image is embedded once under f and once under g."""
        with torch.no_grad():
            support = images.embedded(
                "g", lambda batch: self._features("g", batch, None), episode.support
            )
            query = images.embedded(
                "f", lambda batch: self._features("f", batch, None), episode.query
            )
            labels = torch.from_numpy(episode.support_labels).to(self.setting.device)
            scores = self._scores(support, query, labels, len(episode.class_indices))
            return scores.log_softmax(1)

    def state(self) -> dict[str, Tensor]:
        """Parameters, both running statistics, optimizers."""
        found: dict[str, Tensor] = {}
        for adam in self.adams:
            found |= adam.state()
        for name, statistics in self.statistics.items():
            found |= statistics.state(name)
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of training."""
        for adam in self.adams:
            adam.load_state(state)
        for name, statistics in self.statistics.items():
            statistics.load_state(state, name)


class MatchingNetFCE(MatchingNet):
    """A Matching Network with full context embeddings."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, full_context=True)
