"""The units of work that ``repro bench`` measures, on either path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from repro.bench.oracle import PlainImages, PlainMetaLSTM, make_plain
from repro.bench.request import Request, cell_flop, conv_flop
from repro.data.pack import ImageSplit, open_pack
from repro.episodes import Episode, EpisodeSampler
from repro.methods.finetune import Finetune
from repro.methods.matching_net import MatchingNet, MatchingNetFCE
from repro.methods.meta_lstm import MetaLSTM, inner_schedule
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import paper
from repro.papers.config import EpisodeSpec, recipe

# (call, images per unit, operations per unit, units of the whole per call)
Work = tuple[Callable[[], Any], int, float, float]
N_WAY, N_QUERY = paper.N_WAY, paper.N_WAY * paper.N_QUERY
QUICK_PART = 20  # a quick test of 600 episodes measures a twentieth of it
PLAIN_EPISODES = 4  # the plain path embeds every episode by itself: a few tell the time of all


def _images(request: Request, split: str) -> ImageSplit:
    if request.pack is not None:
        return open_pack(request.pack, split)
    n_class = 64 if split == "train" else 20
    per_class = 30 if request.quick or split == "train" else 600
    size, total = request.image_size, n_class * per_class
    pixels = np.random.default_rng(0).integers(0, 256, (total, size, size, 3), np.uint8)
    rows = tuple((per_class * i, per_class) for i in range(n_class))
    names = tuple(f"class-{i}" for i in range(n_class))
    return ImageSplit("random", split, pixels, names, rows, "")


def prepare_work(request: Request) -> Work:
    """Build everything a unit of work needs, so that only the work itself is timed."""
    k_shot = 1 if request.work.endswith("1shot") else 5
    split = "train" if "train" in request.work else "test"
    kept = _images(request, split)
    setting = Setting(
        image_size=kept.image_size,
        n_class=len(kept.class_ids),
        n_way=N_WAY,
        k_shot=k_shot,
        recipe=recipe("authors-code"),
        seed=0,
        precision=request.precision,
    )
    plain = request.path == "plain"
    images = (PlainImages if plain else SplitImages)(kept, setting)
    sampler = EpisodeSampler(kept.class_rows, split, EpisodeSpec(k_shot=k_shot), 0)
    return _WORK[request.work](request, setting, images, sampler)


def _steps(train_step: Callable[[SplitImages, int], Any], images: SplitImages) -> Callable[[], Any]:
    step = -1

    def run() -> None:
        nonlocal step
        step += 1
        train_step(images, step)

    return run


def _meta_train(request: Request, setting: Setting, images: SplitImages, _: EpisodeSampler) -> Work:
    plain = request.path == "plain"
    method = make_plain(PlainMetaLSTM(setting)) if plain else MetaLSTM(setting)
    n_step = len(_schedule(setting))
    n_support = n_step * N_WAY * setting.k_shot
    flop = conv_flop(paper.META_FILTERS, setting.image_size, n_support + N_QUERY, True)
    flop += cell_flop(method.learner.n_param, n_step, True)
    return _steps(method.train_step, images), n_support + N_QUERY, flop, 1.0


def _schedule(setting: Setting) -> list[slice]:
    k = setting.k_shot
    return inner_schedule(k, k, setting.n_way, setting.recipe)


def _predictions(
    request: Request, method: Any, images: SplitImages, episodes: list[Episode]
) -> Callable[[], Any]:
    if request.path == "plain":
        make_plain(method)

    def run() -> None:
        for episode in episodes:
            method.predict(episode, images)

    return run


def _meta_test(
    request: Request, setting: Setting, images: SplitImages, sampler: EpisodeSampler
) -> Work:
    method = MetaLSTM(setting)
    n_step = len(_schedule(setting))
    n_support = n_step * N_WAY * setting.k_shot
    flop = conv_flop(paper.META_FILTERS, setting.image_size, n_support, True)
    flop += conv_flop(paper.META_FILTERS, setting.image_size, N_QUERY, False)
    flop += cell_flop(method.learner.n_param, n_step, False)
    run = _predictions(request, method, images, [sampler[0]])
    return run, n_support + N_QUERY, flop, 1.0


def _frozen_test(
    request: Request, setting: Setting, images: SplitImages, sampler: EpisodeSampler
) -> Work:
    matching = request.work.startswith("matching")
    total = paper.N_TEST_EPISODE
    if request.path == "plain":
        n_episode = 1 if request.quick else PLAIN_EPISODES
    else:
        n_episode = total // QUICK_PART if request.quick and request.pack is None else total
    episodes = sampler.first(n_episode)
    method = MatchingNet(setting) if matching else NearestNeighbor(setting)
    predict = _predictions(request, method, images, episodes)

    def run() -> None:
        images.forget()  # or the second call would find everything embedded
        predict()

    # Each image once, for the Matching Network under f and under g.
    n_image = 20 * 600 * (2 if matching else 1)
    flop = conv_flop(paper.BASELINE_FILTERS, setting.image_size, n_image, False)
    return run, n_image, flop, total / n_episode


def _pretrain(request: Request, setting: Setting, images: SplitImages, _: EpisodeSampler) -> Work:
    method = NearestNeighbor(setting)
    if request.path == "plain":
        make_plain(method)
    n_image = paper.PRETRAIN_BATCH
    flop = conv_flop(paper.BASELINE_FILTERS, setting.image_size, n_image, True)
    return _steps(method.train_step, images), n_image, flop, 1.0


def _matching_train(
    request: Request, setting: Setting, images: SplitImages, _: EpisodeSampler
) -> Work:
    fce = "fce" in request.work
    method = MatchingNetFCE(setting) if fce else MatchingNet(setting)
    if request.path == "plain":
        make_plain(method)
    n_image = N_WAY * setting.k_shot + N_QUERY
    flop = conv_flop(paper.BASELINE_FILTERS, setting.image_size, n_image, True)
    return _steps(method.train_step, images), n_image, flop, 1.0


def _finetune(
    request: Request, setting: Setting, images: SplitImages, sampler: EpisodeSampler
) -> Work:
    method = Finetune(setting)
    method.load_state(NearestNeighbor(setting).state())
    n_support = paper.FINETUNE_UPDATES * N_WAY * setting.k_shot
    flop = conv_flop(paper.BASELINE_FILTERS, setting.image_size, n_support, True)
    flop += conv_flop(paper.BASELINE_FILTERS, setting.image_size, N_QUERY, False)
    run = _predictions(request, method, images, [sampler[0]])
    return run, n_support + N_QUERY, flop, 1.0


def _gather(
    _request: Request, _setting: Setting, images: SplitImages, sampler: EpisodeSampler
) -> Work:
    rows = np.concatenate([sampler[0].support, sampler[0].query])
    return lambda: images.gather(rows), len(rows), 0.0, 1.0


_WORK: dict[str, Callable[[Request, Setting, SplitImages, EpisodeSampler], Work]] = {
    "meta_lstm_train_5shot": _meta_train,
    "meta_lstm_train_1shot": _meta_train,
    "meta_lstm_test_5shot": _meta_test,
    "nearest_neighbor_test": _frozen_test,
    "matching_net_test": _frozen_test,
    "pretrain_step": _pretrain,
    "matching_net_train": _matching_train,
    "matching_net_fce_train": _matching_train,
    "finetune_test_5shot": _finetune,
    "gather_100": _gather,
}
