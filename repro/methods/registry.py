"""Finds a method by its name: built in, installed by another package, or in a file.

A method of one's own is a class that follows :class:`repro.methods.base.Method` (and
:class:`~repro.methods.base.Trainable` where it learns), under the entry-point group
``repro.methods`` of an installed package, or in a file that is named as ``path/to/file.py:Class``.
Loading either runs other people's code.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from repro.methods import code_files
from repro.methods.base import Trainable
from repro.methods.description import describe
from repro.methods.guard import guarded
from repro.methods.live_code import code_digest
from repro.methods.own_code import (
    FILE_AND_CLASS,
    from_file,
    load_file,
    named_files,
    package_digest,
    source_files,
)
from repro.methods.setting import Setting
from repro.papers import paper
from repro.papers.catalogue import BUILT_IN, PRETRAIN_TARGET, built_in
from repro.papers.method_names import OUTSIDE, PRETRAIN
from repro.papers.method_spec import SESSION, MethodSpec, Source
from repro.system import processes
from repro.system.errors import MethodError, UsageError, text_of, unknown

PLUG_INS = "repro.methods"
_handed: dict[str, type] = {}  # classes of this session, by the digest of their source


def names() -> tuple[str, ...]:
    """Every row that has a name: built in, then installed; no plug-in is loaded."""
    found = {entry.name for entry in importlib.metadata.entry_points(group=PLUG_INS)}
    return (*BUILT_IN, *sorted(found - set(BUILT_IN)))


def hidden() -> list[str]:
    """A sentence on each installed method that cannot be asked for: its name is built in."""
    return [
        f"the installed method {entry.name} ({entry.value}) is not used: a built-in method "
        f"has this name; "
        "give its entry point another name"
        for entry in importlib.metadata.entry_points(group=PLUG_INS)
        if entry.name in BUILT_IN
    ]


def find(word: str, files: Sequence[MethodSpec] = ()) -> MethodSpec:
    """The row of a name, or of ``path/to/file.py:Class``.

    Args:
        files: rows that were read from files before and may be called by their names.
    Raises:
        UsageError: there is none. MethodError: a method that cannot be loaded or is none.
    """
    if FILE_AND_CLASS.fullmatch(word):
        return from_file(word)
    if word in BUILT_IN:
        return built_in(word)
    for row in files:
        if row.name == word:
            return row
    entries = list(importlib.metadata.entry_points(group=PLUG_INS, name=word))
    if not entries:
        if "/" in word or ".py" in word:
            raise UsageError(
                f"a method in a file is named path/to/file.py:Class, and {word!r} is not"
            )
        raise unknown("method", word, {*names(), *(row.name for row in files)})
    return _installed(entries[0])


def find_apart(word: str, files: Sequence[MethodSpec] = ()) -> MethodSpec:
    """:func:`find`, with a process of its own for code that does not come with this package.

    Raises:
        UsageError, MethodError: as :func:`find`.
    """
    own = FILE_AND_CLASS.fullmatch(word) or (word in names() and word not in BUILT_IN)
    if own and word not in {row.name for row in files}:
        return processes.call(find, word, who=f"the method {word}")
    return find(word, files)


def resolve(words: Iterable[str], files: Iterable[str] = ()) -> list[MethodSpec]:
    """The rows of a list such as ``paper,my_method,path/file.py:Class``, each once.

    ``paper`` is the paper's five rows, ``all`` every row that has a name.

    Args:
        files: further ``path/to/file.py:Class``; they are rows too, and may be called by name.
    Raises:
        UsageError, MethodError: as :func:`find`, or two methods have one name.
    """
    loaded = [find_apart(word) for word in files]
    found: dict[str, MethodSpec] = {}
    for word in words:
        group = {"paper": paper.METHODS, "all": names()}.get(word, (word,))
        for name in group:
            _add(found, find_apart(name, loaded))
    for row in loaded:
        _add(found, row)
    return list(found.values())


def _add(found: dict[str, MethodSpec], row: MethodSpec) -> None:
    other = found.setdefault(row.name, row)
    if other != row:
        raise UsageError(
            f"two methods are called {row.name} ({_origin(other)}; {_origin(row)}); give one of "
            "the classes another name"
        )


def _origin(row: MethodSpec) -> str:
    return row.source.told if row.source else "built in"


def from_class(loaded: type) -> MethodSpec:
    """The row of a class: as by its name, or of its file where it is in a module of one file.

    Of any other (a notebook, a prompt, a script that is run) the class itself is kept, so its cells
    can run in this process alone.

    Raises:
        MethodError: it is not a method.
    """
    name, target = loaded.__qualname__, f"{loaded.__module__}:{loaded.__qualname__}"
    for row in BUILT_IN.values():
        if row.target == target:
            return row
    module = sys.modules.get(loaded.__module__)
    path = str(getattr(module, "__file__", None) or "")
    alone = loaded.__module__ != "__main__" and not getattr(module, "__package__", None)
    if alone and path.endswith(".py") and "." not in name:
        return find_apart(f"{path}:{name}")
    source = Source(target, SESSION, code_digest(loaded))
    _handed[source.digest] = loaded
    return describe(loaded, source, None)


def _installed(entry: importlib.metadata.EntryPoint) -> MethodSpec:
    """The row of an entry point; the package's code is run."""
    told = f"the method {entry.name} ({entry.value})"
    try:
        loaded = entry.load()
    except BaseException as error:  # another package's code may fail, or end, in any way
        why = f"{type(error).__name__}: {text_of(error)}"
        raise MethodError(f"{told} cannot be loaded ({why}); repair or uninstall it") from error
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an installed package"
    if not isinstance(loaded, type):
        raise MethodError(f"{told} is not a class; see repro.methods.base.Method")
    digest = package_digest(loaded, entry.dist)
    source = Source(f"{loaded.__module__}:{loaded.__qualname__}", package, digest)
    return describe(loaded, source, entry.name)


def covered(row: MethodSpec) -> list[Path]:
    """The files that the digest of a row of one's own is taken of."""
    assert row.source is not None
    if row.source.path:
        path = Path(row.source.path)
        return [*code_files.beside(path), *named_files(load(row), path)]
    entries = list(importlib.metadata.entry_points(group=PLUG_INS, name=row.name))
    _, _, files, named = source_files(load(row), entries[0].dist if entries else None)
    return [*files, *named]


def build(row: MethodSpec, setting: Setting) -> Any:
    """A row's method before its state is loaded; one's own is guarded.

    Raises:
        MethodError: its class cannot be loaded or built.
    """
    if row.source is None:
        return _built_in(row.target)(setting)
    needed = {row.name: ("state", "load_state"), PRETRAIN: ("load_state",), None: ()}
    return guarded(row, load(row), setting, needed[row.training])


def build_training(row: MethodSpec, setting: Setting) -> Trainable:
    """What a row's training trains."""
    if row.training == PRETRAIN:
        found: Trainable = _built_in(PRETRAIN_TARGET)(setting)
    else:
        found = build(row, setting)
    return found


def _built_in(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def load(row: MethodSpec) -> type:
    """The class of a row of one's own, of exactly the source that the row names.

    Raises:
        MethodError: it is not here, or is of another source.
    """
    source = row.source
    assert source is not None
    if source.package == OUTSIDE:
        raise MethodError(
            f"{row.name} are predictions that were made elsewhere and imported; there is no method "
            "to run again (every reader of the record counts its accuracies from them)"
        )
    if source.package == SESSION:
        if source.digest not in _handed:
            raise MethodError(
                f"the method {row.name} ({source.told}) is not here: its code is in no file; "
                "evaluate it again from Python"
            )
        return _handed[source.digest]
    if source.path:
        return load_file(source)[0]
    here: Source | None = None
    with contextlib.suppress(UsageError):
        here = find(row.name).source
    if here is None or not source.package:
        raise MethodError(
            f"the method {row.name} ({source.told}) is not here; "
            + (f"install {source.package}" if source.package else
               f"name its file with --method path/to/{source.target}")
        )  # fmt: skip
    if here.digest != source.digest:
        raise MethodError(
            f"the method {row.name} is here as {here.told}, not as {source.told}; install "
            f"{source.package} with that source"
        )
    module, _, name = here.target.partition(":")
    found = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, type)
    return found
