"""Files that are either whole or absent: temporary name, flush, rename; and digests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from repro.errors import RecordError, StorageError
from repro.regular import open_file


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
    """SHA-256 (64 hex digits) of a file's bytes."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name in the same folder; what was written there takes the name ``path``.

    Raises:
        StorageError: the disk is full, read-only or otherwise refuses; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
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
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RecordError: the file is missing or is not JSON.
    """
    try:
        with open_file(path) as file:
            return json.loads(file.read())
    except FileNotFoundError:
        raise RecordError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"{path} is not readable JSON ({what}); delete or restore it") from error
