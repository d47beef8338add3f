"""Checks of untrusted names that become paths: keys of a bucket, records, files of workers.

The one place that says which of them stay below the folder they are meant for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from repro.system.errors import RecordError

MAX_PART = 200  # characters of one folder's or file's name


def problem(name: str) -> str:
    """Why ``a/b/c`` is no path below a folder; empty when it is one."""
    if not name.isprintable() or "\\" in name:
        return "has a control character or a backslash"
    for part in name.split("/"):
        if part in ("", ".", ".."):
            return "is absolute or has an empty, '.' or '..' part"
        if len(part) > MAX_PART:
            return f"has a part of more than {MAX_PART} characters"
    return ""


def below(root: Path, name: str) -> Path:
    """``root / name``.

    Raises:
        RecordError: it would not be below ``root``, by its parts or by a symbolic link.
    """
    why = problem(name)
    if why:
        raise RecordError(f"{name!r} is not a path below {root}: it {why}")
    return unlinked(root, root / name)


def part(name: str) -> str:
    """The name of one folder.

    Raises:
        RecordError: it cannot be one.
    """
    why = problem(name) or ("has a '/'" if "/" in name else "")
    if why:
        raise RecordError(f"{name!r} cannot be the name of a folder: it {why}")
    return name


def unlinked(root: Path, path: Path) -> Path:
    """The path, when no symbolic link below ``root`` leads out of it.

    Raises:
        RecordError: one does.
    """
    if not path.resolve().is_relative_to(root.resolve()):
        raise RecordError(
            f"{path} leaves {root} by a symbolic link; put the files themselves there"
        )
    return path


def unprintable(value: Any) -> str:
    """The first text in a JSON value that a terminal should not get; empty when there is none."""
    if isinstance(value, str):
        return "" if value.isprintable() else value
    if isinstance(value, dict):
        return next(filter(None, (unprintable(v) for pair in value.items() for v in pair)), "")
    if isinstance(value, list):
        return next(filter(None, map(unprintable, value)), "")
    return ""
