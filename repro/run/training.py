"""One training loop for everything that is trained: progress, validation, checkpoints, resume."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from repro.methods.base import Trainable
from repro.methods.split_images import SplitImages
from repro.papers.config import TrainingConfig
from repro.records import checkpoints, milestones
from repro.run.context import Pace
from repro.system import storage
from repro.system.errors import Interrupted, RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Reporter

METRICS = "metrics.jsonl"

# () -> {shot: (mean accuracy, half-width of its 95% interval)} on meta-validation episodes
Validation = Callable[[], dict[int, tuple[float, float]]]


@dataclass(frozen=True)
class Trained:
    """The tested parameters: the last or the best on meta-validation, by the recipe.

    Attributes:
        step: of these parameters. reached: training steps made in all, of those of the config.
        wall_s, checkpoint_s: time of the training, and of it what writing checkpoints took.
        decided_at: of a milestone, the step at which it was decided.
    """

    state: dict[str, Tensor]
    step: int
    digest: str
    wall_s: float
    checkpoint_s: float
    reached: int
    decided_at: int | None = None


class _Metrics:
    """Lines of the training curve and the running means of the lines to come."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self.window = {"loss": 0.0, "accuracy": 0.0, "n": 0}
        self.recent = 0.0
        self.loss = 0.0

    def rewind(self, step: int, window: dict[str, Any]) -> None:
        """Keep the lines up to ``step``: what came after a checkpoint will be made again."""
        kept = [line for line in checkpoints.parse_json_lines(self.path) if line["step"] <= step]
        storage.write_text(self.path, "".join(json.dumps(line) + "\n" for line in kept))
        self.window = dict(window)
        train = [line["accuracy"] for line in kept if line["kind"] == "train"]
        self.recent = train[-1] if train else 0.0

    @property
    def shown(self) -> str:
        """Latest means for people: of the last line, or of the window while there is none."""
        n = self.window["n"]
        loss, accuracy = self.loss, self.recent
        if not loss and n:
            loss, accuracy = self.window["loss"] / n, self.window["accuracy"] / n
        return f"loss {loss:.3f}, train {accuracy:.1%}"

    def add(self, step: int, loss: float, accuracy: float) -> None:
        window = self.window
        window["loss"] += loss
        window["accuracy"] += accuracy
        window["n"] += 1
        if step % self.every == 0:
            self.recent = window["accuracy"] / window["n"]
            self.loss = window["loss"] / window["n"]
            line = {"kind": "train", "step": step, "loss": self.loss, "accuracy": self.recent}
            self.append(line)
            self.window = {"loss": 0.0, "accuracy": 0.0, "n": 0}

    def append(self, line: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")  # a reader stops at NaN


def train(
    method: Trainable,
    config: TrainingConfig,
    folder: Path,
    images: SplitImages,
    validate: Validation,
    reporter: Reporter,
    task: str,
    stop: StopRequest,
    pace: Pace,
    marks: Sequence[int] = (),
) -> Trained:
    """Train to the config's length, going on from the folder's newest whole checkpoint.

    Args:
        marks: steps whose checkpoints are kept as milestones, beside those decided before.
    Raises:
        TrainingError: the loss or the accuracy is not finite, or it is too late for a milestone;
            the last good checkpoint stays.
        Interrupted: a stop was asked for; the state is saved.
        RecordError: checkpoints are there but none is whole or they belong to another config.
    """
    digest, n_step = config.digest, config.n_step
    metrics = _Metrics(folder / METRICS, max(1, config.validate_every // 10))
    found, passed = checkpoints.latest(folder, digest)
    for sentence in passed:
        reporter.say(sentence)
    step, best, spent = 0, -1.0, 0.0
    if found is None:
        metrics.rewind(0, metrics.window)
    else:
        checkpoints.load_into(method, found.tensors, folder, bool(config.source))
        found.tensors.clear()  # for FCE nine tenths of a GiB
        step, best, spent = found.step, found.extra["best"], found.extra["wall_s"]
        # Without the best one a later validation would be called the best of all.
        lost = best >= 0 and checkpoints.newest(folder, "best") is None
        if lost and config.recipe.parameters_tested == "best":
            raise _without_best(folder)
        if step < n_step:
            metrics.rewind(step, found.extra["window"])
            reporter.say(f"{task}: continuing from step {step:,} of {n_step:,}")
    if step < n_step:
        _drop_best_after(folder, step, best)
    decided = milestones.decide(folder, config.content(), marks, step)
    began = last_write = time.monotonic()
    cost, writing = 0.0, found.extra.get("checkpoint_s", 0.0) if found else 0.0

    def save() -> str:
        nonlocal last_write, cost, writing
        start = time.monotonic()
        extra = {
            "seed": config.seed,
            "best": best,
            "window": metrics.window,
            "wall_s": spent + start - began,
            "checkpoint_s": writing,
        }
        written = checkpoints.write(folder, step, method.state(), extra, digest)
        last_write = time.monotonic()
        cost = last_write - start
        writing += cost
        return written

    note = ""
    reached = found.digest if found else ""
    while step < n_step:
        result = method.train_step(images, step)
        for what, value, advice in (
            ("loss", result.loss, "lower the learning rate or check the data"),
            ("accuracy", result.accuracy, "mend what train_step gives, a fraction, or the data"),
        ):
            if not math.isfinite(value):
                raise TrainingError(
                    f"{task}: the {what} is {value} at step {step + 1}; the last good checkpoint "
                    f"is kept in {folder}: {advice}"
                )
        step += 1
        metrics.add(step, result.loss, result.accuracy)
        if step % config.validate_every == 0 or step == n_step:
            measured = validate()
            line = {"kind": "validation", "step": step}
            line["accuracy"] = {str(k): mean for k, (mean, _) in measured.items()}
            line["half_width"] = {str(k): half for k, (_, half) in measured.items()}
            metrics.append(line)
            note = ", ".join(f"val {k}-shot {mean:.1%}" for k, (mean, _) in measured.items())
            score = sum(mean for mean, _ in measured.values()) / len(measured)
            if score > best:
                best = score
                checkpoints.write(folder, step, method.state(), {}, digest, stem="best")
        if step in decided:
            extra = {"seed": config.seed, "wall_s": spent + time.monotonic() - began}
            extra |= {"checkpoint_s": writing, "decided_at": decided[step]}
            checkpoints.write(
                folder, step, method.state(), extra, digest, milestones.STEM, keep_all=True
            )
        shown = ", ".join(filter(None, (metrics.shown, note)))
        reporter.report(task, step, n_step, shown, "train")
        due = max(pace.checkpoint_s, pace.cost * cost)
        if step == n_step or stop or time.monotonic() - last_write > due:
            reached = save()
        if stop and step < n_step:
            raise Interrupted(
                f"{task}: stopped at step {step:,} of {n_step:,}, state saved in {folder}; "
                "run the same command to continue",
                stop.exit_code,
            )
    wall_s = spent + time.monotonic() - began
    if config.recipe.parameters_tested == "best":
        chosen, _ = checkpoints.latest(folder, digest, stem="best")
        if chosen is None:
            raise _without_best(folder)
        return Trained(chosen.tensors, chosen.step, chosen.digest, wall_s, writing, step)
    return Trained(method.state(), step, reached, wall_s, writing, step)


def _drop_best_after(folder: Path, step: int, best: float) -> None:
    """Remove the best parameters of steps that will be made again.

    On another machine they may come out otherwise, and then be no longer the best. Where those of
    the checkpoint were removed for them, they stay: made again here, they are the same.
    """
    headers = sorted(folder.glob("best-*.json"))
    later = [path for path in headers if path.name > f"best-{step:07d}.json"]
    if best < 0 or len(later) < len(headers):
        for path in later:
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)


def _without_best(folder: Path) -> TrainingError:
    return TrainingError(
        f"no best checkpoint in {folder}: a validation writes it, and published parameters of "
        "finished trainings come without it; train further, or again in another --runs folder"
    )


def so_far(config: TrainingConfig, folder: Path) -> Trained:
    """What a training that has not ended would be tested with now; it may go on meanwhile.

    Raises:
        TrainingError: it has no checkpoint yet.
        RecordError: as :func:`train`.
    """
    last, _ = checkpoints.latest(folder, config.digest)
    chosen = last
    if config.recipe.parameters_tested == "best":
        chosen, _ = checkpoints.latest(folder, config.digest, stem="best")
    if last is not None and chosen is None:
        raise _without_best(folder)
    if last is None or chosen is None:
        raise TrainingError(f"no checkpoint in {folder} yet; `repro train` makes the first one")
    wall_s, writing = last.extra["wall_s"], last.extra.get("checkpoint_s", 0.0)
    return Trained(chosen.tensors, chosen.step, chosen.digest, wall_s, writing, last.step)


def at_milestone(config: TrainingConfig, folder: Path, step: int) -> Trained:
    """The parameters of a milestone; the training may go on meanwhile.

    Raises:
        UsageError: the recipe tests the best parameters.
        TrainingError, RecordError: as :func:`repro.records.milestones.read`.
    """
    if config.recipe.parameters_tested == "best":
        raise UsageError(
            "a milestone has the parameters of its step, not the best until then; add "
            "parameters_tested=last to the recipe"
        )
    found = milestones.read(folder, config.digest, step)
    try:
        wall_s, writing = float(found.extra["wall_s"]), float(found.extra["checkpoint_s"])
        decided_at = int(found.extra["decided_at"])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(f"{folder}: damaged milestone {step:,} (field {error})") from error
    return Trained(found.tensors, step, found.digest, wall_s, writing, step, decided_at)


def ended(config: TrainingConfig, folder: Path) -> bool:
    """Whether the newest checkpoint is of the last step; only its header is looked at."""
    newest = checkpoints.newest(folder)
    if newest is None:
        return False
    header = checkpoints.read_header(newest)
    return header.step == config.n_step and header.config == config.digest


def tested_digest(config: TrainingConfig, folder: Path) -> str:
    """Digest of the checkpoint that a training which ended is tested with, from its header.

    Raises:
        RecordError: it is missing or damaged.
    """
    stem = "best" if config.recipe.parameters_tested == "best" else "checkpoint"
    newest = checkpoints.newest(folder, stem) or folder / f"{stem}-{config.n_step:07d}.json"
    return checkpoints.read_header(newest).sha256
