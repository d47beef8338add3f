"""Atomic files (temporary name, flush, rename) and digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from repro.system import names
from repro.system.errors import RecordError, StorageError
from repro.system.regular import open_file

MAX_BYTES = 64 * 2**20  # of a file that is read whole: records, curves, gates, predictions
_TEMPORARY = ".part"
T = TypeVar("T")


def canonical_json(value: Any) -> str:
    """One spelling per value: sorted keys, no spaces, no NaN; what digests are taken of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def code_digest(folder: Path, suffixes: tuple[str, ...] = (".py",)) -> str:
    """SHA-256 over all files of code below a folder: their names and contents."""
    summed = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in suffixes):
        name, content = file.relative_to(folder).as_posix().encode(), file.read_bytes()
        summed.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return summed.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes.

    Raises:
        OSError: it cannot be read or is no ordinary file.
    """
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, follow: bool = True, limit: int = MAX_BYTES) -> bytes:
    """A file of a record, whole.

    Args:
        follow: symbolic links.
    Raises:
        RecordError: it is missing, no regular file, longer than ``limit`` or cannot be read.
    """
    if not follow and path.is_symlink():
        raise RecordError(f"{path} is a symbolic link, not a file; put the file itself there")
    try:
        with open_file(path) as file:
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise RecordError(f"{path} is missing; restore it or run the cell again") from None
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error.strerror}); restore it") from error
    if len(content) > limit:
        raise RecordError(f"{path} has more than {limit:,} bytes; restore or delete it")
    return content


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder; what was written there takes the name ``path``.

    Raises:
        StorageError: the path has no file's name, or the disk is full, read-only or otherwise
            refuses; nothing is left behind.
    """
    if not path.name:
        raise StorageError(f"cannot write {str(path)!r}: it is a folder; give a file's name")
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
        temporary = path.with_name(name)
        # Not by tempfile: the rights are those that the user's umask gives.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        rights = temporary.stat().st_mode & 0o777
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(rights)  # safetensors puts a private file of its own there
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose a "
            "writable folder, then run the same command again (earlier files are untouched)"
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the name ``path`` only when written whole.

    Raises:
        StorageError: as :func:`atomic_path`.
    """
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        yield file


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically (indent 1, sorted keys, no NaN)."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """What :func:`write_json` writes."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return text.encode()


def sweep(folder: Path) -> None:
    """Remove the temporary files of a killed writer; nobody else may write there now."""
    for left in folder.glob(f".*{_TEMPORARY}"):
        if left.is_file() and not left.is_symlink():
            left.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RecordError: the file is missing or is not JSON (NaN, infinite and half characters are
            not), or a text in it has control characters.
    """
    return parse_json(read_bytes(path), path)


def parse_json(content: bytes, path: Path | str) -> Any:
    """As :func:`read_json` of content that was read from ``path``."""
    try:
        value = msgspec.json.decode(content)
        odd = names.unprintable(value)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is not readable JSON ({error}); delete or restore it") from error
    if odd:
        raise RecordError(
            f"{path} holds {odd[:40]!r}, which is no plain text; delete or restore it"
        )
    return value


def conform(value: Any, schema: type[T]) -> T:
    """A JSON value as a type of :mod:`msgspec`.

    Raises:
        ValueError: it does not conform; the text names the place in it.
    """
    try:
        return msgspec.convert(value, schema)
    except (RecordError, KeyError) as error:  # of a check over several fields
        raise ValueError(str(error)) from error
