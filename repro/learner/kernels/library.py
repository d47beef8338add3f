"""The compiled kernels: made once by the C compiler that is there, kept in the cache.

``REPRO_KERNELS`` says what is wanted: ``auto`` (native where it can be, the default), ``torch`` or
``native`` (an error where it cannot be).
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from repro.system import storage
from repro.system.errors import KernelError, ReproError

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = ("auto", "torch", "native")
VARIABLE = "REPRO_KERNELS"
SOURCES = ("kernels.c", "block.h", "cell.h")
FLAGS = (
    *("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math"),
    *("-fPIC", "-shared", "-pthread"),
)
COMPILE_TIMEOUT_S = 120


def wanted() -> str:
    """What ``REPRO_KERNELS`` asks for, one of :data:`CHOICES`.

    Raises:
        KernelError: it is none of them.
    """
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise KernelError(f"{VARIABLE} is one of {', '.join(CHOICES)}, not {choice!r}")
    return choice


def choose(choice: str) -> None:
    """Ask for one of :data:`CHOICES`, in this process and those that it starts."""
    os.environ[VARIABLE] = choice


def settle() -> None:
    """Compile now where it is needed, so that processes started later neither wait nor complain.

    Raises:
        KernelError: as :func:`library`.
    """
    if library() is None:
        choose("torch")


def library() -> ctypes.CDLL | None:
    """The kernels, or None where torch computes; the reason is said once.

    Raises:
        KernelError: native kernels are wanted and cannot be had.
    """
    return _library(wanted(), os.environ.get("REPRO_CACHE"))  # asked a hundred times a step


def used(device: str = "cpu") -> str:
    """What a run on ``device`` takes: ``torch``, or ``native`` and the digest of what was compiled.

    The digest is of source, compiler and processor: with the same one, bits are the same.
    """
    native = library() if device == "cpu" else None
    return "torch" if native is None else f"native {Path(native._name).stem}"


def at(tensor: Tensor | None) -> ctypes.c_void_p:
    """Where a tensor's first element is in memory, for a kernel."""
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


@functools.cache
def _library(choice: str, _cache: str | None) -> ctypes.CDLL | None:
    if choice == "torch":
        return None
    try:
        return load(folder())
    except KernelError as error:
        if choice == "native":
            raise
        print(f"kernels: torch's are used, {error}", file=sys.stderr)
        return None


def folder() -> Path:
    """Where compiled kernels are kept, in the cache."""
    from repro.data.pack import cache_folder

    return cache_folder() / "kernels"


def load(folder: Path) -> ctypes.CDLL:
    """The library in ``folder``, compiled first where it is missing or not whole.

    Raises:
        KernelError: there is no compiler, it fails, or the folder cannot be written.
    """
    compiler = os.environ.get("CC") or "cc"
    program = shutil.which(compiler)
    if program is None:
        raise KernelError(f"there is no C compiler ({compiler}); install one for faster runs")
    path = folder / f"{_key(program)}.so"
    if not _is_whole(path):
        _compile_once(program, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelError(f"the compiled library cannot be loaded ({error}); delete it") from error


def _key(program: str) -> str:
    """Digest of all that decides what the compiler makes."""
    here = Path(__file__).parent
    return storage.digest(
        [
            [(here / name).read_text() for name in SOURCES],
            FLAGS,
            _output([program, "--version"]),
            _processor(),
        ]
    )[:16]


@functools.cache
def _processor() -> str:
    """Model and instructions of the first core: what ``-march=native`` looks at."""
    import platform

    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kept = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU part")
    return "\n".join(line for line in first if line.partition("\t")[0].rstrip(" :") in kept)


def _is_whole(path: Path) -> bool:
    """Whether the library is what the compiler wrote: a torn one could crash the process."""
    try:
        return storage.file_digest(path) == _seal(path).read_text()
    except (OSError, ValueError):
        return False


def _seal(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _compile_once(program: str, path: Path) -> None:
    """Compile under a lock, so that of several processes one works and the others wait."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=COMPILE_TIMEOUT_S):
            if _is_whole(path):
                return
            with storage.atomic_path(path) as temporary:
                source = Path(__file__).parent / SOURCES[0]
                _output([program, *FLAGS, str(source), "-o", str(temporary), "-lm"])
            storage.write_text(_seal(path), storage.file_digest(path))
    except Timeout:
        raise KernelError(f"another process has been compiling in {path.parent} too long") from None
    except KernelError:
        raise
    except (OSError, ReproError) as error:
        raise KernelError(f"{path.parent} cannot be written ({_last_line(str(error))})") from error


def _output(words: list[str]) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the C compiler {words[0]} does not run ({error})") from error
    if done.returncode != 0:
        told = _last_line(done.stderr) or f"exit status {done.returncode}"
        raise KernelError(f"the C compiler {words[0]} fails ({told})")
    return done.stdout


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][:200]
