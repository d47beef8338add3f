"""Checkpoints of trainings: copied to results/ to go on elsewhere, and restored to runs/."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from repro import records
from repro.papers.catalogue import numerics_revision
from repro.papers.config import TESTED_SEED, TrainingConfig
from repro.records import checkpoints, milestones
from repro.records.files import CURVE, MODEL, read_beside
from repro.system import names, storage
from repro.system.errors import RecordError
from repro.system.locks import try_lock

MAX_PUBLISHED_CHECKPOINT = 5 * 2**20  # bytes
_TRAINING = ("training.json", CURVE)


def publish_trainings(root: Path, results: Path, dataset: str) -> list[Path]:
    """Copy the newest checkpoint of each training that has not ended, for :func:`restore`.

    Nothing has to be tested for that. Checkpoints over 5 MB stay where they are.

    Raises:
        RecordError: there is none, or one is damaged.
    """
    found = sorted((root / names.part(dataset) / "trainings").glob("*/seed-*/*"))
    unfinished = [names.unlinked(root, source) for source in found if _can_continue(source)]
    copied = []
    with alone(results):
        for source in unfinished:
            target = names.unlinked(results, results / source.relative_to(root))
            if publish_newest(source, target):
                copied.append(target)
    if not copied:
        raise RecordError(
            f"no unfinished training of {dataset} under {root} has a checkpoint of at most "
            f"{MAX_PUBLISHED_CHECKPOINT // 2**20} MB; finished ones are published with their cells"
        )
    return copied


def _can_continue(source: Path) -> bool:
    """Whether a training has a checkpoint, has not ended and is of this code's arithmetic."""
    newest = checkpoints.newest(source)
    if newest is None:
        return False
    training = storage.read_json(source / _TRAINING[0])
    if not isinstance(training, dict):
        raise RecordError(f"{source / _TRAINING[0]} does not describe a training; delete it")
    current = numerics_revision(str(training.get("training")))
    ended = checkpoints.read_header(newest).step == training.get("n_step")
    return not ended and training.get("numerics_revision") == current


def restore(results: Path, root: Path, dataset: str) -> list[Path]:
    """Copy published trainings to runs where none is further.

    Unfinished ones go on from their checkpoints; of finished ones come the tested parameters, so
    that another row that shares the training needs none of its own.

    Raises:
        RecordError: nothing was published to go on with, something is damaged, or a training's
            folder is in use, after the others were copied.
    """
    copied: list[Path] = []
    home = results / names.part(dataset) / "trainings"
    found = sorted(home.glob("*/seed-*/*/checkpoint-*.json"))
    ended = [
        record
        for split in TESTED_SEED
        for record in records.read_records(results, dataset, split)
        if (record.path / MODEL).exists() and not record.unfinished
    ]
    if not found and not ended:
        raise RecordError(
            f"no unfinished trainings and no parameters of finished ones of {dataset} under "
            f"{results}"
        )
    busy = []
    for copy in (
        *(functools.partial(_restore_unfinished, header, results, root) for header in found),
        *(functools.partial(_restore_finished, record, root) for record in ended),
    ):
        try:
            copied += copy()
        except _InUseError as error:  # the others need not wait for it
            busy.append(str(error))
    if busy:
        raise RecordError(
            f"{', '.join(dict.fromkeys(busy))}: in use by another process, such as a training; "
            "wait for its end or stop it, and run the same command again (every other training is "
            "restored)"
        )
    return copied


class _InUseError(RecordError):
    """Another process holds the lock of a training's folder."""


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a training's folder, as a training does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = try_lock(folder)
    if lock is None:
        raise _InUseError(str(folder))
    try:
        yield
    finally:
        lock.release()


def _lacks(target: Path, header: str) -> bool:
    """Whether no checkpoint there is as far as this one."""
    newest = checkpoints.newest(target)
    return newest is None or newest.name < header


def _restore_unfinished(header: Path, results: Path, root: Path) -> list[Path]:
    source = names.unlinked(results, header.parent)
    target = names.unlinked(root, root / source.relative_to(results))
    if not _lacks(target, header.name):
        return []
    with _held(target):
        if not _lacks(target, header.name):  # its training went on until it was held
            return []
        kept = sorted([*source.glob("best-*.json"), *source.glob(f"{milestones.STEM}-*.json")])
        copy_training(source, target, [*(path.name for path in kept), header.name])
        _drop_other_best(target, {path.stem for path in kept})
    return [target]


def _drop_other_best(target: Path, restored: set[str]) -> None:
    """Remove the best parameters of what was trained there: the restored training never had them.

    Args:
        restored: names of those that it had, without their suffix.
    """
    for path in target.glob("best-*"):
        if path.stem not in restored:
            path.unlink()


def _restore_finished(record: records.Record, root: Path) -> list[Path]:
    """The end of a record's training as a checkpoint without its optimizer, which is not needed."""
    training, told = records.config_of(record).training(), record.training
    if training is None or told.get("digest") != training.digest:
        return []
    target = names.unlinked(root, records.training_folder(root, training))
    if record.at_step is not None:
        return _restore_milestone(record, training, target)
    last = f"checkpoint-{training.n_step:07d}.json"
    if not _lacks(target, last):
        return []
    model = _model(record)
    extra = {"seed": record.seed, "best": -1.0, "wall_s": told.get("wall_s", 0.0)}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
    ends = {"checkpoint": training.n_step}
    if training.recipe.parameters_tested == "best":
        ends = {"best": int(told.get("tested_step", training.n_step)), **ends}
    with _held(target):
        if not _lacks(target, last):
            return []
        milestones.note(target, training.content(), milestones.kept(target))
        storage.write_bytes(target / CURVE, read_beside(record, CURVE))
        for stem, step in ends.items():
            checkpoints.put(target, step, model, extra, training.digest, stem)
        _drop_other_best(target, {f"best-{ends['best']:07d}"} if "best" in ends else set())
    return [target]


def _restore_milestone(
    record: records.Record, training: TrainingConfig, target: Path
) -> list[Path]:
    """A record's milestone, without the optimizer; the training's other files stay."""
    step, told = int(record.at_step or 0), record.training
    header = target / f"{milestones.STEM}-{step:07d}.json"
    if header.exists():
        return []
    decided = int(told.get("milestone_decided_at", 0))
    content = _model(record)
    extra = {"seed": record.seed, "wall_s": told.get("wall_s", 0.0), "decided_at": decided}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
    with _held(target):
        if header.exists():
            return []
        milestones.note(target, training.content(), milestones.kept(target) | {step: decided})
        checkpoints.put(target, step, content, extra, training.digest, milestones.STEM)
    return [target]


def _model(record: records.Record) -> bytes:
    """A record's parameters, as the file that was published.

    Raises:
        RecordError: they are not what the record says.
    """
    path = record.path / MODEL
    content = storage.read_bytes(path, follow=False)
    if hashlib.sha256(content).hexdigest() != record.digests.get("model"):
        raise RecordError(f"{path} does not have the digest in its record; restore or delete it")
    return content


@contextlib.contextmanager
def alone(results: Path) -> Iterator[None]:
    """One process at a time writes to the published records.

    Raises:
        RecordError: another one does.
    """
    results.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(results / ".lock", timeout=1):
            yield
    except Timeout:
        raise RecordError(f"another process publishes to {results}; wait for its end") from None


def publish_newest(source: Path, target: Path) -> bool:
    """The newest, the best and the milestones' checkpoints, where they are small."""
    newest = checkpoints.newest(source)
    if newest is None:
        return False
    headers = [path for path in (checkpoints.newest(source, "best"), newest) if path is not None]
    headers = [*sorted(source.glob(f"{milestones.STEM}-*.json")), *headers]
    tensors = [path.with_suffix(".safetensors") for path in headers]
    if max(path.stat().st_size for path in tensors) > MAX_PUBLISHED_CHECKPOINT:
        return False
    copy_training(source, target, [path.name for path in headers])
    kept = {path.stem for path in headers}
    for old in (*target.glob("checkpoint-*"), *target.glob("best-*")):
        if old.stem not in kept:
            old.unlink()
    return True


def copy_training(source: Path, target: Path, headers: list[str]) -> None:
    """Checkpoints with their curve; a checkpoint counts from its header on, which comes last.

    Raises:
        RecordError: one is damaged or of another training than its folder.
    """
    training = storage.read_json(source / _TRAINING[0])
    kept = training.items() if isinstance(training, dict) else ()
    digest = storage.digest({key: value for key, value in kept if key != "milestones"})
    for name in headers:
        header, tensors = checkpoints.read_header(source / name), Path(name).stem + ".safetensors"
        if header.config != digest or not source.name.endswith(f"-{digest[:8]}"):
            raise RecordError(
                f"{source / name} belongs to another training than its folder; delete it"
            )
        if storage.file_digest(source / tensors) != header.sha256:
            raise RecordError(f"{source / tensors} does not have the digest in its header")
    copied = [Path(name).stem + ".safetensors" for name in headers]
    storage.sweep(target)
    for name in (*copied, *_TRAINING, *headers):
        storage.write_bytes(target / name, storage.read_bytes(source / name, follow=False))
