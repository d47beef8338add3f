"""The digest of code that is in no file of its own: functions, classes and models of a session.

It covers what a function or class does here: its source, the functions, classes and plain values
that it uses (those of a module of one's own, too), and the arrays and parameters that it was given.
Of a model it covers parameters, buffers and plain attributes. What comes with an installed package
counts by its name. Objects of other kinds count by the name of their class alone.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import site
import sys
import sysconfig
import types
from typing import Any

import numpy as np
import torch

from repro.system.errors import MethodError, text_of

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_INSTALLED = tuple({
    *(sysconfig.get_path(key) for key in ("stdlib", "platstdlib", "purelib", "platlib")),
    *site.getsitepackages(), site.getusersitepackages(),
})  # fmt: skip
_OF_TORCH = frozenset(vars(torch.nn.Module()))
_METHODS = (types.FunctionType, staticmethod, classmethod, property, functools.cached_property)


def code_digest(code: Any) -> str:
    """SHA-256 of a function, a class, a model or another callable; see the module.

    Raises:
        MethodError: something that it uses has no bytes to sum or is nested too deep.

    >>> threshold = 0.5
    >>> def choose(x):
    ...     return x > threshold
    >>> before = code_digest(choose)
    >>> before == code_digest(choose)
    True
    """
    found = hashlib.sha256()
    try:
        for part in _Walk().parts(code):
            found.update(b"%d:" % len(part) + part)
    except Exception as error:
        named = getattr(code, "__name__", type(code).__name__)
        raise MethodError(
            f"what {named} uses has no digest ({type(error).__name__}: {text_of(error)}); its "
            "tensors are dense, initialised and on a device, and its objects are not nested in "
            "hundreds of levels"
        ) from error
    return found.hexdigest()


class _Walk:
    """Goes through an object once; what was met before is told by when it was."""

    def __init__(self) -> None:
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []  # an id belongs to one object only as long as that lives

    def parts(self, value: Any) -> list[bytes]:
        if isinstance(value, _PLAIN):
            return [f"{type(value).__name__} {value!r}".encode()]
        if id(value) in self._met:
            return [b"seen %d" % self._met[id(value)]]
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        found = [f"{type(value).__module__}.{type(value).__qualname__}".encode()]
        for part in self._content(value):
            found += self.parts(part) if not isinstance(part, _Raw) else [part.content]
        return found

    def _content(self, value: Any) -> list[Any]:
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous()
            raw = array.reshape(-1).view(torch.uint8) if array.numel() else array.reshape(-1)
            return [str(array.dtype), tuple(array.shape), _Raw(raw.numpy().tobytes())]
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return [str(value.dtype), value.shape, _Raw(np.ascontiguousarray(value).tobytes())]
        if isinstance(value, dict):
            return [item for pair in value.items() for item in pair]
        if isinstance(value, list | tuple):
            return list(value)
        if isinstance(value, set | frozenset):
            return sorted(map(repr, value))
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, types.MethodType):
            return [value.__func__, value.__self__]
        if isinstance(value, types.ModuleType):
            return [value.__name__]
        if isinstance(value, types.FunctionType | type):
            named = f"{value.__module__}.{value.__qualname__}"
            if _is_installed(value):
                return [named]
            return [named, *(_class(value) if isinstance(value, type) else _function(value))]
        if isinstance(value, staticmethod | classmethod):
            return [value.__func__]
        if isinstance(value, property):
            return [value.fget, value.fset]
        if isinstance(value, functools.cached_property):
            return [value.func]
        return self._instance(value)

    def _instance(self, value: Any) -> list[Any]:
        kind = type(value)
        if isinstance(value, torch.nn.Module):
            own = {name: _attributes(part) for name, part in value.named_modules()}
            tensors = {**dict(value.named_buffers()), **dict(value.state_dict())}
            return [kind, repr(value), tensors, value.training, own]
        if _is_installed(kind):
            return []
        return [kind, vars(value) if hasattr(value, "__dict__") else {}]


class _Raw:
    """Bytes as they are."""

    def __init__(self, content: bytes) -> None:
        self.content = content


def _attributes(part: torch.nn.Module) -> dict[str, Any]:
    """What its code may have set beside parameters and buffers."""
    return {
        name: member
        for name, member in vars(part).items()
        if name not in _OF_TORCH
        and (isinstance(member, torch.Tensor | np.ndarray) or _plain_deep(member))
    }


def _is_installed(value: Any) -> bool:
    """Whether it comes with Python, an installed package or this one."""
    name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
    name = name or "__main__"
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    path = getattr(module, "__file__", None)
    inside = name == "repro" or name.startswith("repro.")
    return path is None or inside or path.startswith(_INSTALLED)


def _function(value: types.FunctionType) -> list[Any]:
    code = value.__code__
    try:
        text: Any = inspect.getsource(value)
    except (OSError, TypeError):  # typed at a prompt
        text = [_Raw(code.co_code), code.co_names, [c for c in code.co_consts if _plain(c)]]
    cells = dict(zip(code.co_freevars, value.__closure__ or (), strict=True))
    free = {name: cell.cell_contents for name, cell in cells.items() if _is_set(cell)}
    names = _names(code)
    used = _found(names, value.__globals__)
    return [text, value.__defaults__, value.__kwdefaults__, free, used]


def _found(names: list[str], place: dict[str, Any], met: tuple[str, ...] = ()) -> dict[str, Any]:
    """Values by name; of a module of one's own those that are used of it: ``tools.scale``."""
    used = {name: place[name] for name in names if name in place}
    for name, value in used.items():
        if not isinstance(value, types.ModuleType) or _is_installed(value):
            continue
        if value.__name__ not in met:
            inside = _found(names, vars(value), (*met, value.__name__))
            used[name] = [value.__name__, inside]
    return used


def _names(code: types.CodeType) -> list[str]:
    """Names of globals that a function uses, in functions inside it, too."""
    found = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found += _names(constant)
    return sorted(set(found))


def _plain(value: Any) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_plain, value)))


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # not assigned yet
        return False


def _class(value: type) -> list[Any]:
    own = {
        name: member
        for name, member in vars(value).items()
        if isinstance(member, _METHODS) or (not name.startswith("__") and _plain_deep(member))
    }
    return [list(value.__bases__), own]


def _plain_deep(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain_deep(item) for pair in value.items() for item in pair)
    if isinstance(value, list | tuple):
        return all(map(_plain_deep, value))
    return isinstance(value, _PLAIN)
