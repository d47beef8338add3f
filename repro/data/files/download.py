"""Download of one file over HTTP: resumed, verified, and renamed only when its checksum is right.

torchvision's ``download_url`` and pooch check digests but begin again after every interruption,
which for gigabytes on a poor line means never; huggingface_hub resumes, but from its hub alone.
So this is the standard library's client with a ``Range`` header.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from repro.system.errors import DataError, from_os_error

_CHUNK = 2**18  # bytes
_FAULTS = (OSError, http.client.HTTPException, ValueError)


class _Broken(Exception):
    """The connection broke or trickles; another attempt may go on."""


class MirrorError(DataError):
    """This mirror does not give the file; another may."""


@dataclass(frozen=True)
class RemoteFile:
    """A file that is to arrive.

    Attributes:
        name: what it is called on disk, without a folder.
        checksum: ``md5:`` or ``sha256:`` and hex digits.
        size: bytes, when known.
    """

    name: str
    url: str
    checksum: str
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes:
        timeout_s: for an answer, and for the least progress.
        tries: attempts in a row that bring less than ``slowest``.
        pause_s: before the second attempt; doubled each time.
        slowest: bytes in ``timeout_s`` below which a connection is given up.
    """

    timeout_s: float = 60.0
    tries: int = 5
    pause_s: float = 1.0
    slowest: int = 2**16


Progress = Callable[[int, int], None]  # bytes there and in all (0: unknown)


def matches(path: Path, checksum: str) -> bool:
    """Whether a file has the checksum."""
    kind, _, wanted = checksum.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest() == wanted.lower()


def download(file: RemoteFile, folder: Path, progress: Progress, patience: Patience) -> Path:
    """The file in ``folder``, fetched if it is not there yet.

    What has arrived is kept as ``<name>.<checksum>.part`` and gone on with, by this mirror or
    another one that has the same file.

    Raises:
        MirrorError: this mirror does not give it. StorageError: the disk does not take it.
        DataError: another process is fetching it.
    """
    target = folder / file.name
    part = folder / f"{file.name}.{file.checksum.partition(':')[2][:8]}.part"
    with _disk(folder), _alone(folder / f".{file.name}.lock", target):
        if target.is_file() and matches(target, file.checksum):
            return target
        _receive(file, part, progress, patience)
        if not matches(part, file.checksum):
            part.unlink()
            raise MirrorError(
                f"{file.url} gave another file: it does not have the published {file.checksum}"
            )
        os.replace(part, target)
    return target


@contextlib.contextmanager
def _disk(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise from_os_error(error) from error


@contextlib.contextmanager
def _alone(lock: Path, target: Path) -> Iterator[None]:
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        raise DataError(f"another process is fetching {target}; wait for it or stop it") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # while it is held: nobody else can hold this one
        held.release()


def _receive(file: RemoteFile, part: Path, progress: Progress, patience: Patience) -> None:
    """Bring the part to its full length, trying again where it stopped."""
    without_progress, pause_s = 0, patience.pause_s
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _attempt(file, part, before, progress, patience):
                return
            what = "the connection closed early"
        except (*_FAULTS, _Broken) as error:
            what = str(error) or type(error).__name__
        after = part.stat().st_size if part.exists() else 0
        # A server that gives a few bytes and stalls again and again brings nothing.
        without_progress = 0 if after - before >= patience.slowest else without_progress + 1
        if without_progress >= patience.tries:
            raise MirrorError(f"{file.url} does not answer properly ({what})")
        if without_progress:
            time.sleep(pause_s * 2 ** (without_progress - 1))


def _attempt(
    file: RemoteFile, part: Path, have: int, progress: Progress, patience: Patience
) -> bool:
    """One request; whether the part is now as long as the server says the file is."""
    if file.size is not None and have >= file.size:
        if have == file.size:
            return True
        part.unlink()
        have = 0
    request = urllib.request.Request(file.url, headers={"User-Agent": "repro"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=patience.timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:  # nothing beyond what is here: the checksum decides
                return True
            if error.code in (408, 425, 429) or error.code >= 500:
                raise
            raise MirrorError(f"{file.url} answers {error.code} {error.reason}") from error
    with response:
        if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
            raise MirrorError(
                f"{file.url} gave a web page instead of the file (a sign-in or quota page)"
            )
        start = _start(response, have)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else file.size
        if file.size is not None and total is not None and total != file.size:
            raise MirrorError(
                f"{file.url} gave another file: {total:,} bytes instead of {file.size:,}"
            )
        return _copy(response, part, start, total, progress, patience)


def _start(response: http.client.HTTPResponse, have: int) -> int:
    """Where the bytes that come belong; 0 from servers that do not know ranges."""
    if response.status != 206:
        return 0
    span = response.headers.get("Content-Range", "")
    if not span.startswith(f"bytes {have}-"):
        raise ValueError(f"asked for bytes from {have}, got {span!r}")
    return have


def _copy(
    response: http.client.HTTPResponse, part: Path, start: int, total: int | None,
    progress: Progress, patience: Patience,
) -> bool:  # fmt: skip
    """Write what comes; whether it was all. Faults of the disk are StorageErrors at once."""
    done, mark, since = start, start, time.monotonic()
    with _disk(part.parent), open(part, "r+b" if start else "wb") as out:
        out.seek(start)
        while chunk := _read(response):
            if done == 0 and chunk.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
                raise MirrorError(f"{response.geturl()} gave a web page instead of the file")
            out.write(chunk)
            done += len(chunk)
            progress(done, total or 0)
            now = time.monotonic()
            if now - since > patience.timeout_s:
                if done - mark < patience.slowest:
                    raise _Broken(f"{done - mark:,} bytes in {now - since:.0f} s")
                mark, since = done, now
        out.flush()
        os.fsync(out.fileno())
    return total is None or done == total


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read1(_CHUNK)  # what is there now, so that a trickle is seen as one
    except _FAULTS as error:
        raise _Broken(str(error) or type(error).__name__) from error
