"""Named files behind a folder, a zip, a tar or a single file; read in memory, never unpacked.

Names of archives are labels only: nothing is written under them, so they cannot lead elsewhere.
"""

from __future__ import annotations

import contextlib
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from repro.system.errors import DataError

MAX_ENTRIES = 3_000_000  # the whole of ILSVRC-2012 has 1.4 million
MAX_IMAGE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 8 * 2**30  # pickles and parquet shards
# What readers of archives raise for those that are none, damaged, encrypted or unknown.
BAD_ARCHIVE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(RuntimeError, NotImplementedError, KeyError, ValueError, UnicodeError, struct.error),
    *(TypeError, IndexError, OverflowError, MemoryError),
)
BYTES_PER_FILE = 100  # of an archive: one with more files than that is made to fill memory
_FILES_ANYWAY = 10_000


@dataclass(frozen=True)
class Entry:
    """One file: its size in bytes (None: as the file system says) and how to open it."""

    open: Callable[[], IO[bytes]]
    size: int | None = None


@dataclass
class Source:
    """The files of a copy, by name, in the order in which they are cheap to read."""

    origin: Path
    entries: dict[str, Entry] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    room: int = _FILES_ANYWAY
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stack.close()

    @property
    def names(self) -> list[str]:
        """All files, ``/``-separated."""
        return list(self.entries)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The same names in the order in which they are cheap to read."""
        if not self._places:
            self._places = {name: place for place, name in enumerate(self.entries)}
        return sorted(names, key=self._places.__getitem__)

    def called(self, name: str) -> str:
        """The file's name for an error: with the copy's own."""
        return f"{self.origin}: {name}" if self.origin.name != name else str(self.origin)

    def size(self, name: str) -> int:
        """What a file says of its size, bytes."""
        found = self.entries[name].size
        if found is None:
            with self.open(name) as stream:
                found = stream.seek(0, 2)
        return found

    def count(self) -> None:
        """One more entry of an archive: there are not more than its size explains.

        Raises:
            DataError: there are.
        """
        self.room -= 1
        if self.room < 0:
            raise DataError(
                f"{self.origin} lists more files than an archive of its size can hold ("
                f"{BYTES_PER_FILE} bytes each); do not use this archive"
            )

    @contextlib.contextmanager
    def open(self, name: str, limit: int = MAX_FILE_BYTES) -> Iterator[IO[bytes]]:
        """A file as a stream.

        Raises:
            DataError: damaged, or larger than ``limit`` bytes.
        """
        entry = self.entries[name]
        if entry.size is not None and entry.size > limit:
            raise DataError(
                f"{self.called(name)} would unpack to {entry.size:,} bytes, more than the "
                f"{limit:,} accepted; get it again"
            )
        try:
            with entry.open() as stream:
                yield stream
        except BAD_ARCHIVE as error:
            raise DataError(
                f"{self.called(name)} cannot be read ({error}); get it again"
            ) from error

    def read(self, name: str, limit: int = MAX_IMAGE_BYTES) -> bytes:
        """A whole file of at most ``limit`` bytes.

        Raises:
            DataError: damaged or larger.
        """
        with self.open(name, limit) as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise DataError(
                f"{self.called(name)} has more than the {limit:,} bytes accepted; get it again"
            )
        return content

    def add(self, name: str, entry: Entry, within: str = "") -> None:
        """One more file; those that systems leave beside the images are passed over."""
        # Names that are not UTF-8 can be shown, and are still opened by their bytes.
        path = PurePosixPath(name.encode(errors="surrogateescape").decode(errors="replace"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(
                f"{self.origin} names a file outside of itself ({name}); do not use this archive"
            )
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            return
        if len(self.entries) >= MAX_ENTRIES:
            raise DataError(
                f"{self.origin} holds more than {MAX_ENTRIES:,} files; give the folder or archive "
                "of the data set alone"
            )
        self.entries[(PurePosixPath(within) / path).as_posix()] = entry


def is_html(head: bytes) -> bool:
    """Whether a file begins like a web page: what a failed download leaves."""
    start = head[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<!--", b"<?xml"))


class WebPage(DataError):
    """A web page (HTML) under the name of something else."""


def html_error(name: str) -> WebPage:
    """The refusal of a web page under another name."""
    return WebPage(
        f"{name} is a web page (HTML) saved under that name, as download pages and sign-ins leave "
        "it; get the file itself"
    )
