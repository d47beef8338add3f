"""The only reader of pickles: numbers, text, containers and plain arrays; no code is ever run.

Published copies of several data sets are pickles. A pickle is a program that may call anything;
here every name it can call is one of the few below, none of which calls a thing out of the pickle.
numpy's own ``__setstate__`` of a dtype is not among them: it believes what it is told about memory.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from repro.errors import DataError

# Booleans, integers, floats and fixed-length bytes or text; never objects, fields or voids.
_PLAIN = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|[SU][1-9][0-9]{0,6})")


class Array(np.ndarray[Any, Any]):
    """An array read from a pickle, of a type that holds no references."""

    def __setstate__(self, state: Any) -> None:
        version, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes | str):
            raise ValueError("an array of objects")
        checked: Any = (version, shape, dtype.plain(), bool(fortran), raw)
        super().__setstate__(checked)


class _Dtype:
    """Stands for ``numpy.dtype`` while a pickle is read."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any, *_: Any) -> None:
        self._code, self._order = _text(code), ""

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise ValueError("an array with fields")
        self._order = _text(state[1])

    def plain(self) -> np.dtype[Any]:
        """The type, when it is one that holds no references."""
        code = self._order + self._code.lstrip("<>|=") if self._order else self._code
        if not _PLAIN.fullmatch(code):
            raise ValueError(f"an array of type {code!r}")
        return np.dtype(code)


class _Name:
    """A name that a pickle may call; setting its state or attributes is refused."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, _: Any) -> None:
        raise ValueError("a change of the reader itself")


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _empty_array(*_: Any) -> Array:
    return np.empty(0, np.uint8).view(Array)


def _filled_array(raw: Any, dtype: Any, shape: Any, order: Any) -> Array:
    found = np.frombuffer(raw, dtype.plain()).reshape(shape, order=_text(order))  # type: ignore[call-overload]
    array: Array = found.view(Array)
    return array


def _scalar(dtype: Any, raw: Any) -> Any:
    content = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(content, dtype.plain(), count=1)[0]


def _old_bytes(text: Any, encoding: Any) -> bytes:
    if _text(encoding) != "latin1":
        raise ValueError(f"bytes as {_text(encoding)}")
    return str(text).encode("latin1")


def _no_call(*_: Any) -> Any:
    raise ValueError("an array made otherwise than numpy pickles one")


_NAMES: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _Name(_no_call),
    ("numpy", "dtype"): _Name(_Dtype),
    ("_codecs", "encode"): _Name(_old_bytes),  # how Python 3 writes bytes for Python 2
    ("builtins", "bytes"): _Name(bytes),  # and empty ones
    ("__builtin__", "bytes"): _Name(bytes),
    ("builtins", "bytearray"): _Name(bytearray),
    ("collections", "OrderedDict"): _Name(lambda *pairs: dict(*pairs)),
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_empty_array)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_filled_array)


def _named(module: str, name: str) -> Any:
    found = _NAMES.get((module, name))
    if found is None:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")
    return found


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return _named(module, name)


class _Lean(pickle._Unpickler):
    """The same in Python: slower by item, but a string of Python 2 is in memory once, not twice."""

    def find_class(self, module: str, name: str) -> Any:
        return _named(module, name)


def load(stream: BinaryIO, name: str, encoding: str = "latin1", lean: bool = False) -> Any:
    """Read one pickle of Python 2 or 3 that holds nothing but data.

    Args:
        name: what to call the file in an error.
        encoding: how text of Python 2 is read: ``latin1`` as str, ``bytes`` as bytes (which
            spares a copy of large arrays).
        lean: for few and large items: one copy of each in memory at a time.
    Returns:
        dict, list, tuple, set, str, bytes, int, float, bool, None and numpy arrays and scalars.
    Raises:
        DataError: it is no pickle, is cut short, or asks for anything else.
    """
    try:
        reader = _Lean if lean else _Unpickler
        return reader(stream, fix_imports=False, encoding=encoding).load()
    # A damaged pickle is a random program: the reader of pickles raises errors of every kind.
    except Exception as error:
        what = str(error) or type(error).__name__
        raise DataError(
            f"{name} is not a pickle of plain data ({what}); nothing of it was run: get the "
            "published file again"
        ) from error
