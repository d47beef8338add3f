"""Kinds of archives: formats that are not read are named, and the memory of each is bounded."""

from __future__ import annotations

import lzma
import os
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Self

from repro.system.errors import DataError
from repro.system.regular import open_file

COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_MAX_LABEL_BYTES = 2**20  # of a long name or the extended header of a file in a tar
_MAX_LABELS_BYTES = 2**26  # of all of them
_MAX_XZ_MEMORY = 2**28
_ENCRYPTED, _STORED, _DEFLATED, _DEFLATE_64 = 0x1, 0, 8, 9
# How archives begin that are not read here, or are a part of one.
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard", b"\x04\x22\x4d\x18": "compressed by LZ4",
    b"\x1f\x9d": "compressed by compress", b"PK\x07\x08": "the first of several parts of a zip",
    b"PK00PK": "the first of several parts of a zip",
}  # fmt: skip
_PART = re.compile(
    r"(\.z\d\d|\.(zip|tar|tgz|gz|bz2|xz|7z|rar)\.(\d{2,3}|part\w{1,3}|a[a-z]))$", re.IGNORECASE
)


def refuse_other(head: bytes, name: str) -> None:
    """Refuse an archive of a kind that is not read, or a part of one, and say what it is.

    Raises:
        DataError: it is one.
    """
    for beginning, what in _OTHERS.items():
        if head.startswith(beginning):
            raise unread(name, what)
    if _PART.search(name):
        raise unread(name, "one of several parts of an archive")


def unread(name: str, what: str) -> DataError:
    return DataError(
        f"{name} is {what}, which is not read here; unpack it with the program that made it and "
        "give the folder"
    )


def bounded_members() -> type[tarfile.TarInfo]:
    """Entries of one tar file whose names cannot fill memory."""
    left = _MAX_LABELS_BYTES

    class Member(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal left
            found = super().frombuf(buf, encoding, errors)
            if found.type in _LABELS:
                left -= found.size
                if found.size > _MAX_LABEL_BYTES or left < 0:
                    raise tarfile.ReadError(f"a name or header of {found.size:,} bytes")
            elif found.type == tarfile.GNUTYPE_SPARSE:
                raise tarfile.ReadError("a sparse file")
            return found

        def _sparse(self, *_: object) -> None:
            raise tarfile.ReadError("a sparse file")

        # A map of a sparse file may be as long as the tar.
        _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _sparse

    return Member


_LABELS = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


def is_last_part(path: Path) -> bool:
    """Whether the end of a zip says that it is on another disk than the first."""
    with open_file(path) as file:
        file.seek(-min(path.stat().st_size, 2**16 + 22), os.SEEK_END)
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    return end >= 0 and tail[end + 4 : end + 6] not in (b"\0\0", b"\xff\xff", b"")


def check_xz(path: Path) -> None:
    """Refuse an xz file that asks for much memory.

    Raises:
        lzma.LZMAError: it does.
    """
    with open_file(path) as file:
        head = file.read(2**16)
    if head.startswith(COMPRESSED[2]):
        limited = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
        limited.decompress(head, max_length=1)


def refuse_unread(info: zipfile.ZipInfo, name: str) -> None:
    """Refuse a file of a zip that cannot be unpacked here, or not in bounded memory.

    Raises:
        DataError: it has a password, or is neither stored nor deflated.
    """
    if info.flag_bits & _ENCRYPTED:
        raise unread(name, "protected by a password")
    if info.compress_type not in (_STORED, _DEFLATED):
        kind = "Deflate64" if info.compress_type == _DEFLATE_64 else "another method"
        raise unread(name, f"compressed by {kind} (number {info.compress_type})")
