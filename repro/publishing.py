"""From runs/ to results/, which is committed, and back: small records, parameters, checkpoints."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from repro import ablation_records, checkpoints, milestones, records, storage
from repro.config import TrainingConfig
from repro.errors import RecordError

# What is copied of a cell when it is there.
PUBLISHED_FILES = ("record.json", "predictions.npy", "metrics.jsonl", "gates.json")
MAX_PUBLISHED_CHECKPOINT = 5 * 2**20  # bytes


def publish(root: Path, results: Path, dataset: str, allow_dirty: bool = False) -> list[Path]:
    """Copy tested cells from runs to results, with parameters under 5 MB.

    Of a training that has not ended its newest checkpoint goes along, so that :func:`restore`
    can go on with it elsewhere.

    Raises:
        RecordError: nothing to publish, or a record is dirty or of another numerics revision.
    """
    found = records.read_records(root, dataset)
    if not found:
        raise RecordError(
            f"no finished runs of {dataset} under {root}; run `repro reproduce` first"
        )
    for record in found:
        records.check_revision(record)
        if record.dirty and not allow_dirty:
            raise RecordError(
                f"{record.path} was run from a working tree with uncommitted changes; commit and "
                "run the cell again before publishing"
            )
    targets = []
    for record in found:
        target = results / record.path.relative_to(root)
        _tell_earlier_tests(record, target)
        for name in PUBLISHED_FILES:
            if (record.path / name).exists():
                storage.write_bytes(target / name, (record.path / name).read_bytes())
        targets.append(target)
        targets += _publish_training(root, results, record)
        model = record.path / records.MODEL
        if record.budget_name == "smoke":
            continue  # pinned for CI; nobody asks for these parameters
        if model.exists() and model.stat().st_size <= MAX_PUBLISHED_CHECKPOINT:
            storage.write_bytes(target / model.name, model.read_bytes())
    return targets


def _tell_earlier_tests(record: records.Record, target: Path) -> None:
    """Note in the record what the published one that it replaces says of tests on meta-test.

    Runs that began elsewhere do not know it; the outcome's digest does not depend on it.
    """
    told = [test["started_at"] for test in record.earlier_tests] + [record.started_at]
    missing = [t for t in records.earlier_tests(target) if t["started_at"] not in told]
    if missing:
        path = record.path / "record.json"
        content = storage.read_json(path)
        content["earlier_tests"] = [*missing, *content["earlier_tests"]]
        storage.write_json(path, content)


def _publish_training(root: Path, results: Path, record: records.Record) -> list[Path]:
    """The newest and the best small checkpoint of a training that a record calls unfinished."""
    training = records.config_of(record).training()
    if training is None:
        return []
    source, target = (
        records.training_folder(root, training),
        records.training_folder(results, training),
    )
    if record.at_step is not None:
        return []  # the training it is of may have a record of its own; the parameters are in here
    if not record.unfinished:
        shutil.rmtree(target, ignore_errors=True)  # its end is in the record's own parameters
        return []
    newest = checkpoints.newest(source)
    if newest is None:
        return []
    headers = [path for path in (checkpoints.newest(source, "best"), newest) if path is not None]
    headers = [*sorted(source.glob(f"{milestones.STEM}-*.json")), *headers]
    tensors = [path.with_suffix(".safetensors") for path in headers]
    if max(path.stat().st_size for path in tensors) > MAX_PUBLISHED_CHECKPOINT:
        return []
    for path in (*tensors, source / "training.json", source / "metrics.jsonl", *headers):
        storage.write_bytes(target / path.name, path.read_bytes())
    kept = {path.stem for path in headers}
    for old in (*target.glob("checkpoint-*"), *target.glob("best-*")):
        if old.stem not in kept:
            old.unlink()
    return [target]


def publish_ablation(folder: Path, root: Path, results: Path) -> Path:
    """Copy an ablation's records and summary from runs to results.

    Raises:
        RecordError: there is no summary, or a record is dirty or of another numerics revision.
    """
    found = ablation_records.read_all(folder)
    if not found or not (folder / ablation_records.SUMMARY).exists():
        raise RecordError(f"no finished ablation in {folder}; run `repro ablate` first")
    for record in found:
        records.check_revision(record)
        if record.dirty:
            raise RecordError(
                f"{record.path} was run from a working tree with uncommitted changes; commit and "
                "run `repro ablate --force` before publishing"
            )
    target = results / folder.relative_to(root)
    paths = [record.path / ablation_records.FILE for record in found]
    for path in (*paths, folder / ablation_records.SUMMARY):
        storage.write_bytes(target / path.relative_to(folder), path.read_bytes())
    return target


def restore(results: Path, root: Path, dataset: str) -> list[Path]:
    """Copy published trainings to runs where none is further.

    Unfinished ones go on from their checkpoints; of finished ones come the tested parameters, so
    that another row that shares the training needs none of its own.

    Raises:
        RecordError: nothing was published to go on with, or parameters are damaged.
    """
    copied: list[Path] = []
    found = sorted((results / dataset / "trainings").glob("*/seed-*/*/checkpoint-*.json"))
    ended = [
        record
        for record in records.read_records(results, dataset)
        if (record.path / records.MODEL).exists() and not record.unfinished
    ]
    if not found and not ended:
        raise RecordError(
            f"no unfinished trainings and no parameters of finished ones of {dataset} under "
            f"{results}"
        )
    for header in found:
        target = root / header.parent.relative_to(results)
        newest = checkpoints.newest(target)
        if newest is None or newest.name < header.name:
            # The header last: a checkpoint counts from then on.
            names = [path.name for path in header.parent.iterdir() if path.name != header.name]
            for name in (*sorted(names, key=records.write_order), header.name):
                storage.write_bytes(target / name, (header.parent / name).read_bytes())
            copied.append(target)
    for record in ended:
        copied += _restore_finished(record, root)
    return copied


def _restore_finished(record: records.Record, root: Path) -> list[Path]:
    """The end of a record's training as a checkpoint without its optimizer, which is not needed."""
    training, told = records.config_of(record).training(), record.training
    if training is None or told.get("digest") != training.digest:
        return []
    target = records.training_folder(root, training)
    if record.at_step is not None:
        return _restore_milestone(record, training, target)
    newest = checkpoints.newest(target)
    if newest is not None and newest.name >= f"checkpoint-{training.n_step:07d}.json":
        return []
    model = _model(record)
    milestones.note(target, training.content(), milestones.kept(target))
    curve = record.path / "metrics.jsonl"
    storage.write_bytes(target / curve.name, curve.read_bytes())
    extra = {"seed": record.seed, "best": -1.0, "wall_s": told["wall_s"]}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
    ends = {"checkpoint": training.n_step}
    if training.recipe.parameters_tested == "best":
        ends = {"best": int(told["tested_step"]), **ends}
    for stem, step in ends.items():
        checkpoints.put(target, step, model, extra, training.digest, stem)
    return [target]


def _restore_milestone(
    record: records.Record, training: TrainingConfig, target: Path
) -> list[Path]:
    """A record's milestone, without the optimizer; the training's other files stay."""
    step, told = int(record.at_step or 0), record.training
    if (target / f"{milestones.STEM}-{step:07d}.json").exists():
        return []
    decided = int(told.get("milestone_decided_at", 0))
    content = _model(record)
    milestones.note(target, training.content(), milestones.kept(target) | {step: decided})
    extra = {"seed": record.seed, "wall_s": told["wall_s"], "decided_at": decided}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
    checkpoints.put(target, step, content, extra, training.digest, milestones.STEM)
    return [target]


def _model(record: records.Record) -> bytes:
    """A record's parameters, as the file that was published.

    Raises:
        RecordError: they are not what the record says.
    """
    path = record.path / records.MODEL
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != record.digests.get("model"):
        raise RecordError(f"{path} does not have the digest in its record; restore or delete it")
    return content
