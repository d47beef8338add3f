"""Publishing: copies records, parameters and checkpoints from runs/ to results/, and back.

Everything is checked before the first file is copied. Symbolic links are not followed: what they
point at may be none of the published.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from repro import records
from repro.papers.catalogue import numerics_revision
from repro.papers.config import TESTED_SEED, Split, TrainingConfig
from repro.records import checkpoints, milestones
from repro.records.files import (
    ASIDE,
    CURVE,
    FILE,
    GATES,
    MODEL,
    PREDICTIONS,
    SEALED,
    read_beside,
    sealed,
    write_files,
)
from repro.system import names, storage
from repro.system.errors import RecordError

MAX_PUBLISHED_CHECKPOINT = 5 * 2**20  # bytes
_TRAINING = ("training.json", CURVE)


def publish(
    root: Path,
    results: Path,
    dataset: str,
    allow_dirty: bool = False,
    unsealed: bool = False,
    wanted: Callable[[records.Record], bool] = lambda record: True,
    split: Split = "test",
) -> list[Path]:
    """Copy tested cells from runs to results, with parameters under 5 MB.

    Of a training that has not ended its newest checkpoint goes along, so that :func:`restore`
    can go on with it elsewhere.

    Args:
        unsealed: also records of before a digest covered commit, time and curves; what they say
            is sealed as it is.
        wanted: which cells. split: that they were tested on.
    Raises:
        RecordError: nothing to publish, or a record is dirty, unsealed, of another numerics
            revision, or not what its digests say.
    """
    found = [record for record in records.read_records(root, dataset, split) if wanted(record)]
    if not found:
        raise RecordError(
            f"no finished runs of {dataset} under {root}; run `repro reproduce` first"
        )
    for record in found:
        _refuse(record, root, allow_dirty, unsealed)
    targets = []
    with _alone(results):
        for record in found:
            targets.append(_publish_cell(record, root, results))
            targets += _publish_training(root, results, record)
    return targets


@contextlib.contextmanager
def _alone(results: Path) -> Iterator[None]:
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


def _refuse(record: records.Record, root: Path, allow_dirty: bool, unsealed: bool) -> None:
    path = record.path
    refuse_damaged(record, root)
    if not record.sealed and not unsealed:
        raise RecordError(
            f"{path} is an old record, whose digest covers neither commit nor curve; test the cell "
            "again with --force (its training is kept), or add --unsealed to publish it as it is"
        )
    if record.dirty and not allow_dirty:
        raise RecordError(
            f"{path} was run from a working tree with uncommitted changes; commit and "
            "run the cell again before publishing"
        )


def refuse_damaged(record: records.Record, root: Path) -> None:
    """Refuse a record that is not what its digests say, its files beside it included.

    Raises:
        RecordError: so it is, or of another numerics revision, or linked from elsewhere.
    """
    path = record.path
    names.unlinked(root, path)
    records.check_revision(record)
    if records.config_of(record).digest != record.digests.get("config"):
        raise RecordError(f"{path}: the config does not have the digest that the record names")
    model = path / MODEL
    if model.exists() and storage.file_digest(model) != record.digests.get("model"):
        raise RecordError(
            f"{model} does not have the digest in its record; test the cell again with --force"
        )
    if record.sealed:
        for name in (CURVE, GATES):
            if name in record.files or (path / name).exists():
                read_beside(record, name)


def _publish_cell(record: records.Record, root: Path, results: Path) -> Path:
    """All files of a cell or, after a kill, none that counts: the record comes last."""
    target = names.unlinked(results, results / record.path.relative_to(root))
    _tell_earlier_tests(record, target)
    model = record.path / MODEL
    kept = [PREDICTIONS, CURVE, GATES]
    # Smoke is pinned for CI; nobody asks for these parameters.
    if record.budget_name != "smoke" and (
        model.exists() and model.stat().st_size <= MAX_PUBLISHED_CHECKPOINT
    ):
        kept.append(MODEL)
    contents = {
        name: storage.read_bytes(record.path / name, follow=False)
        for name in (*kept, FILE)
        if (record.path / name).exists()
    }
    if record.sealed and (record.path / SEALED).exists():
        contents = {SEALED: storage.read_bytes(record.path / SEALED, follow=False), **contents}
    elif not record.sealed:
        contents = {SEALED: _seal(contents), **contents}
    storage.sweep(target)
    there = {path.name for path in target.glob("[!.]*")}
    if there != set(contents) or any(
        storage.read_bytes(target / name) != content for name, content in contents.items()
    ):
        write_files(target, contents)
        for name in {CURVE, GATES, MODEL, SEALED} - set(contents):
            (target / name).unlink(missing_ok=True)
    (target / ASIDE).unlink(missing_ok=True)
    return target


def _seal(contents: dict[str, bytes]) -> bytes:
    """``sealed.json`` of a record that does not hold the digests itself."""
    digests = {
        name: hashlib.sha256(contents[name]).hexdigest()
        for name in (FILE, CURVE, GATES)
        if name in contents
    }
    return storage.json_bytes({"schema": 1, "files": digests})


def _tell_earlier_tests(record: records.Record, target: Path) -> None:
    """Note in the record what the published one that it replaces says of tests on meta-test.

    Runs that began elsewhere do not know it; the outcome's digest does not depend on it.
    """
    told = [test["started_at"] for test in record.earlier_tests] + [record.started_at]
    missing = [t for t in records.earlier_tests(target) if t["started_at"] not in told]
    if not missing:
        return
    path = record.path / FILE
    content = storage.read_json(path)
    content["earlier_tests"] = [*missing, *content.get("earlier_tests", ())]
    content = sealed(content) if content["schema"] == records.SCHEMA else content
    storage.write_json(path, content)
    if (record.path / SEALED).exists():
        read = {n: storage.read_bytes(record.path / n) for n in (FILE, *record.files)}
        storage.write_bytes(record.path / SEALED, _seal(read))


def _publish_training(root: Path, results: Path, record: records.Record) -> list[Path]:
    """The newest and the best small checkpoint of a training that a record calls unfinished."""
    training = records.config_of(record).training()
    if training is None:
        return []
    source = names.unlinked(root, records.training_folder(root, training))
    target = names.unlinked(results, records.training_folder(results, training))
    if record.at_step is not None:
        return []  # the training it is of may have a record of its own; the parameters are in here
    if not record.unfinished:
        shutil.rmtree(target, ignore_errors=True)  # its end is in the record's own parameters
        return []
    return [target] if _publish_newest(source, target) else []


def publish_trainings(root: Path, results: Path, dataset: str) -> list[Path]:
    """Copy the newest checkpoint of each training that has not ended, for :func:`restore`.

    Nothing has to be tested for that. Checkpoints over 5 MB stay where they are.

    Raises:
        RecordError: there is none, or one is damaged.
    """
    found = sorted((root / names.part(dataset) / "trainings").glob("*/seed-*/*"))
    unfinished = [names.unlinked(root, source) for source in found if _can_continue(source)]
    copied = []
    with _alone(results):
        for source in unfinished:
            target = names.unlinked(results, results / source.relative_to(root))
            if _publish_newest(source, target):
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


def _publish_newest(source: Path, target: Path) -> bool:
    """The newest, the best and the milestones' checkpoints, where they are small."""
    newest = checkpoints.newest(source)
    if newest is None:
        return False
    headers = [path for path in (checkpoints.newest(source, "best"), newest) if path is not None]
    headers = [*sorted(source.glob(f"{milestones.STEM}-*.json")), *headers]
    tensors = [path.with_suffix(".safetensors") for path in headers]
    if max(path.stat().st_size for path in tensors) > MAX_PUBLISHED_CHECKPOINT:
        return False
    _copy_training(source, target, [path.name for path in headers])
    kept = {path.stem for path in headers}
    for old in (*target.glob("checkpoint-*"), *target.glob("best-*")):
        if old.stem not in kept:
            old.unlink()
    return True


def _copy_training(source: Path, target: Path, headers: list[str]) -> None:
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


def restore(results: Path, root: Path, dataset: str) -> list[Path]:
    """Copy published trainings to runs where none is further.

    Unfinished ones go on from their checkpoints; of finished ones come the tested parameters, so
    that another row that shares the training needs none of its own.

    Raises:
        RecordError: nothing was published to go on with, or something is damaged.
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
    for header in found:
        source = names.unlinked(results, header.parent)
        target = names.unlinked(root, root / source.relative_to(results))
        newest = checkpoints.newest(target)
        if newest is None or newest.name < header.name:
            kept = sorted([*source.glob("best-*.json"), *source.glob(f"{milestones.STEM}-*.json")])
            _copy_training(source, target, [*(path.name for path in kept), header.name])
            copied.append(target)
    for record in ended:
        copied += _restore_finished(record, root)
    return copied


def _restore_finished(record: records.Record, root: Path) -> list[Path]:
    """The end of a record's training as a checkpoint without its optimizer, which is not needed."""
    training, told = records.config_of(record).training(), record.training
    if training is None or told.get("digest") != training.digest:
        return []
    target = names.unlinked(root, records.training_folder(root, training))
    if record.at_step is not None:
        return _restore_milestone(record, training, target)
    newest = checkpoints.newest(target)
    if newest is not None and newest.name >= f"checkpoint-{training.n_step:07d}.json":
        return []
    model = _model(record)
    milestones.note(target, training.content(), milestones.kept(target))
    storage.write_bytes(target / CURVE, read_beside(record, CURVE))
    extra = {"seed": record.seed, "best": -1.0, "wall_s": told.get("wall_s", 0.0)}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
    ends = {"checkpoint": training.n_step}
    if training.recipe.parameters_tested == "best":
        ends = {"best": int(told.get("tested_step", training.n_step)), **ends}
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
    extra = {"seed": record.seed, "wall_s": told.get("wall_s", 0.0), "decided_at": decided}
    extra["checkpoint_s"] = told.get("checkpoint_s", 0.0)
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
