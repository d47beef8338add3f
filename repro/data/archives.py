"""Zip files read in memory: nothing is unpacked to disk."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from repro.data.decoding import MAX_FILE_BYTES
from repro.errors import DataError

# What zipfile raises for archives that are none, damaged, encrypted or of unknown compression.
_BAD_ZIP = (
    *(zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError),
    *(EOFError, KeyError, ValueError, UnicodeError, struct.error),
)


def open_zip(archive: Path) -> zipfile.ZipFile:
    """A zip file for reading.

    Raises:
        DataError: it is none.
    """
    try:
        return zipfile.ZipFile(archive)
    except _BAD_ZIP as error:
        raise DataError(f"{archive} is not a readable zip file ({error}); get it again") from error


def read_member(opened: zipfile.ZipFile, archive: Path, name: str) -> bytes:
    """One image file of an archive.

    Raises:
        DataError: damaged, or of more bytes than an image may have.
    """
    try:
        size = opened.getinfo(name).file_size
        if size <= MAX_FILE_BYTES:
            return opened.read(name)
    except _BAD_ZIP as error:
        raise DataError(f"{archive}: {name} cannot be read ({error}); get it again") from error
    raise DataError(
        f"{archive}: {name} would unpack to {size:,} bytes, more than the {MAX_FILE_BYTES:,} "
        "accepted for an image; get it again"
    )
