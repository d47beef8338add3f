"""Publishing: copies tested cells with their parameters from runs/ to results/.

Everything is checked before the first file is copied. Symbolic links are not followed: what they
point at may be none of the published.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from repro import records
from repro.papers.config import Split
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
from repro.records.published_trainings import MAX_PUBLISHED_CHECKPOINT, alone, publish_newest
from repro.system import names, storage
from repro.system.errors import RecordError


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
    with alone(results):
        for record in found:
            targets.append(_publish_cell(record, root, results))
            targets += _publish_training(root, results, record)
    return targets


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
    return [target] if publish_newest(source, target) else []
