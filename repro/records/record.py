"""Records: the only reader and writer of cells under runs/ and results/.

A cell is a folder ``<root>/<dataset>/<method>/<k>-shot/seed-<n>/<recipe>-<budget>-<digest8>/``
(of a test on meta-validation below ``<root>/<dataset>/val/``) with ``record.json`` (config,
digests, one accuracy per episode, provenance), ``predictions.npy`` (the predicted label of every
query, uint8 ``[n_episode, n_way * n_query]``), ``metrics.jsonl`` (training curve) and, for the
meta-LSTM, ``gates.json``. The types are in :mod:`repro.records.schema`.

Three digests say that a cell is whole: ``digests.record`` of what a run of one config gives,
``files`` of the curve and the gates, and ``seal`` of everything in the record, provenance too.
Cells that were published before (schema 2) have the last two in ``sealed.json`` beside them.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.papers.config import RunConfig
from repro.papers.method_names import check_name, check_outside
from repro.records.files import (
    ASIDE,
    CURVE,
    FILE,
    GATES,
    PREDICTIONS,
    accuracies,
    outcome_digest,
    read_predictions,
    sealed,
    sealed_beside,
    write_files,
)
from repro.records.schema import RecordFile
from repro.records.tested_cell import Record
from repro.system import storage
from repro.system.errors import RecordError, UsageError

SCHEMA = 3
_OUTCOME = ("config", "accuracy", "selection", "numerics_revision")


def write_record(folder: Path, content: dict[str, Any], predictions: npt.NDArray[np.uint8]) -> None:
    """Write predictions, then the record: a record that is there is whole, and of its files."""
    buffer = io.BytesIO()
    np.save(buffer, predictions, allow_pickle=False)
    digests = {**content["digests"], "predictions": hashlib.sha256(buffer.getvalue()).hexdigest()}
    files = {
        name: storage.file_digest(folder / name)
        for name in (CURVE, GATES)
        if (folder / name).exists()
    }
    content = {**content, "schema": SCHEMA, "digests": digests, "files": files}
    digests["record"] = outcome_digest(content, _OUTCOME)
    record = storage.json_bytes(sealed(content))
    write_files(folder, {PREDICTIONS: buffer.getvalue(), FILE: record})


def read_record(folder: Path) -> Record:
    """Read and check one record; its accuracies are those of its predictions.

    Raises:
        RecordError: missing, damaged or nonsense; the file and the field are named.
    """
    record = _read(folder, FILE)
    found = accuracies(read_predictions(record), record)
    if not np.array_equal(found, record.accuracy):
        raise RecordError(
            f"{folder / FILE} is not a valid record (its accuracies are not those of its "
            f"{PREDICTIONS}); delete it and run the cell again"
        )
    return record


def _read(folder: Path, name: str) -> Record:
    """A record without its predictions."""
    path = folder / name
    raw = storage.read_bytes(path)
    content = storage.parse_json(raw, path)
    try:
        file = storage.conform(content, RecordFile)
        if content["digests"]["record"] != outcome_digest(content, _OUTCOME):
            raise ValueError("digests.record: the content was changed")
        if file.schema == SCHEMA and file.seal != sealed(content)["seal"]:
            raise ValueError("seal: the content was changed")
        told = file.config.row
        check_name(file.config.method, told.title if told else "-")
        package = (told.source or {}).get("package", "") if told else ""
        check_outside(file.config.method, package)
        files = file.files
        if file.schema != SCHEMA:
            files = sealed_beside(folder, raw)
        return Record(
            path=folder,
            config=content["config"],
            digests=file.digests,
            numerics_revision=file.numerics_revision,
            accuracy=np.asarray(file.accuracy, dtype=np.float64),
            training=content["training"],
            selection=content["selection"],
            versions=file.versions,
            device=file.device,
            threads=file.threads,
            commit=file.commit,
            dirty=file.dirty,
            command=file.command,
            started_at=file.started_at,
            wall_s=file.wall_s,
            earlier_tests=tuple(content.get("earlier_tests", ())),
            files=files,
            sealed=file.schema == SCHEMA or FILE in files,
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise RecordError(
            f"{path} is not a valid record (field {error}); delete it and run the cell again"
        ) from error


def finished(folder: Path, config: RunConfig) -> Record | None:
    """The cell's record when it is there, whole and of a training that ended; else None.

    Raises:
        RecordError: a record is there but damaged or of another configuration.
    """
    if not (folder / FILE).exists():
        return None
    record = read_record(folder)
    if record.digests.get("config") != config.digest:
        raise RecordError(
            f"{folder / FILE} belongs to another configuration; move it away or use "
            "--force to run the cell again"
        )
    return None if record.unfinished else record


def earlier_tests(folder: Path) -> list[dict[str, Any]]:
    """What the record about to be replaced said, so that every test on meta-test stays told."""
    name = next((name for name in (FILE, ASIDE) if (folder / name).exists()), None)
    if name is None:
        return []
    record = _read(folder, name)
    told = {
        "started_at": record.started_at,
        "reached_step": record.n_step,
        "checkpoint": record.digests.get("checkpoint", ""),
        "n_episode": record.n_episode,
        "accuracy": float(record.accuracy.mean()),
    }
    return [*record.earlier_tests, told]
