"""The fast paths give the numbers of the plain ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from repro.bench.oracle import PlainImages, PlainMetaLSTM, make_plain
from repro.data.pack import ImageSplit
from repro.episodes import EpisodeSampler
from repro.methods.finetune import Finetune
from repro.methods.matching_net import MatchingNet
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import EpisodeSpec


@pytest.fixture(scope="module")
def split() -> ImageSplit:
    rng = np.random.default_rng(0)
    n_class, per_class = 6, 25
    shade = rng.integers(0, 200, (n_class, 1, 1, 1, 3))
    noise = rng.integers(0, 56, (n_class, per_class, 28, 28, 3))
    pixels = (shade + noise).astype(np.uint8).reshape(-1, 28, 28, 3)
    rows = tuple((per_class * i, per_class) for i in range(n_class))
    names = tuple(f"class-{i}" for i in range(n_class))
    return ImageSplit("shades", "test", pixels, names, rows, "")


@pytest.fixture
def setting(split: ImageSplit) -> Setting:
    from repro.papers.config import recipe

    return Setting(28, len(split.class_ids), 5, 5, recipe("authors-code"), seed=0)


def test_a_training_episode_moves_the_meta_lstm_as_autograd_through_the_whole_loop_does(
    split: ImageSplit, setting: Setting
) -> None:
    """The first moments are the clipped meta-gradient, of every meta parameter and theta_0.

    Both are in float32, where a unit near zero may fall on either side: so the distance of the
    whole vectors counts, not that of the worst coordinate.
    """
    fast, plain = MetaLSTM(setting), make_plain(PlainMetaLSTM(setting))
    assert isinstance(plain, MetaLSTM)
    ours = fast.train_step(SplitImages(split, setting), 0)
    theirs = plain.train_step(PlainImages(split, setting), 0)
    assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
    for name, value in fast.state().items():
        if "exp_avg" in name and "sq" not in name:
            other = plain.state()[name]
            assert float((value - other).norm() / other.norm()) < 1e-3, name


@pytest.mark.parametrize("build", [NearestNeighbor, MatchingNet])
def test_a_training_step_gives_the_loss_of_the_plain_network(
    split: ImageSplit, setting: Setting, build: type[NearestNeighbor | MatchingNet]
) -> None:
    fast, plain = build(setting), make_plain(build(setting))
    for step in range(2):
        ours = fast.train_step(SplitImages(split, setting), step)
        theirs = plain.train_step(PlainImages(split, setting), step)  # type: ignore[union-attr]
        assert ours.loss == pytest.approx(theirs.loss, abs=2e-3)


@pytest.mark.parametrize("build", [NearestNeighbor, MatchingNet, MetaLSTM, Finetune])
def test_test_episodes_are_answered_as_one_by_one_on_the_plain_network(
    split: ImageSplit,
    setting: Setting,
    build: type[NearestNeighbor | MatchingNet | MetaLSTM | Finetune],
) -> None:
    """The frozen path embeds an image once for all episodes, in batches of its own."""
    state = NearestNeighbor(setting).state()
    methods = []
    for _ in range(2):
        method = build(setting)
        if isinstance(method, Finetune):
            method.load_state(state)
        methods.append(method)
    fast, plain = methods[0], make_plain(methods[1])
    ours, theirs = SplitImages(split, setting), PlainImages(split, setting)
    for episode in EpisodeSampler(split.class_rows, "test", EpisodeSpec(k_shot=5), 0).first(3):
        found = fast.predict(episode, ours).clamp(min=-50.0)
        expected = plain.predict(episode, theirs).clamp(min=-50.0)
        torch.testing.assert_close(found.exp(), expected.exp(), rtol=0, atol=2e-3)
