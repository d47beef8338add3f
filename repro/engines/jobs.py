"""The jobs of a table: each training once, and the cells that depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro import records
from repro.papers.config import RunConfig
from repro.papers.method_names import PRETRAIN
from repro.papers.method_spec import SESSION
from repro.papers.switches import changes_of_preset
from repro.run import training
from repro.system.errors import RecordError
from repro.system.progress import Phase

# Seconds for a step of pre-training, in which MethodSpec.cost counts, as `repro bench` measured
# them: a weight for the order of tasks and for the time left, as MethodSpec.episode_s is.
STEP_S = 0.08


@dataclass(frozen=True)
class Unit:
    """A training (shared by cells) or a cell; ``needs`` is the training it waits for.

    Attributes:
        label: the switches that its recipe changes; empty of a preset.
    """

    name: str
    kind: str
    config: RunConfig
    needs: str | None
    label: str = ""

    @property
    def title(self) -> str:
        """The name for people."""
        training = self.config.training()
        if self.kind == "cell" or training is None:
            return self.name
        shot = f" {training.k_shot}-shot" if training.k_shot else ""
        label = f" {self.label}" if self.label else ""
        return f"train {training.training}{shot} seed {training.seed}{label}"

    @property
    def is_own(self) -> bool:
        """Whether it runs code that does not come with this package."""
        pretraining = self.kind == "training" and self.config.row.training == PRETRAIN
        here = self.config.row.source is None or pretraining or self._is_of_session
        return not here

    @property
    def _is_of_session(self) -> bool:
        """Whether its code is in no file, so that no other process can run it."""
        source = self.config.row.source
        return source is not None and source.package == SESSION

    @property
    def weight(self) -> float:
        """About how long it takes, in seconds on an idle machine."""
        training = self.config.training()
        if self.kind == "training" and training is not None:
            return STEP_S * self.config.row.cost * training.n_step
        return self.config.row.episode_s * self.n_episode

    @property
    def n_episode(self) -> int:
        """Episodes a cell is evaluated on, those of a grid search among them."""
        return self._n_grid_episode + self.config.budget.n_test_episode

    @property
    def _n_grid_episode(self) -> int:
        return self.config.budget.n_grid_episode * len(self.config.grid)

    def share(self, phase: Phase, done: int, total: int) -> float:
        """How much of it is done, 0 to 1, when a phase is at ``done`` of ``total``."""
        if self.kind == "training":
            return done / total
        if phase == "train":  # weighed by itself
            return 0.0
        before = 0 if phase == "grid" else self._n_grid_episode
        n = self._n_grid_episode if phase == "grid" else self.config.budget.n_test_episode
        return (before + n * done / total) / self.n_episode


def units(cells: Sequence[RunConfig]) -> list[Unit]:
    """Trainings first, each once, in the order of :func:`longest_first`; then the cells."""
    trainings: dict[str, Unit] = {}
    tasks = []
    for config in cells:
        training = config.training()
        label = changes_of_preset(config.recipe)
        digest = training.digest if training else None
        if training is not None and digest is not None and digest not in trainings:
            trainings[digest] = Unit(digest, "training", config, None, label)
        title = f"{config.method} {config.spec.told} seed {config.seed}"
        title += f" {label}" if label else ""
        tasks.append(Unit(title, "cell", config, digest, label))
    ordered = longest_first([*trainings.values(), *tasks])
    return [unit for unit in ordered if unit.kind == "training"] + tasks


def longest_first(tasks: Sequence[Unit]) -> list[Unit]:
    """By the time that a task and the longest cell waiting for it take, so that none ends late."""
    after: dict[str | None, float] = {}
    for unit in tasks:
        after[unit.needs] = max(after.get(unit.needs, 0.0), unit.weight)
    return sorted(tasks, key=lambda unit: unit.weight + after.get(unit.name, 0.0), reverse=True)


def training_ended(config: RunConfig, runs: Path) -> bool:
    """Whether the training that a config needs has nothing left to do."""
    needed = config.training()
    assert needed is not None
    try:
        return training.ended(needed, records.training_folder(runs, needed))
    except RecordError:
        return False  # the training itself says what is damaged, or goes on before it
