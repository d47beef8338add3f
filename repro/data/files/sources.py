"""Named files behind a folder, a zip, a tar or a single file; read in memory, never unpacked.

Names of archives are labels only: nothing is written under them, so they cannot lead elsewhere.
"""

from __future__ import annotations

import contextlib
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO

from repro.data.files.archives import (
    COMPRESSED,
    bounded_members,
    check_xz,
    is_last_part,
    refuse_other,
    refuse_unread,
    unread,
)
from repro.system.errors import DataError
from repro.system.regular import open_file

MAX_ENTRIES = 3_000_000  # the whole of ILSVRC-2012 has 1.4 million
MAX_IMAGE_BYTES = 64 * 2**20
MAX_FILE_BYTES = 8 * 2**30  # pickles and parquet shards
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
# What readers of archives raise for those that are none, damaged, encrypted or unknown.
BAD_ARCHIVE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, OSError, EOFError),
    *(RuntimeError, NotImplementedError, KeyError, ValueError, UnicodeError, struct.error),
    *(TypeError, IndexError, OverflowError, MemoryError),
)
_SPLIT_NAMES = frozenset(("train", "val", "validation", "test"))
_ASIDE = (".csv", ".md", ".txt", ".json", "")  # what may lie beside an archive
_MAX_DEPTH = 8
_BYTES_PER_FILE = 100  # of an archive: one with more files than that is made to fill memory
_FILES_ANYWAY = 10_000


@dataclass(frozen=True)
class _Entry:
    """One file: its size in bytes (None: as the file system says) and how to open it."""

    open: Callable[[], IO[bytes]]
    size: int | None = None


@dataclass
class Source:
    """The files of a copy, by name, in the order in which they are cheap to read."""

    origin: Path
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)
    _room: int = _FILES_ANYWAY
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stack.close()

    @property
    def names(self) -> list[str]:
        """All files, ``/``-separated."""
        return list(self._entries)

    def ordered(self, names: Iterable[str]) -> list[str]:
        """The same names in the order in which they are cheap to read."""
        if not self._places:
            self._places = {name: place for place, name in enumerate(self._entries)}
        return sorted(names, key=self._places.__getitem__)

    def called(self, name: str) -> str:
        """The file's name for an error: with the copy's own."""
        return f"{self.origin}: {name}" if self.origin.name != name else str(self.origin)

    def size(self, name: str) -> int:
        """What a file says of its size, bytes."""
        found = self._entries[name].size
        if found is None:
            with self.open(name) as stream:
                found = stream.seek(0, 2)
        return found

    def count(self) -> None:
        """One more entry of an archive: there are not more than its size explains.

        Raises:
            DataError: there are.
        """
        self._room -= 1
        if self._room < 0:
            raise DataError(
                f"{self.origin} lists more files than an archive of its size can hold ("
                f"{_BYTES_PER_FILE} bytes each); do not use this archive"
            )

    @contextlib.contextmanager
    def open(self, name: str, limit: int = MAX_FILE_BYTES) -> Iterator[IO[bytes]]:
        """A file as a stream.

        Raises:
            DataError: damaged, or larger than ``limit`` bytes.
        """
        entry = self._entries[name]
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

    def add(self, name: str, entry: _Entry, within: str = "") -> None:
        """One more file; those that systems leave beside the images are passed over."""
        # Names that are not UTF-8 can be shown, and are still opened by their bytes.
        path = PurePosixPath(name.encode(errors="surrogateescape").decode(errors="replace"))
        if path.is_absolute() or ".." in path.parts:
            raise DataError(
                f"{self.origin} names a file outside of itself ({name}); do not use this archive"
            )
        if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
            return
        if len(self._entries) >= MAX_ENTRIES:
            raise DataError(
                f"{self.origin} holds more than {MAX_ENTRIES:,} files; give the folder or archive "
                "of the data set alone"
            )
        self._entries[(PurePosixPath(within) / path).as_posix()] = entry


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


def open_source(root: Path, nested: frozenset[str] = frozenset()) -> Source:
    """List a copy: a folder, archive or single file.

    Args:
        nested: stems of tar files inside that are folders in disguise (ILSVRC's classes).
    Raises:
        DataError: nothing is there, or an archive is damaged or a web page.
    """
    source = Source(root)
    try:
        if root.is_dir():
            _add_folder(source, root, nested)
        elif root.exists():
            with open_file(root) as file:
                kind = _kind(file, str(root))
            if kind == "file":
                source.add(root.name, _on_disk(root))
            else:
                _add_archive(source, root, kind, "", nested)
        else:
            raise DataError(f"nothing is at {root}; give the folder or archive of the images")
    except OSError as error:
        source._stack.close()
        raise DataError(
            f"{error.filename or root} cannot be read ({error.strerror or error}); give a readable "
            "folder or archive"
        ) from error
    except BaseException:
        source._stack.close()
        raise
    return source


def stem(name: str) -> str | None:
    """The name of an archive without its ending; None when it has none of an archive."""
    ending = next((e for e in sorted(ARCHIVES, key=len) if name.lower().endswith(e)), None)
    return name[: -len(ending)] if ending else None


def _on_disk(path: Path) -> _Entry:
    return _Entry(lambda: open_file(path))


def _kind(file: IO[bytes], name: str) -> str:
    head = file.read(512)
    if is_html(head):
        raise html_error(name)
    refuse_other(head, name)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head.startswith(COMPRESSED) or head[257:262] == b"ustar":
        return "tar"
    if stem(name) is not None:
        raise DataError(
            f"{name} is not a readable archive (it begins with {head[:8]!r}); get it again"
        )
    return "file"


def _add_folder(source: Source, root: Path, nested: frozenset[str]) -> None:
    archives: list[Path] = []
    n_file = 0
    for parent, folders, files in os.walk(root, onerror=_refuse, followlinks=True):
        folders.sort()
        if len(Path(parent).relative_to(root).parts) >= _MAX_DEPTH:
            folders.clear()  # a link may lead back to its own parent
        for name in sorted(files):
            path = Path(parent, name)
            inner = stem(name)
            if inner is None:
                before = len(source._entries)
                source.add(path.relative_to(root).as_posix(), _on_disk(path))
                n_file += len(source._entries) > before and path.suffix.lower() not in _ASIDE
            elif inner in nested or Path(parent) == root:
                archives.append(path)
    beside = [path for path in archives if stem(path.name) in _SPLIT_NAMES | nested]
    # A download beside what was unpacked from it is not a second copy.
    chosen = beside if beside or n_file else archives
    for path in chosen:
        within = (path.parent.relative_to(root) / (stem(path.name) or "")).as_posix()
        if not (root / within).is_dir():
            with open_file(path) as file:
                kind = _kind(file, str(path))
            _add_archive(source, path, kind, within, nested)


def _refuse(error: OSError) -> None:
    raise error


def _add_archive(
    source: Source, path: Path, kind: str, within: str, nested: frozenset[str]
) -> None:
    try:
        source._room += path.stat().st_size // _BYTES_PER_FILE
        inner = nested | _SPLIT_NAMES
        if kind == "zip":
            if is_last_part(path):
                raise unread(str(path), "the last of several parts of a zip")
            _add_zip(source, zipfile.ZipFile(path), within, inner, str(path))
        else:
            check_xz(path)
            opened = tarfile.open(path, tarinfo=bounded_members())  # noqa: SIM115
            _add_tar(source, opened, within, inner)
    except BAD_ARCHIVE as error:
        raise DataError(f"{path} is not a readable archive ({error}); get it again") from error


def _add_zip(
    source: Source, opened: zipfile.ZipFile, within: str, nested: frozenset[str], called: str
) -> None:
    source._stack.enter_context(opened)
    for info in opened.infolist():
        source.count()
        refuse_unread(info, called)
        if not info.is_dir():
            _add_member(source, info.filename, _zipped(opened, info), within, nested)


def _add_tar(source: Source, opened: tarfile.TarFile, within: str, nested: frozenset[str]) -> None:
    source._stack.enter_context(opened)
    for member in opened:
        source.count()
        if member.isfile():  # links and devices have no place in a copy of images
            _add_member(source, member.name, _tarred(opened, member), within, nested)


def _add_member(
    source: Source, name: str, entry: _Entry, within: str, nested: frozenset[str]
) -> None:
    """A file of an archive, or the files of the archive that it is."""
    inner = stem(PurePosixPath(name).name)
    if inner not in nested:
        source.add(name, entry, within)
        return
    stream = source._stack.enter_context(entry.open())
    folder = (PurePosixPath(within, name).parent / str(inner)).as_posix()
    # Archives within archives are read one level deep.
    if name.lower().endswith(".zip"):
        called = source.called(name)
        _add_zip(source, zipfile.ZipFile(stream), folder, frozenset(), called)
    else:
        opened = tarfile.open(fileobj=stream, tarinfo=bounded_members())  # noqa: SIM115
        _add_tar(source, opened, folder, frozenset())


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    return _Entry(lambda: archive.open(info), info.file_size)


def _tarred(opened: tarfile.TarFile, member: tarfile.TarInfo) -> _Entry:
    return _Entry(lambda: _member(opened, member), member.size)


def _member(opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return stream
