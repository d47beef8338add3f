"""Milestones: the checkpoints of named steps, decided before a training gets there.

One training of 50,000 episodes then answers for 40,000 as well. They do not move a number, so they
are in no digest; ``training.json`` says which are kept and at which step that was decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from repro.records import checkpoints
from repro.system import storage
from repro.system.errors import RecordError, TrainingError, UsageError

STEM = "milestone"
FILE = "training.json"


def check(asked: Iterable[int], n_step: int, task: str) -> None:
    """Whether a training of ``n_step`` steps can have these milestones.

    Raises:
        UsageError: one is not before its end.
    """
    for step in asked:
        if not 0 < step < n_step:
            raise UsageError(
                f"a milestone of {task} is a step between 1 and {n_step - 1:,}, for it makes "
                f"{n_step:,}; not {step:,}"
            )


def kept(folder: Path) -> dict[int, int]:
    """Steps of the milestones of a training, and the step at which each was decided.

    Raises:
        RecordError: ``training.json`` is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    try:
        listed = storage.read_json(path).get("milestones", [])
        return {int(item["step"]): int(item["decided_at"]) for item in listed}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"{path} is damaged (field milestones: {error})") from error


def decide(
    folder: Path, content: dict[str, Any], asked: Iterable[int], step: int
) -> dict[int, int]:
    """Write down which milestones a training keeps: those decided before, and those asked for.

    Args:
        content: of ``training.json``. step: training steps made so far.
    Returns:
        As :func:`kept`.
    Raises:
        TrainingError: the training is past one that was not decided before.
    """
    before = kept(folder)
    new = {milestone: step for milestone in asked if milestone not in before}
    late = [milestone for milestone in new if milestone <= step]
    if late:
        raise TrainingError(
            f"the training in {folder} is at step {step:,}, so it can keep no milestone at "
            f"{min(late):,}: one is decided before the training gets there; train with another "
            "seed or in another --runs folder"
        )
    if new or not (folder / FILE).exists():
        note(folder, content, before | new)
    return before | new


def note(folder: Path, content: dict[str, Any], found: Mapping[int, int]) -> None:
    """Write ``training.json`` with its milestones, as :func:`kept` gives them."""
    listed = [{"step": step, "decided_at": found[step]} for step in sorted(found)]
    told = {"milestones": listed} if listed else {}
    storage.write_json(folder / FILE, {**content, **told})


def read(folder: Path, config_digest: str, step: int) -> checkpoints.Checkpoint:
    """The checkpoint of a milestone.

    Raises:
        TrainingError: the training has none at this step, or has not got there.
        RecordError: it is damaged or of another configuration.
    """
    header = folder / f"{STEM}-{step:07d}.json"
    if not header.exists():
        decided = step in kept(folder)
        raise TrainingError(
            f"no milestone at step {step:,} in {folder}; "
            + (
                "the training keeps it when it gets there"
                if decided
                else f"`repro train --milestones {step}` keeps one, before the training gets there"
            )
        )
    return checkpoints.read(header, config_digest)
