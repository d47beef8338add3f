"""The Meta-Learner LSTM as a row of the table: meta-training and inductive tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from repro.episodes import Episode, EpisodeSampler
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.learner.cuda_graph import Replay
from repro.learner.fused_cell import BLOCK, Tape
from repro.learner.gate_traces import Gates, gate_traces
from repro.learner.inner_loop import LossAndGradient, Trajectory, on_support
from repro.learner.kernels.cell import NativeTape, fits
from repro.learner.meta_learner import (
    MetaParams,
    inner_loop,
    replay_backward,
    second_order_gradient,
)
from repro.learner.side_by_side import StackedConv4
from repro.methods.base import Stackable, StepResult, accuracy
from repro.methods.optimizers import Adam
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.papers.config import EpisodeSpec, Recipe
from repro.records.files import GATES
from repro.system.seeding import Stream, rng

_META_NAMES = (
    *("lstm_weight", "lstm_bias", "forget_weight"),
    *("forget_bias", "input_weight", "input_bias"),
)


def inner_schedule(trained_k: int, k_shot: int, n_way: int, recipe: Recipe) -> list[slice]:
    """Support batches of the inner loop, as slices of the support sequence.

    A model at its own shot makes full-batch passes: ``passes_1shot`` or ``passes_5shot``.
    Tested at the other shot, either model makes 5 passes in batches of 5 images.
    """
    n_support = n_way * k_shot
    if trained_k != k_shot:
        passes, size = paper.CROSS_SHOT_PASSES, paper.CROSS_SHOT_BATCH
    else:
        passes, size = (recipe.passes_1shot if k_shot == 1 else recipe.passes_5shot), n_support
    one_pass = [slice(i, min(i + size, n_support)) for i in range(0, n_support, size)]
    return one_pass * passes


class MetaLSTM(Stackable):
    """Learned initialisation and learned update rule, trained end to end.

    First order in every preset: losses and gradients fed in are constants of the graph.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        recipe = setting.recipe
        self.learner = Conv4(paper.META_FILTERS, setting.n_way, setting.image_size)
        meta = MetaParams.initial(rng(setting.seed, Stream.META_LEARNER_INIT), recipe)
        named = {
            name: part.to(setting.device) for name, part in zip(_META_NAMES, meta, strict=True)
        }
        self.meta = MetaParams(**named)
        self.theta_0 = self._fresh_theta_0(0).to(setting.device)
        self._tape: Tape | NativeTape | None = None
        self._replay = Replay(self.learn, self.state)
        learned = {**named, "theta_0": self.theta_0}
        self.adam = Adam(learned, paper.META_LR)

    def _fresh_theta_0(self, index: int) -> Tensor:
        stream = Stream.LEARNER_INIT if index == 0 else Stream.RANDOM_THETA_0
        return self.learner.initial(
            rng(self.setting.seed, stream, index), self.setting.recipe.gamma_init
        )

    def _start(self, index: int) -> Tensor:
        if self.setting.recipe.theta_0 == "random":
            return self._fresh_theta_0(index + 1).to(self.setting.device)
        return self.theta_0.detach()

    def _loss(
        self,
        params: Tensor,
        batch: Tensor,
        labels: Tensor,
        statistics: BatchNormStatistics | None,
        training: bool,
    ) -> tuple[Tensor, Tensor]:
        momentum = paper.META_BATCH_NORM_MOMENTUM[1 if self.setting.k_shot == 1 else 5]
        with self.setting.autocast():
            logits = self.learner.logits(params, batch, statistics, training, momentum)
        logits = logits.to(params.dtype)
        return F.cross_entropy(logits, labels), logits

    def _problem(
        self,
        support: Tensor,
        labels: Tensor,
        statistics: BatchNormStatistics | None,
        second_order: bool = False,
    ) -> tuple[LossAndGradient, list[int]]:
        """Loss and gradient on the support set at a step, and the batch sizes.

        Both are constants, unless ``second_order``: then they are functions of the parameters.
        Support passes normalise by their own batch; with ``statistics`` they also accumulate
        running statistics, seen at theta_0 ... theta_{T-1}.
        """

        def loss(params: Tensor, batch: Tensor, of_batch: Tensor) -> Tensor:
            return self._loss(params, batch, of_batch, statistics, True)[0]

        schedule = self._schedule(len(labels))
        problem = on_support(loss, support, labels, schedule, second_order)
        return problem, [part.stop - part.start for part in schedule]

    def _schedule(self, n_support: int) -> list[slice]:
        setting = self.setting
        return inner_schedule(
            setting.k_shot,
            n_support // setting.n_way,
            setting.n_way,
            setting.recipe,
        )

    def adapt(
        self,
        episode: Episode,
        images: SplitImages,
        theta_0: Tensor,
        statistics: BatchNormStatistics | None,
        trace: bool = False,
    ) -> Trajectory:
        """The inner loop on an episode's support set; no graph is kept."""
        support, labels = images.gather(episode.support), images.labels(episode.support_labels)
        problem, sizes = self._problem(support, labels, statistics)
        with torch.no_grad():
            return inner_loop(self.meta, theta_0, problem, sizes, self.setting.recipe, trace)

    def _adapt_on_tape(
        self,
        support: Tensor,
        labels: Tensor,
        theta_0: Tensor,
        statistics: BatchNormStatistics | None = None,
    ) -> Tape | NativeTape:
        """The inner loop of :meth:`adapt` on the fused cell, which keeps what backward needs."""
        problem, sizes = self._problem(support, labels, statistics)
        recipe, native = self.setting.recipe, fits(self.meta, self.setting.recipe)
        tape = self._tape
        if tape is None or tape.n_step != len(sizes) or isinstance(tape, NativeTape) != native:
            n = self.learner.n_param
            # Blocks serve a core's cache; a GPU wants all coordinates at once.
            block = BLOCK if self.setting.device.type == "cpu" else n
            tape = (
                NativeTape(n, len(sizes), self.meta)
                if native
                else Tape(n, len(sizes), self.meta, block)
            )
            self._tape = tape
        tape.start(theta_0)
        for index, size in enumerate(sizes):
            loss, gradient = problem(tape.learner_params(index), index)
            if recipe.gradient_over_batch:
                gradient = gradient / size
            tape.step(self.meta, index, gradient, loss.reshape(1), recipe)
        return tape

    def _adapted(
        self,
        stacked: StackedConv4,
        support: Tensor,
        labels: Tensor,
        start: Tensor,
        statistics: BatchNormStatistics,
    ) -> Tensor:
        """The learners' parameters after the inner loop of a test, ``[n_episode * n_param]``."""
        n, schedule = len(support), self._schedule(labels.shape[1])
        if n == 1 and fits(self.meta, self.setting.recipe):
            with torch.no_grad():
                tape = self._adapt_on_tape(support[0], labels[0], start, statistics)
            return tape.learner_params(tape.n_step)
        momentum = paper.META_BATCH_NORM_MOMENTUM[1 if self.setting.k_shot == 1 else 5]

        def loss_and_gradient(params: Tensor, index: int) -> tuple[Tensor, Tensor]:
            part = schedule[index]
            with torch.enable_grad():
                leaf = params.detach().requires_grad_()
                of_each, batch = leaf.view(n, -1), support[:, part]
                with self.setting.autocast():
                    logits = stacked.logits(of_each, batch, statistics, True, momentum)
                losses = stacked.losses(logits.to(params.dtype), labels[:, part])
                (gradient,) = torch.autograd.grad(losses.sum(), leaf)
            losses = losses.detach()
            return losses if n == 1 else losses.repeat_interleave(self.learner.n_param), gradient

        sizes = [part.stop - part.start for part in schedule]
        with torch.no_grad():
            found = inner_loop(self.meta, start, loss_and_gradient, sizes, self.setting.recipe)
        return found.learner_params

    def training_episode(self, images: SplitImages, step: int) -> tuple[Tensor, ...]:
        """What a training step is a function of, besides the state; shapes never change.

        Returns:
            Support ``[n_way * k_shot, 3, H, W]`` and labels, query and labels, theta_0.
        """
        setting = self.setting
        spec = EpisodeSpec(setting.n_way, setting.k_shot, setting.n_query)
        sampler = EpisodeSampler(
            images.split.class_rows, "train", spec, setting.seed, setting.recipe.episode_classes
        )
        episode, augmentation = sampler[step], images.augmentation(step)
        return (
            images.gather(episode.support, augmentation),
            images.labels(episode.support_labels),
            images.gather(episode.query, augmentation),
            images.labels(episode.query_labels),
            self._start(step),
        )

    def learn(
        self,
        support: Tensor,
        support_labels: Tensor,
        query: Tensor,
        query_labels: Tensor,
        theta_0: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Inner loop, query loss, meta-gradient and Adam; queries normalise by their own batch.

        Returns:
            The query loss ``[]`` in nats and the logits ``[n_way * n_query, n_way]``.
        """
        recipe = self.setting.recipe

        def query_loss(learner_params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            leaf = learner_params.detach().requires_grad_()
            loss, logits = self._loss(leaf, query, query_labels, None, True)
            (upstream,) = torch.autograd.grad(loss, leaf)
            return loss.detach(), logits.detach(), upstream

        if recipe.meta_gradient == "second-order":
            problem, sizes = self._problem(support, support_labels, None, second_order=True)
            loss, logits, gradients, of_theta_0 = second_order_gradient(
                self.meta, theta_0, problem, sizes,
                lambda params: self._loss(params, query, query_labels, None, True), recipe,
            )  # fmt: skip
        elif recipe.gates == "constant":
            problem, sizes = self._problem(support, support_labels, None)
            with torch.no_grad():
                trajectory = inner_loop(self.meta, theta_0, problem, sizes, recipe)
            loss, logits, upstream = query_loss(trajectory.learner_params)
            gradients, of_theta_0 = replay_backward(
                self.meta, theta_0, trajectory, upstream, recipe
            )
        else:
            with torch.no_grad():
                tape = self._adapt_on_tape(support, support_labels, theta_0)
            loss, logits, upstream = query_loss(tape.learner_params(tape.n_step))
            with torch.no_grad():
                gradients, of_theta_0 = tape.backward(self.meta, upstream, recipe)
        for param, gradient in zip(self.meta, gradients, strict=True):
            param.grad = gradient
        learned = list(self.meta)
        if recipe.theta_0 == "learned":
            self.theta_0.grad = of_theta_0
            learned.append(self.theta_0)
        torch.nn.utils.clip_grad_norm_(learned, paper.META_CLIP_NORM)
        self.adam.step()
        return loss, logits

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """One meta-training episode; on a GPU all of it is one graph, if of first order."""
        inputs, setting = self.training_episode(images, step), self.setting
        plain = setting.device.type == "cpu" or setting.recipe.meta_gradient == "second-order"
        learn = self.learn if plain else self._replay
        loss, logits = learn(*inputs)
        return StepResult(loss.item(), accuracy(logits, inputs[3]))

    def predict_many(self, episodes: Sequence[Episode], images: SplitImages) -> Tensor:
        """Adapt to the support sets, then classify the queries (by default inductively)."""
        n, kind = len(episodes), self.setting.recipe.query_batch_norm
        stacked = StackedConv4(self.learner, n)
        statistics = stacked.statistics(
            BatchNormStatistics(self.learner.n_filter, self.theta_0.detach())
        )
        support = images.gather_many([episode.support for episode in episodes])
        labels = images.labels(np.stack([episode.support_labels for episode in episodes]))
        start = torch.cat([self._start(episode.index) for episode in episodes])
        params = self._adapted(stacked, support, labels, start, statistics).view(n, -1)
        with torch.no_grad(), self.setting.autocast():
            if kind == "support":  # recomputed at theta_T
                stacked.logits(params, support, statistics, True, momentum=1.0)
            logits = stacked.logits(
                params,
                images.gather_many([episode.query for episode in episodes]),
                None if kind == "query" else statistics,
                training=kind == "query",
            )
        return logits.float().log_softmax(2)

    def diagnostics(self, episodes: Sequence[Episode], images: SplitImages) -> dict[str, Any]:
        """``gates.json``: the gates of the inner loop, and those of an untrained meta-learner."""
        trained, untrained = (
            method._gates(episodes, images) for method in (self, MetaLSTM(self.setting))
        )
        setting = self.setting
        traces = gate_traces(trained, untrained, self.learner, setting.k_shot, setting.seed)
        return {GATES: traces}

    def _gates(self, episodes: Sequence[Episode], images: SplitImages) -> Gates:
        forget, enter = [], []
        for episode in episodes:
            start = self.theta_0.detach()
            statistics = BatchNormStatistics(self.learner.n_filter, start)
            found = self.adapt(episode, images, start, statistics, trace=True)
            forget.append(torch.stack(found.forget_gates).cpu().numpy())
            enter.append(torch.stack(found.input_gates).cpu().numpy())
        return {"forget": np.stack(forget), "input": np.stack(enter)}

    def state(self) -> dict[str, Tensor]:
        """Meta parameters, theta_0 and optimizer."""
        return self.adam.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over a state of meta-training."""
        self.adam.load_state(state)
        self._replay = Replay(self.learn, self.state)  # a graph knows the old tensors
