"""Code of a user's own method: how its file is run, and the digest of its source."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from repro.methods import code_files
from repro.methods.description import describe
from repro.papers.method_spec import MethodSpec, Source
from repro.system import storage
from repro.system.errors import MethodError, UsageError, text_of
from repro.system.regular import read_file

FILE_AND_CLASS = re.compile(r"(.+\.py):([A-Za-z_]\w*)")


def from_file(word: str) -> MethodSpec:
    """The row of the class in ``path/to/file.py:Class``; the file's code is run.

    Raises:
        MethodError: the file cannot be read or run, or its class is not a method.
    """
    parts = FILE_AND_CLASS.fullmatch(word)
    if parts is None:
        raise UsageError(f"a method in a file is named path/to/file.py:Class, and {word!r} is not")
    path, name = Path(parts[1]).expanduser(), parts[2]
    source = Source(f"{path.name}:{name}", "", "", str(path.resolve()))
    loaded, digest = load_file(source)
    return describe(loaded, replace(source, digest=digest), None)


def package_digest(loaded: type, dist: importlib.metadata.Distribution | None = None) -> str:
    """SHA-256 over the source of a class, and over the files that it names.

    The source is the whole package around its module; of a module without one, the module and
    what it imports from beside it.

    Args:
        dist: where that stands among those of others, only its own files count.
    """
    top, is_package, files, named = source_files(loaded, dist)
    if is_package and not named:
        return storage.code_digest(top)
    return code_files.digest(top, files, named)


def source_files(
    loaded: type, dist: importlib.metadata.Distribution | None
) -> tuple[Path, bool, list[Path], list[Path]]:
    """The folder of a class's code, whether that is a package, its files, and those it names."""
    module = sys.modules[loaded.__module__]
    own = getattr(module, "__file__", None)
    if own is None:
        raise MethodError(f"the method {loaded.__qualname__} has no source file; install it as one")
    path = Path(own)
    named = named_files(loaded, path)
    if not module.__package__ or path.suffix != ".py":
        files = code_files.beside(path) if path.suffix == ".py" else [path]
        if path.parent.name in ("site-packages", "dist-packages"):
            mine = {Path(str(f.locate())).resolve() for f in (dist and dist.files) or ()}
            files = [file for file in files if file == path or file.resolve() in mine]
        return path.parent, False, files, named
    top = path.parents[module.__package__.count(".")]
    return top, True, sorted(top.rglob("*.py")), named


def named_files(loaded: type, path: Path) -> list[Path]:
    """The files that a class names as its own."""
    return code_files.named_files(
        path, getattr(loaded, "files", ()), f"the method {loaded.__name__}"
    )


def load_file(source: Source) -> tuple[type, str]:
    """Run the file and take the class out of it; and the digest of all that it is made of.

    Raises:
        MethodError: it cannot be read or run, has no such class, or is not of the digest that the
            source names.
    """
    told = f"the method {source.target}"
    path = Path(source.path)
    changed = MethodError(f"{told} was changed since the command began; run it again")
    try:
        content, files = read_file(path), code_files.beside(path)
        code = code_files.digest(path.parent, files)
    except OSError as error:
        raise MethodError(
            f"{told} cannot be read here ({source.path}: {error.strerror}); give an existing file "
            "and class; for workers, put the file at the same place on every machine, or install "
            "it as a package"
        ) from error
    name = f"repro_method_{code[:16]}"
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, source.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))  # for what it imports from beside it
        others = {str(file) for file in files[1:]}
        for key, other in list(sys.modules.items()):  # of another method, or an earlier text
            if getattr(other, "__file__", None) in others:
                del sys.modules[key]
        try:
            exec(compile(content, source.path, "exec"), module.__dict__)
        except BaseException as error:  # sys.exit() included
            del sys.modules[name]
            where = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
            raise MethodError(
                f"{told} cannot be loaded ({type(error).__name__}: {where}{text_of(error)}); "
                f"repair {path.name}"
            ) from error
    found = getattr(module, source.class_name, None)
    if not isinstance(found, type):
        classes = [
            key for key, value in vars(module).items()
            if isinstance(value, type) and value.__module__ == name
        ]  # fmt: skip
        raise MethodError(
            f"{told}: the file has no class {source.class_name} (its classes: "
            f"{', '.join(classes) or 'none'})"
        )
    digest = code_files.digest(path.parent, files, named_files(found, path))
    if source.digest and digest != source.digest:
        raise changed
    return found, digest


def with_code(row: MethodSpec, files: Iterable[str]) -> MethodSpec:
    """A row from a record, with the file among ``files`` that holds its class.

    Raises:
        MethodError: the file of this name has another source.
    """
    if row.source is None:
        return row
    for word in files:
        other = from_file(word)
        if other.name == row.name:
            assert other.source is not None
            if other.source.digest != row.source.digest:
                raise MethodError(
                    f"{word} has the source {other.source.digest[:8]}, the record of {row.name} "
                    f"names {row.source.digest[:8]}; give the file as it was"
                )
            return replace(row, source=replace(row.source, path=other.source.path))
    return row
