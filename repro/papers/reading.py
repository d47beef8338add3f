"""Reads ``paper.toml`` and says in one sentence what does not fit."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from repro.papers.pack import Paper, Rerun, Row, Table
from repro.system import names
from repro.system.errors import UsageError, unknown
from repro.system.regular import read_file

FILE = "paper.toml"
MAX_BYTES = 2**20  # of a file
_FIELDS = {f for kind in (Paper, Table, Row, Rerun) for f in kind.__struct_fields__} - {"source"}
_PLACE = re.compile(r"(.*?) - at `(?:key in )?\$(.*)`$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


def read(path: Path) -> Paper:
    """The paper of a file.

    Raises:
        UsageError: it cannot be read, is not TOML, or does not fit; the place in it is named.
    """
    try:
        content = tomllib.loads(read_file(path, MAX_BYTES).decode())
    except OSError as error:
        raise UsageError(
            f"the paper {path} cannot be read ({error.strerror}); give a {FILE} that exists, or "
            "its folder"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the paper {path} is not TOML ({error}); repair that line") from error
    odd = names.unprintable(content)
    if odd:
        raise UsageError(f"the paper {path} has a control character in {odd[:40]!r}; take it out")
    try:
        found = msgspec.convert(content, Paper)
        return msgspec.structs.replace(found, tables=tuple(_sourced(found)))
    except (ValueError, UsageError) as error:  # msgspec's own are ValueErrors
        raise UsageError(f"the paper {path} does not fit: {_told(str(error))}") from error


def _sourced(found: Paper) -> list[Table]:
    """The tables with their source and heading."""
    return [
        msgspec.structs.replace(
            table,
            source=f"{found.cite}, {table.name}",
            heading=table.heading or f"{table.name} of {found.cite}",
        )
        for table in found.tables
    ]


def _told(error: str) -> str:
    """msgspec's sentence with the place first and the near miss of a field that is not known."""
    parts = _PLACE.fullmatch(error)
    text, place = (parts[1], parts[2].lstrip(".")) if parts else (error, "")
    field = _UNKNOWN.fullmatch(text)
    if field:
        text = str(unknown("field", field[1], _FIELDS))
    text = text.replace("Object missing required field", "missing is the field")
    text = text.replace("Expected", "expected is", 1)
    return f"{place}: {text}" if place else text
