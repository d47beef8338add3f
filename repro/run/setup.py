"""What the stages of a cell take: one value, made once from its config and where it runs."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro import records
from repro.data.features import store
from repro.data.pack import ImageSplit, open_pack
from repro.episodes import Episode, EpisodeSampler
from repro.methods.heads import FeatureImages
from repro.methods.registry import build
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.config import EpisodeSpec, RunConfig, TrainingConfig
from repro.papers.method_names import PRETRAIN
from repro.records.checkpoints import load_into
from repro.run.context import RunContext


@dataclass(frozen=True)
class CellRun:
    """A cell on its way from its config to its record.

    Attributes:
        training: that it needs; None: nothing is trained.
        folder: of its record. training_folder: of its training, the record's where it has none.
        setting: what its method, and what is trained for it, are built from.
    """

    config: RunConfig
    context: RunContext
    training: TrainingConfig | None
    folder: Path
    training_folder: Path
    setting: Setting

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.config.method} {self.config.spec.told}"

    def split(self, name: str) -> ImageSplit:
        """The images of a split; meta-test may be another data set's."""
        pack, other = self.context.pack, self.context.test_pack
        return open_pack(other if other and name == "test" else pack, name)

    def images(self, name: str) -> SplitImages:
        """The images of a split as the method sees them; of a head, their features."""
        features = self.config.row.features
        if features is None:
            return SplitImages(self.split(name), self.setting)
        found = store.of_digest(self.context.pack, features).split(name)
        return FeatureImages(self.split(name), self.setting, found)

    @functools.cached_property
    def episodes(self) -> list[Episode]:
        """The episodes that the cell is tested on."""
        config, split = self.config, self.split(self.config.split)
        sampler = EpisodeSampler(
            split.class_rows, config.split, config.spec, config.episode_seed,
            config.episode_classes,
        )  # fmt: skip
        return sampler.first(config.budget.n_test_episode)

    def validation_episodes(self, k_shot: int, n_episode: int) -> list[Episode]:
        """The first meta-validation episodes at a shot, of the size of training episodes."""
        setting = self.setting
        n_way = setting.n_way if self.training is None else self.training.n_way
        spec = EpisodeSpec(n_way, k_shot, setting.n_query)
        return validation_episodes(self.config, self.split("val"), spec, n_episode)

    def method(self, state: dict[str, Tensor] | None, where: Path) -> Any:
        """The method with the state of its training (None: without).

        A row of someone's own without a training of its own, and a head, see the meta-train images.

        Args:
            where: the state is from, for errors.
        Raises:
            RecordError: the state is not this method's.
        """
        config = self.config
        method = build(config.row, self.setting)
        if state is not None:
            load_into(method, state, where, config.row.source is not None)
        if config.own is not None and config.row.training != config.row.name:
            method.fit(self.images("train"))
        return method


def cell_run(config: RunConfig, context: RunContext) -> CellRun:
    """What the stages of a cell take."""
    training, train = config.training(), open_pack(context.pack, "train")
    folder = records.cell_folder(context.runs, config)
    own_training = training is not None and training.training != PRETRAIN
    setting = Setting(
        image_size=train.image_size,
        n_class=len(train.class_ids),
        n_way=config.trained_n_way if own_training else config.spec.n_way,
        k_shot=training.k_shot if training else config.spec.k_shot,
        recipe=config.recipe,
        seed=config.seed,
        precision=config.precision,
        device=torch.device(context.device),
        n_step=training.n_step if training else 0,
        n_query=training.n_query if training else config.spec.n_query,
    )
    source = records.training_folder(context.runs, training) if training else folder
    return CellRun(config, context, training, folder, source, setting)


def validation_episodes(
    config: RunConfig, validation: ImageSplit, spec: EpisodeSpec, n_episode: int
) -> list[Episode]:
    """The first meta-validation episodes that choose parameters and rates."""
    classes = config.recipe.episode_classes
    return EpisodeSampler(validation.class_rows, "val", spec, 0, classes).first(n_episode)


def grid_episodes(config: RunConfig, validation: ImageSplit) -> list[Episode]:
    """The meta-validation episodes on which a grid point is chosen.

    They have the test's size, or as many classes and queries as meta-validation has.
    """
    spec = config.spec
    fewest = min(count for _, count in validation.class_rows)
    n_way = min(spec.n_way, len(validation.class_rows))
    n_query = max(1, min(spec.n_query, fewest - spec.k_shot))
    spec = EpisodeSpec(n_way, spec.k_shot, n_query)
    return validation_episodes(config, validation, spec, config.budget.n_grid_episode)


def tested(config: RunConfig, checkpoint: str) -> dict[str, str]:
    """Digests of what an interrupted grid search or test must share with the one that goes on."""
    return {"config": config.digest, "checkpoint": checkpoint}
