"""Opens a copy: lists the files of a folder, an archive or a single file."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
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
from repro.data.files.sources import BAD_ARCHIVE, BYTES_PER_FILE, Entry, Source, html_error, is_html
from repro.system.errors import DataError
from repro.system.regular import open_file

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_SPLIT_NAMES = frozenset(("train", "val", "validation", "test"))
_ASIDE = (".csv", ".md", ".txt", ".json", "")  # what may lie beside an archive
_MAX_DEPTH = 8


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
        source.stack.close()
        raise DataError(
            f"{error.filename or root} cannot be read ({error.strerror or error}); give a readable "
            "folder or archive"
        ) from error
    except BaseException:
        source.stack.close()
        raise
    return source


def stem(name: str) -> str | None:
    """The name of an archive without its ending; None when it has none of an archive."""
    ending = next((e for e in sorted(ARCHIVES, key=len) if name.lower().endswith(e)), None)
    return name[: -len(ending)] if ending else None


def _on_disk(path: Path) -> Entry:
    return Entry(lambda: open_file(path))


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
                before = len(source.entries)
                source.add(path.relative_to(root).as_posix(), _on_disk(path))
                n_file += len(source.entries) > before and path.suffix.lower() not in _ASIDE
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
        source.room += path.stat().st_size // BYTES_PER_FILE
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
    source.stack.enter_context(opened)
    for info in opened.infolist():
        source.count()
        refuse_unread(info, called)
        if not info.is_dir():
            _add_member(source, info.filename, _zipped(opened, info), within, nested)


def _add_tar(source: Source, opened: tarfile.TarFile, within: str, nested: frozenset[str]) -> None:
    source.stack.enter_context(opened)
    for member in opened:
        source.count()
        if member.isfile():  # links and devices have no place in a copy of images
            _add_member(source, member.name, _tarred(opened, member), within, nested)


def _add_member(
    source: Source, name: str, entry: Entry, within: str, nested: frozenset[str]
) -> None:
    """A file of an archive, or the files of the archive that it is."""
    inner = stem(PurePosixPath(name).name)
    if inner not in nested:
        source.add(name, entry, within)
        return
    stream = source.stack.enter_context(entry.open())
    folder = (PurePosixPath(within, name).parent / str(inner)).as_posix()
    # Archives within archives are read one level deep.
    if name.lower().endswith(".zip"):
        called = source.called(name)
        _add_zip(source, zipfile.ZipFile(stream), folder, frozenset(), called)
    else:
        opened = tarfile.open(fileobj=stream, tarinfo=bounded_members())  # noqa: SIM115
        _add_tar(source, opened, folder, frozenset())


def _zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    return Entry(lambda: archive.open(info), info.file_size)


def _tarred(opened: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    return Entry(lambda: _member(opened, member), member.size)


def _member(opened: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = opened.extractfile(member)
    if stream is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return stream
