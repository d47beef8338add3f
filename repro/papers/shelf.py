"""Finds a paper by its key: built in, installed by another package, or in a file.

An installed one is an entry point of the group ``repro.papers`` whose value names the package, or
the package in it, that has the ``paper.toml``. None of its code is run.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from repro.papers.pack import Paper, Plain, Table
from repro.papers.reading import FILE, read
from repro.papers.reported import Reported
from repro.system.errors import ReproError, UsageError, unknown

if TYPE_CHECKING:
    import importlib.metadata

PLUG_INS = "repro.papers"
DEFAULT = "ravi2017"
BUILT_IN = ("ravi2017", "snell2017", "finn2017", "chen2019")  # in the order of their tables


@cache
def built_in(key: str) -> Paper:
    """A paper that comes with this package."""
    return read(Path(__file__).parent / key / FILE)


def known() -> tuple[str, ...]:
    """Of every paper that has a name: built in, then installed; no file is read."""
    import importlib.metadata  # takes as long as all else here

    found = {entry.name for entry in importlib.metadata.entry_points(group=PLUG_INS)}
    return (*BUILT_IN, *sorted(found - set(BUILT_IN)))


def find(word: str = DEFAULT) -> Paper:
    """The paper of a key or path; ``KEY:TABLE`` has one of its tables only.

    Args:
        word: a key, a ``paper.toml`` or other ``.toml`` file, or the folder of a ``paper.toml``.
    Raises:
        UsageError: there is none, or its file does not fit.
    """
    name, _, table = word.rpartition(":") if _has_table(word) else (word, "", "")
    found = _whole(name)
    return found.only(table) if table else found


def _has_table(word: str) -> bool:
    head, colon, tail = word.rpartition(":")
    return bool(colon) and len(head) > 1 and not any(c in tail for c in "/\\.")


def _whole(word: str) -> Paper:
    if word in BUILT_IN:
        return built_in(word)
    if word.endswith(".toml") or "/" in word or "\\" in word:
        path = Path(word).expanduser()
        return read(path / FILE if path.is_dir() else path)
    import importlib.metadata

    entries = list(importlib.metadata.entry_points(group=PLUG_INS, name=word))
    if not entries:
        near = unknown("paper", word, known())
        raise UsageError(f"{near}; a paper of your own is named by its file, path/to/{FILE}")
    path = _folder(entries[0]) / FILE
    found = read(path)
    if found.key != word:
        raise UsageError(
            f"the paper {path} has the key {found.key!r}, its entry point the name {word!r}; give "
            "both the same"
        )
    return found


def _folder(entry: importlib.metadata.EntryPoint) -> Path:
    """Where an entry point's package lies, found without importing it."""
    import importlib.util

    top, *below = entry.module.split(".")
    spec = importlib.util.find_spec(top)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise UsageError(
            f"the paper {entry.name} ({entry.value}) is in no package that is here; its entry "
            f"point names the package that has the {FILE}"
        )
    return Path(places[0]).joinpath(*below)


def every(more: Iterable[Paper] = ()) -> tuple[list[Paper], list[str]]:
    """All papers that have a name, then ``more``, each key once; and what could not be read."""
    found: dict[str, Paper] = {}
    errors = []
    for key in known():
        try:
            found[key] = _whole(key)
        except ReproError as error:
            errors.append(str(error))
    for paper in more:
        found.setdefault(paper.key, paper)
    return list(found.values()), errors


def elsewhere(table: Table, method: str, k_shot: int) -> tuple[Reported, dict[str, Plain]] | None:
    """What the built-in papers report of a method that a table does not have, and its protocol.

    Episodes are of as many classes, on the same data set; rows that a paper copied do not count.
    """
    for key in BUILT_IN:
        for other in built_in(key).tables:
            if (other.dataset, other.n_way) != (table.dataset, table.n_way):
                continue
            for row in other.rows:
                if row.copied_from or method not in (row.method, *row.stands_for):
                    continue
                reported = other.reported(row, k_shot)
                if reported is not None:
                    return reported, row.facts(k_shot)
    return None
