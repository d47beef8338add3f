"""The sizes of a cell's episodes, held against the data before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from repro.data.pack import ImageSplit
from repro.papers import paper
from repro.papers.config import RunConfig
from repro.papers.method_names import PRETRAIN
from repro.system.errors import UsageError

Opened = Callable[[str], ImageSplit]


def fitted(config: RunConfig, opened: Opened) -> RunConfig:
    """The cell with the size of its training and validation episodes.

    They have the paper's 5 classes and 15 queries, or as many as the data set has; where the
    parameters have an output for each class, the classes of the test.

    Args:
        opened: a split by its name.
    Raises:
        UsageError: an episode takes more classes, or more images of a class, than there are.
    """
    spec, training = config.spec, config.training()
    _check_classes(config, opened(config.split))
    _check_images(config, opened(config.split), spec.k_shot, spec.n_query)
    if training is None:
        return config
    of_task = training.training != PRETRAIN and config.row.train_way == "task"
    shots = {"train": training.k_shot, "val": max(training.validation_shots)}
    if config.grid:
        shots["val"] = max(shots["val"], spec.k_shot)
    if not training.k_shot:  # pre-training has batches, no episodes
        del shots["train"]
    n_way = spec.n_way if of_task else paper.N_WAY
    n_query = paper.N_QUERY
    for name, k_shot in shots.items():
        split = opened(name)
        if of_task:
            _check_classes(config, split)
        _check_images(config, split, k_shot, 1)
        n_way = min(n_way, len(split.class_ids))
        n_query = min(n_query, _fewest(split)[0] - k_shot)
    return replace(
        config,
        train_n_way=None if n_way == paper.N_WAY else n_way,
        train_n_query=None if n_query == paper.N_QUERY else n_query,
    )


def _check_classes(config: RunConfig, split: ImageSplit) -> None:
    n_way, n_class = config.spec.n_way, len(split.class_ids)
    if n_way <= n_class:
        return
    why = "" if split.split == config.split else (
        f", and {config.method} has an output for each class, so it is trained and validated in "
        f"{n_way}-way episodes"
    )  # fmt: skip
    raise UsageError(
        f"{config.method} {config.spec.told}: the {split.split} split has {n_class} classes{why}; "
        f"ask for --n-way {n_class} or less"
    )


def _fewest(split: ImageSplit) -> tuple[int, str]:
    """The number of images of the smallest class, and its name."""
    classes = zip(split.class_ids, split.class_rows, strict=True)
    return min((count, class_id) for class_id, (_, count) in classes)


def _check_images(config: RunConfig, split: ImageSplit, k_shot: int, n_query: int) -> None:
    count, class_id = _fewest(split)
    needed = k_shot + n_query
    if count >= needed:
        return
    advice = []
    if k_shot > 1 and count > n_query:
        advice.append(f"ask for at most {count - n_query} shots")
    if split.split == config.split and count > k_shot:
        advice.append(f"for --n-query {count - k_shot}" if advice else
                      f"ask for --n-query {count - k_shot}")  # fmt: skip
    instead = " or ".join(advice) or "add images"
    raise UsageError(
        f"{config.method} {config.spec.told}: an episode of the {split.split} split takes at least "
        f"{needed} images of a class ({k_shot} support, {n_query} query), but {class_id} has "
        f"{count}; {instead}, or leave the class out"
    )
