"""The only reader of pickles: numbers, text, containers and plain arrays; no code is ever run.

Published copies of several data sets are pickles. A pickle is a program that may call anything;
here every name it can call is one of the few below, none of which calls a thing out of the pickle.
numpy's own ``__setstate__`` of a dtype is not among them: it believes what it is told about memory.

Memory: nothing longer than the rest of the file is read, what is made beside the file's own content
may have twice the file's size and ``SPARE_BYTES``, and there are at most ``MAX_STEPS`` steps and
one for each ``BYTES_PER_STEP`` bytes. Keys are text, bytes or small numbers, whose hashes nobody
can make collide.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from itertools import chain
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from repro.system.errors import DataError

SPARE_BYTES = 2**26
# Each step may leave some 100 bytes; published pickles of images take one for 500 bytes.
MAX_STEPS, BYTES_PER_STEP = 2_000_000, 100
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
    if not isinstance(value, bytes | str):  # the text of a nested list may be endless
        raise ValueError(f"{type(value).__name__} instead of text")
    return value.decode("latin1") if isinstance(value, bytes) else value


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
    return _text(text).encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    return b"".join(map(_plain_bytes, arguments))


def _bytearray(*arguments: Any) -> bytearray:
    if len(arguments) == 2:  # text and its encoding
        return bytearray(_old_bytes(*arguments))
    return bytearray(_bytes(*arguments))


def _plain_bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):  # of a number they would be that many zeros
        raise ValueError(f"bytes made of {type(value).__name__}")
    return value


def _ordered(*pairs: Any) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key, value in chain.from_iterable(pairs):
        found[_key(key)] = value
    return found


def _key(value: Any) -> Any:
    """A key of a dict or member of a set, when its hash cannot be chosen to collide."""
    if isinstance(value, bytes | str) or value is None:
        return value
    if isinstance(value, int) and abs(value) < 2**60:
        return value
    raise ValueError(f"a key of type {type(value).__name__}")


def _no_call(*_: Any) -> Any:
    raise ValueError("an array made otherwise than numpy pickles one")


_NAMES: dict[tuple[str, str], _Name] = {
    ("numpy", "ndarray"): _Name(_no_call),
    ("numpy", "dtype"): _Name(_Dtype),
    ("_codecs", "encode"): _Name(_old_bytes),  # how Python 3 writes bytes for Python 2
    ("builtins", "bytes"): _Name(_bytes),  # and empty ones
    ("__builtin__", "bytes"): _Name(_bytes),
    ("builtins", "bytearray"): _Name(_bytearray),
    ("collections", "OrderedDict"): _Name(_ordered),
}
for _core in ("numpy.core", "numpy._core"):
    _NAMES[f"{_core}.multiarray", "_reconstruct"] = _Name(_empty_array)
    _NAMES[f"{_core}.multiarray", "scalar"] = _Name(_scalar)
    _NAMES[f"{_core}.numeric", "_frombuffer"] = _Name(_filled_array)


class _Steps:
    """The reader's table of steps, counted as they are taken."""

    def __init__(self, table: dict[int, Callable[..., None]], stream: _Bounded) -> None:
        self._table, self._left, self._stream = table, MAX_STEPS, stream

    def __getitem__(self, code: int) -> Callable[..., None]:
        self._left -= 1
        if self._left < -self._stream.taken // BYTES_PER_STEP:
            raise ValueError(f"more than {MAX_STEPS:,} steps for its size")
        return self._table[code]


class _Bounded:
    """A stream that is not read further than its size: a claimed length is not believed."""

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream, self.taken = stream, 0
        if size is None:
            here = stream.tell()
            size = stream.seek(0, 2) - here
            stream.seek(here)
        self._size = size

    def read(self, size: int) -> bytes:
        if size > self._size - self.taken:
            raise EOFError(f"{size:,} bytes are announced and are not there")
        content = self._stream.read(size)
        self.taken += len(content)
        return content

    def readline(self) -> bytes:
        line = self._stream.readline()
        self.taken += len(line)
        return line


class _Unpickler(pickle._Unpickler):
    """Python's own: unlike the one in C it keeps what it is told to remember in a dict."""

    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, stream: _Bounded, encoding: str) -> None:
        super().__init__(stream, fix_imports=False, encoding=encoding)
        self.dispatch = _Steps(self.dispatch, stream)  # type: ignore[misc, assignment]
        self._bounded, self._made = stream, 0

    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return found

    def _charge(self, value: Any) -> None:
        if isinstance(value, np.ndarray):
            self._made += value.nbytes
        elif isinstance(value, bytes | bytearray | str | dict):
            self._made += len(value) * (100 if isinstance(value, dict) else 1)
        if self._made > 2 * self._bounded.taken + SPARE_BYTES:
            raise ValueError("it would take much more memory than the file has bytes")

    def load_reduce(self) -> None:
        super().load_reduce()  # type: ignore[misc]
        self._charge(self.stack[-1])

    def load_build(self) -> None:
        super().load_build()  # type: ignore[misc]
        self._charge(self.stack[-1])

    def load_bytearray8(self) -> None:
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(length)))

    def load_setitem(self) -> None:
        _key(self.stack[-2])
        super().load_setitem()  # type: ignore[misc]

    def load_setitems(self) -> None:
        for key in self.stack[::2]:
            _key(key)
        super().load_setitems()  # type: ignore[misc]

    def load_dict(self) -> None:
        for key in self.stack[::2]:
            _key(key)
        super().load_dict()  # type: ignore[misc]

    def load_additems(self) -> None:
        for key in self.stack:
            _key(key)
        super().load_additems()  # type: ignore[misc]

    def load_frozenset(self) -> None:
        for key in self.stack:
            _key(key)
        super().load_frozenset()  # type: ignore[misc]

    for _opcode, _load in (
        (pickle.REDUCE, load_reduce), (pickle.BUILD, load_build), (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems), (pickle.DICT, load_dict),
        (pickle.ADDITEMS, load_additems), (pickle.FROZENSET, load_frozenset),
        (pickle.BYTEARRAY8, load_bytearray8),
    ):  # fmt: skip
        dispatch[_opcode[0]] = _load


def labels(values: Any, n_class: int, where: str) -> npt.NDArray[np.int64]:
    """Labels as int64 ``[n]``, checked before anything is made of them.

    Raises:
        ValueError: they are no flat list of whole numbers, or one is not below ``n_class``.
    """
    flat = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iu"
    if not flat and not (isinstance(values, list) and all(isinstance(v, int) for v in values)):
        raise ValueError(f"{where} is no list of whole numbers")
    if len(values) and not 0 <= min(values) <= max(values) < n_class:
        raise ValueError(f"{where} names a class that is not among the {n_class}")
    return np.asarray(values, dtype=np.int64)


def texts(values: Any, where: str) -> tuple[str, ...]:
    """A list of text, as text.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(values, list | tuple | np.ndarray):
        raise ValueError(f"{where} is no list")
    return tuple(_text(value) for value in values)


def load(stream: BinaryIO, name: str, encoding: str = "latin1", size: int | None = None) -> Any:
    """Read one pickle of Python 2 or 3 that holds nothing but data.

    Args:
        name: what to call the file in an error.
        encoding: how text of Python 2 is read: ``latin1`` as str, ``bytes`` as bytes (which
            spares a copy of large arrays).
        size: of the stream, where finding its end would mean to unpack it, bytes.
    Returns:
        dict, list, tuple, set, str, bytes, int, float, bool, None and numpy arrays and scalars.
    Raises:
        DataError: it is no pickle, is cut short, asks for anything else, or for much more memory
            than it has bytes.
    """
    try:
        return _Unpickler(_Bounded(stream, size), encoding).load()
    # A damaged pickle is a random program: the reader of pickles raises errors of every kind.
    except Exception as error:
        what = str(error)[:200] or type(error).__name__
        raise DataError(
            f"{name} is not a pickle of plain data ({what}); nothing of it was run: get the "
            "published file again"
        ) from error
