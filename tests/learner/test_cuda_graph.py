"""Replayed training steps and several test episodes at once: what runs on an accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from repro.data.pack import ImageSplit
from repro.episodes import EpisodeSampler
from repro.learner.conv4 import BatchNormStatistics, Conv4
from repro.learner.cuda_graph import Replay
from repro.learner.side_by_side import StackedConv4
from repro.methods.finetune import Finetune
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import EpisodeSpec, recipe
from repro.run import evaluation
from repro.run.evaluation import Partial, evaluate
from repro.system.interrupts import StopRequest
from repro.system.progress import Quiet, Reporter
from repro.system.seeding import Stream, rng


@pytest.fixture(scope="module")
def split() -> ImageSplit:
    pixels = np.random.default_rng(0).integers(0, 256, (6 * 25, 28, 28, 3)).astype(np.uint8)
    rows = tuple((25 * i, 25) for i in range(6))
    return ImageSplit("noise", "test", pixels, tuple("abcdef"), rows, "")


def setting_of(k_shot: int, text: str = "authors-code", device: str = "cpu") -> Setting:
    return Setting(28, 6, 5, k_shot, recipe(text), seed=0, device=torch.device(device))


class Silent(Reporter):
    def report(self, *_: Any) -> None: ...

    def say(self, *_: Any) -> None: ...

    def tally(self, *_: Any) -> None: ...


def test_a_replayed_function_sees_inputs_of_its_own_and_only_one_shape() -> None:
    seen = []

    def function(value: Tensor) -> tuple[Tensor]:
        seen.append(value)
        return (value * 2,)

    replay, given = Replay(function, dict), torch.ones(3)
    assert replay(given)[0].tolist() == [2, 2, 2]
    assert replay(torch.full((3,), 4.0))[0].tolist() == [8, 8, 8]
    assert seen[0] is seen[1]
    assert given.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match=r"at first, now \(4,\)"):
        replay(torch.ones(4))


def same_state(first: MetaLSTM, second: MetaLSTM) -> bool:
    ours, theirs = first.state(), second.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_replayed_training_is_training_and_a_warm_up_leaves_no_trace(split: ImageSplit) -> None:
    """Also right after the start, when the optimizer has no moments to put back."""
    direct, replayed = MetaLSTM(setting_of(1)), MetaLSTM(setting_of(1))
    images = SplitImages(split, direct.setting)
    for step in range(3):
        direct.train_step(images, step)
        inputs = replayed.training_episode(images, step)
        if step != 1:
            replayed._replay._inputs = [value.clone() for value in inputs]
            replayed._replay.warm_up()
        replayed._replay(*inputs)
    assert same_state(direct, replayed)


class Ops(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("text", ["authors-code", "paper", "authors-code,gates=constant"])
def test_a_training_step_has_nothing_that_a_graph_cannot_hold(split: ImageSplit, text: str) -> None:
    """No value is read back and no constant is copied from the host (Adam has a mode for it)."""
    method = MetaLSTM(setting_of(1, text))
    inputs = method.training_episode(SplitImages(split, method.setting), 0)
    method.adam.step = lambda: None  # type: ignore[method-assign]
    method.learn(*inputs)
    with Ops() as ops:
        method.learn(*inputs)
    forbidden = ("_local_scalar_dense", "lift_fresh", "nonzero", "_to_cpu")
    assert not [name for name in ops.names if any(word in name for word in forbidden)]
    with Ops() as ops:  # the check can fail
        torch.tensor(1.0).item()
    assert [name for name in ops.names if any(word in name for word in forbidden)]


def test_stacked_learners_compute_what_each_computes_alone() -> None:
    learner, n = Conv4(4, 5, 32), 3
    params = torch.stack([learner.initial(rng(i, Stream.LEARNER_INIT)).double() for i in range(n)])
    images = torch.rand(n, 7, 3, 32, 32, dtype=torch.float64)
    alone = [BatchNormStatistics(4, params) for _ in range(n)]
    stacked = StackedConv4(learner, n)
    together = stacked.statistics(alone[0])
    for training in (True, True, False):
        expected = torch.stack(
            [learner.logits(params[i], images[i], alone[i], training) for i in range(n)]
        )
        found = stacked.logits(params, images, together, training)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    for i in range(n):
        part = slice(4 * i, 4 * i + 4)
        torch.testing.assert_close(together.variance[:, part], alone[i].variance)


def test_one_learner_alone_computes_its_own_bits() -> None:
    learner = Conv4(4, 5, 32)
    params = learner.initial(rng(0, Stream.LEARNER_INIT))
    images, labels = torch.rand(10, 3, 32, 32), torch.arange(10) % 5
    found = []
    for stacked in (None, StackedConv4(learner, 1)):
        leaf, statistics = params.clone().requires_grad_(), BatchNormStatistics(4, params)
        if stacked is None:
            logits = learner.logits(leaf, images, statistics, training=True)
            loss = torch.nn.functional.cross_entropy(logits, labels)
        else:
            logits = stacked.logits(leaf[None], images[None], statistics, training=True)
            loss = stacked.losses(logits, labels[None]).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        found.append((logits.reshape(10, 5), loss, gradient, statistics.mean))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("text", ["authors-code", "paper,query_batch_norm=support"])
@pytest.mark.parametrize(("trained", "tested"), [(1, 1), (1, 5), (5, 1)])
def test_meta_lstm_answers_several_episodes_as_one_by_one(
    split: ImageSplit, text: str, trained: int, tested: int
) -> None:
    method = MetaLSTM(setting_of(trained, text))
    images = SplitImages(split, method.setting)
    episodes = EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=tested), 0).first(3)
    found = method.predict_many(episodes, images).exp()
    expected = torch.stack([method.predict(episode, images) for episode in episodes]).exp()
    # Up to 25 updates in float32 carry the last bits this far; another episode's are much further.
    distance = float((found - expected).abs().max())
    other = float((found - expected.roll(1, 0)).abs().max())
    assert distance < min(1e-2, other / 5), (distance, other)


def fine_tuner() -> Finetune:
    method = Finetune(setting_of(5))
    method.load_state(NearestNeighbor(method.setting).state())
    method.choice = (0.01, 0.1)
    return method


def test_fine_tuning_several_episodes_is_fine_tuning_each(split: ImageSplit) -> None:
    method = fine_tuner()
    images = SplitImages(split, method.setting)
    episodes = EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=5), 0).first(2)
    found = method.predict_many(episodes, images).exp()
    expected = torch.stack([method.predict(episode, images) for episode in episodes]).exp()
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)


def test_an_evaluation_in_groups_covers_every_episode_and_goes_on_where_it_stopped(
    split: ImageSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = fine_tuner()
    images = SplitImages(split, method.setting)
    episodes = EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=1), 0).first(5)
    silent = Quiet(Silent())
    alone = evaluate(method, episodes, images, silent, "test", StopRequest())
    monkeypatch.setattr(evaluation, "_at_once", lambda *_: 2)
    partial = Partial(tmp_path / "partial", "digest")
    partial.save(alone[:1], now=True)
    grouped = evaluate(method, episodes, images, silent, "test", StopRequest(), partial)
    assert (grouped == alone).mean() > 0.99
    assert (partial.load(75) == grouped).all()


@pytest.mark.gpu
def test_a_captured_training_gives_the_state_of_the_eager_one(split: ImageSplit) -> None:
    eager, captured = (MetaLSTM(setting_of(5, device="cuda")) for _ in range(2))
    images = SplitImages(split, eager.setting)
    for step in range(4):
        eager.learn(*eager.training_episode(images, step))
        captured.train_step(images, step)
    assert captured._replay._graph is not None
    for name, value in captured.state().items():
        torch.testing.assert_close(value, eager.state()[name], rtol=1e-3, atol=1e-4)
