"""The files of a cell beside its record: read against the digests that the record has of them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from repro.records.schema import Sealed
from repro.system import storage
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

FILE = "record.json"
PREDICTIONS = "predictions.npy"
MODEL = "model.safetensors"
CURVE, GATES = "metrics.jsonl", "gates.json"
SEALED = "sealed.json"
ASIDE = ".record.json.replaced"  # the record while its files are replaced


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files in the order given, the record last; those of a full disk change nothing.

    All are written under temporary names first. An older record is set aside before the first
    takes its name, so that a kill leaves no record beside another one's files; what the older one
    said of tests is found there (:func:`repro.records.earlier_tests`).

    Raises:
        StorageError: the disk refuses; the files are those of before.
    """
    with contextlib.ExitStack() as stack:
        for name in reversed(
            list(contents)
        ):  # the contexts end, and files get their names, last first
            temporary = stack.enter_context(storage.atomic_path(folder / name))
            temporary.write_bytes(contents[name])
        if (folder / FILE).exists():
            (folder / FILE).replace(folder / ASIDE)
    (folder / ASIDE).unlink(missing_ok=True)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """A record with the digest of all of it."""
    kept = {key: value for key, value in content.items() if key != "seal"}
    return {**kept, "seal": storage.digest(kept)}


def outcome_digest(content: dict[str, Any], fields: Sequence[str]) -> str:
    """Of what a run of one config gives on one machine: everything but times and provenance.

    Args:
        fields: of a record, beside its training and digests.
    """
    kept = {key: content[key] for key in fields}
    kept["training"] = {k: v for k, v in content["training"].items() if not k.endswith("_s")}
    kept["digests"] = {key: value for key, value in content["digests"].items() if key != "record"}
    return storage.digest(kept)


def sealed_beside(folder: Path, raw: bytes) -> dict[str, str]:
    """Digests of the files of a cell from before records held them; none where none are kept."""
    path = folder / SEALED
    if not path.exists():
        return {}
    try:
        files = storage.conform(storage.read_json(path), Sealed).files
    except ValueError as error:
        raise RecordError(f"{path} is damaged ({error}); restore it") from error
    if files.get(FILE) != hashlib.sha256(raw).hexdigest():
        raise ValueError(f"{SEALED}: the content was changed")
    return files


def read_predictions(record: Record) -> npt.NDArray[np.uint8]:
    """Predicted labels of every query, ``[n_episode, n_way * n_query]``.

    Raises:
        RecordError: missing, or not those that the record was written with.
    """
    path = record.path / PREDICTIONS
    n_way, n_query = int(record.config["n_way"]), int(record.config["n_query"])
    shape = (record.n_episode, n_way * n_query)
    size = math.prod(shape)
    content = storage.read_bytes(path, limit=size + 10_000)
    if record.digests.get("predictions") == hashlib.sha256(content).hexdigest():
        # The header of an array of just this shape, so that nothing of the file is interpreted.
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        if content[: len(content) - size] == buffer.getvalue():
            found = np.frombuffer(content, np.uint8, offset=len(content) - size).reshape(shape)
            if found.max() < n_way:
                return found
    raise RecordError(
        f"{path} does not have the predictions of the record beside it; restore it or run the "
        "cell again"
    )


def accuracies(predictions: npt.NDArray[np.uint8], record: Record) -> npt.NDArray[np.float64]:
    """Share of correct queries per episode; an episode's queries stand class by class."""
    n_way, n_query = int(record.config["n_way"]), int(record.config["n_query"])
    labels = np.repeat(np.arange(n_way, dtype=np.uint8), n_query)
    found: npt.NDArray[np.float64] = (predictions == labels).sum(1) / (n_way * n_query)
    return found


def read_beside(record: Record, name: str) -> bytes:
    """The curve or the gates of a record, with the digest that the record has of them.

    Raises:
        RecordError: changed, missing, or the record has no digest of it.
    """
    path = record.path / name
    if name not in record.files:
        raise RecordError(
            f"{path}: its record is old and holds no digest of this file; test the cell "
            "again with --force (its training is kept), or publish it with --unsealed"
        )
    content = storage.read_bytes(path)
    if hashlib.sha256(content).hexdigest() != record.files[name]:
        raise RecordError(
            f"{path} does not have the digest in its record; restore it or run the cell again "
            "with --force (its training is kept)"
        )
    return content


def write_order(name: str) -> int:
    """When a file of a cell or training is copied elsewhere: what vouches for others comes later.

    Tensors and predictions, then what a run goes on from, then headers of checkpoints, a record
    last; so a kill in between leaves what a kill of the run itself would have left.
    """
    last = name.rpartition("/")[2]
    if last == FILE:
        return 3
    if last.startswith(("checkpoint-", "best-", "milestone-")) and last.endswith(".json"):
        return 2
    return 1 if last.endswith((".json", ".jsonl")) else 0
