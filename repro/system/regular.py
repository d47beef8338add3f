"""Ordinary files only: a pipe, socket or device under the name of one is refused, never waited for.

Reading a pipe hangs until somebody writes, and a device such as /dev/zero never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip


def kind(mode: int) -> str:
    """What a file is by its mode, in words; empty for an ordinary one."""
    return next((word for test, word in _KINDS if test(mode)), "")


def open_file(path: str | os.PathLike[str]) -> BufferedReader:
    """Open an ordinary file for reading.

    Raises:
        OSError: it is a folder, pipe, socket or device, or cannot be opened.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        what = kind(os.fstat(handle).st_mode)
        if what:
            raise OSError(errno.EINVAL, f"it is {what}, not a file", os.fspath(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """The content of an ordinary file of at most ``limit`` bytes.

    Raises:
        OSError: as :func:`open_file`, or it is larger.
    """
    with open_file(path) as file:
        if limit is None:
            return file.read()
        if os.fstat(file.fileno()).st_size <= limit:
            content = file.read(limit + 1)
            if len(content) <= limit:
                return content
    raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(Path(path)))
