"""Checkpoints: tensors as safetensors, everything else as JSON beside them; never pickle.

A checkpoint counts only when its JSON is whole and names the digest of the tensor file, so a
half-written or damaged one is found out and the one before it is used. The last two are kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from repro.records.schema import Header, Line
from repro.system import storage
from repro.system.errors import OtherConfigurationError, RecordError, ReproError, text_of

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2
_LINES = msgspec.json.Decoder(Line)


@dataclass(frozen=True)
class Checkpoint:
    """State after ``step`` training steps; ``extra`` is JSON."""

    step: int
    tensors: dict[str, Tensor]
    extra: dict[str, Any]
    digest: str


def write(
    folder: Path,
    step: int,
    tensors: dict[str, Tensor],
    extra: dict[str, Any],
    config_digest: str,
    stem: str = "checkpoint",
    keep_all: bool = False,
) -> str:
    """Write a checkpoint atomically, keep the last two; returns the tensor file's digest."""
    path = folder / f"{stem}-{step:07d}.safetensors"
    write_tensors(path, tensors)
    digest = _put_header(path, step, extra, config_digest)
    for old in () if keep_all else sorted(folder.glob(f"{stem}-*.json"))[:-KEPT]:
        old.unlink(missing_ok=True)
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return digest


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file atomically, without a second copy of the tensors in memory."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with storage.atomic_path(path) as temporary:
        try:
            save_file(held, temporary)
        except SafetensorError as error:  # its word for what the disk says
            raise OSError(str(error)) from error


def put(
    folder: Path,
    step: int,
    content: bytes,
    extra: dict[str, Any],
    config_digest: str,
    stem: str = "checkpoint",
) -> str:
    """As :func:`write` of what is a safetensors file already; no other checkpoint is removed."""
    path = folder / f"{stem}-{step:07d}.safetensors"
    storage.write_bytes(path, content)
    return _put_header(path, step, extra, config_digest)


def _put_header(path: Path, step: int, extra: dict[str, Any], config_digest: str) -> str:
    digest = storage.file_digest(path)
    header = {"schema": 1, "step": step, "config": config_digest, "sha256": digest, "extra": extra}
    storage.write_json(path.with_suffix(".json"), header)
    return digest


def newest(folder: Path, stem: str = "checkpoint") -> Path | None:
    """The header of the last checkpoint, whole or not; None where there is none."""
    return max(folder.glob(f"{stem}-*.json"), default=None)


def read_header(path: Path) -> Header:
    """The JSON file of a checkpoint.

    Raises:
        RecordError: it is missing or damaged.
    """
    try:
        return storage.conform(storage.read_json(path), Header)
    except ValueError as error:
        raise RecordError(f"{path} is not a checkpoint header (field {error})") from error


def read(header_path: Path, config_digest: str) -> Checkpoint:
    """Read and verify one checkpoint.

    Raises:
        RecordError: damaged; the file is named. OtherConfigurationError: it belongs to
            another configuration than this.
    """
    told = read_header(header_path)
    path = header_path.with_suffix(".safetensors")
    owner, digest = told.config, told.sha256
    if owner != config_digest:
        raise OtherConfigurationError(
            f"{header_path} belongs to another configuration ({owner[:8]}, expected "
            f"{config_digest[:8]}); move it away or choose another --runs folder"
        )
    try:
        same = storage.file_digest(path) == digest
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror})") from error
    if not same:
        raise RecordError(f"{path} is damaged: its bytes do not have the digest in its header")
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own and several built-in types
        raise RecordError(f"{path} is not a safetensors file ({error})") from error
    return Checkpoint(told.step, tensors, told.extra, digest)


def load_into(method: Any, state: dict[str, Tensor], where: Path, own: bool = False) -> None:
    """Give a method what was read.

    Args:
        where: the tensors are from. own: the method does not come with this package; those that
            do hold floating-point numbers only.
    Raises:
        RecordError: they are not this method's. MethodError: the own one failed.
    """
    odd = next((name for name, tensor in state.items() if not tensor.is_floating_point()), None)
    if odd is not None and not own:
        raise RecordError(f"{where} is not this method's parameters ({odd}: {state[odd].dtype})")
    try:
        method.load_state(state)
    except ReproError:
        raise
    except Exception as error:  # names, shapes and kinds of tensors may be any
        raise RecordError(
            f"{where} is not this method's parameters ({text_of(error)}); delete or restore it"
        ) from error


def latest(
    folder: Path, config_digest: str, stem: str = "checkpoint"
) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each one that was passed over.

    Raises:
        RecordError: checkpoints are there but none is whole (nothing is overwritten silently).
        OtherConfigurationError: one belongs to another configuration.
    """
    passed: list[str] = []
    headers = sorted(folder.glob(f"{stem}-*.json"), reverse=True)
    for header in headers:
        try:
            return read(header, config_digest), passed
        except OtherConfigurationError:
            raise
        except RecordError as error:
            passed.append(f"{error}; the one before it is used")
    if headers:
        raise RecordError(
            f"no checkpoint in {folder} is whole ({passed[0].split(';')[0]}); "
            "delete the folder to start again"
        )
    return None, passed


def parse_json_lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a metrics file; a torn last line (a kill while writing) is left out."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in storage.read_bytes(path).splitlines():
        try:
            _LINES.decode(line)
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines
