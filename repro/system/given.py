"""Checks of what a caller gives to the functions of this package; each mistake is one sentence."""

from __future__ import annotations

import operator
import os
import re
from pathlib import Path
from typing import Any

from repro.system.errors import UsageError

LARGEST = 2**63 - 1  # that a record holds


def whole_number(name: str, value: Any, least: int = 0) -> int:
    """A whole number as Python's own; those of numpy are taken, too.

    Raises:
        UsageError: it is none, or not from ``least`` to :data:`LARGEST`.
    """
    try:
        found = operator.index(value)
    except TypeError:
        found = None
    if found is not None and abs(found) > LARGEST:  # too long to be shown
        raise UsageError(f"{name} is a whole number from {least} to {LARGEST}, not one beyond")
    if found is None or isinstance(value, bool) or found < least:
        raise UsageError(f"{name} is a whole number from {least}, not {value!r}")
    return found


def text(name: str, value: Any) -> str:
    """A text.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} is text, not {value!r}")
    return value


def local_folder(path: Any, name: str = "runs") -> Path:
    """The folder that a function writes below.

    Raises:
        UsageError: it is a URL, which would become a folder of that name here, or no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{name} is a folder, not {path!r}")
    found = Path(os.fspath(path))
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(found)):  # a Path has one slash of the two
        raise UsageError(
            f"{name} is the URL {str(path)!r}; name a folder here: a function of Python writes to "
            "folders only, the command line takes URLs"
        )
    return found
