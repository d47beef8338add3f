"""Which files a class's code is made of: its module, and what that imports from beside it."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from repro.system.errors import MethodError


def beside(file: Path) -> list[Path]:
    """The file, and the modules and packages next to it that it imports, directly or not.

    Imports are looked for in the text, wherever they stand; nothing is run. Of a package all
    Python files count; of a folder without ``__init__.py`` only the modules that are imported,
    as an installed package may have its name.
    """
    folder = file.parent
    found: dict[Path, None] = {file: None}
    waiting = [file]
    while waiting:
        user = waiting.pop()
        for level, parts in _imported(user):
            new = _modules(folder, parts[:1] if level else parts)
            if 0 < level <= len(user.parents):
                new += _modules(user.parents[level - 1], parts)
            for path in new:
                if path not in found:
                    found[path] = None
                    waiting.append(path)
    return list(found)


def _modules(folder: Path, parts: Sequence[str]) -> list[Path]:
    """The files of the first package or module on the way down the parts of a dotted name."""
    for part in parts:
        module, folder = folder / f"{part}.py", folder / part
        if (folder / "__init__.py").is_file():
            return sorted(folder.rglob("*.py"))
        if module.is_file():
            return [module]
    return []


def _imported(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The names that a file imports, in parts, each with the number of its leading dots."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return  # whoever runs it is told
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = node.module.split(".") if node.module else []
            yield from ((node.level, [*above, alias.name]) for alias in node.names)


def named_files(module: Path, names: object, who: str) -> list[Path]:
    """The files that a class names as its own, relative to its module's folder.

    Raises:
        MethodError: not a list of names, or a file that is not there.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise MethodError(f"{who} has files = {names!r}; expected is a list of file names")
    found = []
    for name in names:
        path = module.parent / str(name)
        if not path.is_file():
            raise MethodError(f"{who} names the file {name}, and {path} is not one")
        found.append(path)
    return found


def digest(folder: Path, files: Iterable[Path], extra: Iterable[Path] = ()) -> str:
    """SHA-256 of the content of one file, or over names and contents of several.

    Args:
        extra: files that a class names; with one the names count, too.
    """
    parts = [*files, *extra]
    if len(parts) == 1:
        return hashlib.sha256(parts[0].read_bytes()).hexdigest()
    summed = hashlib.sha256()
    for file in sorted(set(parts)):
        within = file.is_relative_to(folder)
        name = (file.relative_to(folder).as_posix() if within else file.name).encode()
        content = file.read_bytes()
        summed.update(b"%d %s %d " % (len(name), name, len(content)) + content)
    return summed.hexdigest()
