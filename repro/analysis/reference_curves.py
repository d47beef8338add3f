"""Unfinished trainings compared with published curves of the same method, recipe and data.

Compared is meta-validation at the last step that both validated, as fractions. With three
published seeds or more the interval is a 95% prediction interval for another seed; with fewer it
covers the validation episodes alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repro import records
from repro.analysis.curves import FILE, Curve, parse_curve
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.paired import quantile
from repro.analysis.text import percent, percent_interval
from repro.papers.catalogue import BUILT_IN
from repro.papers.method_names import PRETRAIN
from repro.system import storage
from repro.system.errors import RecordError

PREDICTED = 3  # published seeds from which another one is predicted
_FREE = ("seed", "precision", "recipe")  # what a curve of the same kind may differ in, or is below


@dataclass(frozen=True)
class Training:
    """A training with a curve.

    Attributes:
        content: what its numbers depend on, as ``training.json`` has it.
        shots: of its meta-validation.
    """

    path: Path
    content: dict[str, Any]
    shots: tuple[int, ...]

    @property
    def name(self) -> str:
        method = str(self.content["training"])
        return BUILT_IN[method].title if method in BUILT_IN else method

    def curve(self, k_shot: int) -> Curve:
        """Its curve with the validation at a shot."""
        path = self.path / FILE
        return parse_curve(storage.read_bytes(path), path, k_shot)

    def same_kind(self, other: Training) -> bool:
        """Whether row, recipe, data, length and numerics are the same; seeds may differ."""
        ours, theirs = self.content["recipe"], other.content["recipe"]
        # A switch that came later is not in older files.
        return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys()) and (
            {k: v for k, v in self.content.items() if k not in _FREE}
            == {k: v for k, v in other.content.items() if k not in _FREE}
        )


def trainings(root: Path, dataset: str) -> list[Training]:
    """Trainings with a curve under ``runs`` or ``results``, those of records among them.

    Raises:
        RecordError: a file is damaged.
    """
    found: dict[tuple[str, int], Training] = {}
    for path in sorted((root / dataset / "trainings").glob("*/seed-*/*/training.json")):
        if (path.parent / FILE).exists():
            content = storage.read_json(path)
            content.pop("milestones", None)  # they move no number
            _add(found, path.parent, content, content.get("validation_shots", ()))
    for record in records.read_records(root, dataset):
        if record.at_step is not None:
            continue  # its curve ends early, whatever became of the training
        config = records.config_of(record).training()
        if config is not None and (record.path / FILE).exists():
            content = config.content()
            if config.training != PRETRAIN:  # else it has its own, whatever row is tested
                content["numerics_revision"] = record.numerics_revision
            _add(found, record.path, content, (record.k_shot,))
    return list(found.values())


def _add(
    found: dict[tuple[str, int], Training], folder: Path, content: Any, shots: Sequence[int]
) -> None:
    try:
        training = Training(folder, dict(content), tuple(int(shot) for shot in shots))
        for name in ("training", "seed", "n_step", "recipe", "numerics_revision"):
            training.content[name]
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{folder} holds a damaged training.json ({error}); restore it"
        ) from error
    for shot in training.shots:
        # A record's training may be there, too; its own folder has gone further.
        key = storage.digest(training.content), shot
        found.setdefault(key, Training(folder, training.content, (shot,)))


@dataclass(frozen=True)
class OnCurve:
    """One unfinished training at one shot against published ones; accuracies are fractions."""

    training: Training
    k_shot: int
    step: int
    seeds: tuple[int, ...]
    accuracy: float
    published: float
    difference: Interval

    @property
    def on_curve(self) -> bool:
        return not self.difference.excludes_zero

    def sentence(self) -> str:
        """For people."""
        content = self.training.content
        where = "on" if self.on_curve else "below" if self.difference.mean < 0 else "above"
        covers = (
            "a prediction interval for another seed"
            if len(self.seeds) >= PREDICTED
            else "± covers meta-validation episodes, not seeds"
        )
        several = "s" if len(self.seeds) > 1 else ""
        seeds = f"seed{several} {', '.join(map(str, self.seeds))}"
        steps = f"{self.step:,} of {int(content['n_step']):,} steps"
        return (
            f"{self.training.name} {self.k_shot}-shot seed {content['seed']}: {where} the curve "
            f"at {steps}: {percent(self.accuracy)}, published {seeds} {percent(self.published)}, "
            f"difference {percent_interval(self.difference, signed=True)} ({covers})"
        )


def hold(unfinished: Training, published: Sequence[Training], k_shot: int) -> OnCurve | None:
    """A training against published curves of its kind; None where there is none to compare.

    Raises:
        RecordError: a curve is damaged.
    """
    mine = unfinished.path / FILE
    curve = unfinished.curve(k_shot)
    others = [
        (int(other.content["seed"]), other.curve(k_shot))
        for other in published
        if k_shot in other.shots
        and unfinished.same_kind(other)
        and storage.read_bytes(other.path / FILE) != storage.read_bytes(mine)
    ]
    common = set(curve.validation_step.tolist())
    others = [(seed, other) for seed, other in others if common & {*other.validation_step.tolist()}]
    for _, other in others:
        common &= {*other.validation_step.tolist()}
    if not others or not common:
        return None
    step = max(common)

    def at(found: Any) -> tuple[float, float]:
        place = int(np.flatnonzero(found.validation_step == step)[-1])
        return float(found.validation[place]), float(found.half_width[place])

    (accuracy, half), theirs = at(curve), [at(other) for _, other in others]
    means, count = [mean for mean, _ in theirs], len(theirs)
    if count >= PREDICTED:
        half = quantile(count - 1) * float(np.std(means, ddof=1)) * math.sqrt(1 + 1 / count)
    else:
        half = math.hypot(half, *(other / count for _, other in theirs))
    published_mean = float(np.mean(means))
    difference = Interval(accuracy - published_mean, half)
    seeds = tuple(sorted(seed for seed, _ in others))
    return OnCurve(unfinished, k_shot, int(step), seeds, accuracy, published_mean, difference)


def against_published(root: Path, results: Path, dataset: str) -> list[str]:
    """A sentence for each unfinished training under ``root``.

    Raises:
        RecordError: a file is damaged.
    """
    published, lines = trainings(results, dataset), []
    for training in trainings(root, dataset):
        for k_shot in training.shots:
            curve = training.curve(k_shot)
            reached = int(max([*curve.step.tolist(), *curve.validation_step.tolist()], default=0))
            if reached >= int(training.content["n_step"]):
                continue
            found = hold(training, published, k_shot)
            if found:
                lines.append(found.sentence())
                continue
            lines.append(
                f"{training.name} {k_shot}-shot seed {training.content['seed']}: at {reached:,} of "
                f"{int(training.content['n_step']):,} steps; no published curve of the same "
                "method, recipe and data was validated at one of its steps"
            )
    return lines or [f"no unfinished training of {dataset} under {root} has a curve"]
