"""The errors a user can meet; each names its exit code.

Every message is one sentence or two: what was expected, what came, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReproError(Exception):
    """A failure explained to the user in one clear message, without a traceback."""

    exit_code = 1


class UsageError(ReproError):
    """The command or configuration asks for something that does not exist or cannot be."""

    exit_code = 2


class DataError(ReproError):
    """Images or splits on disk are missing, damaged or not what they claim to be."""


class RecordError(ReproError):
    """A record, checkpoint or manifest is missing, damaged or belongs to another configuration."""


class OtherConfigurationError(RecordError):
    """A checkpoint belongs to another configuration than the one that goes on."""


class TrainingError(ReproError):
    """Training cannot go on (for instance, the loss is not finite)."""


class MethodError(ReproError):
    """A method of the user's own cannot be loaded, fails or breaks the protocol."""


class StorageError(ReproError):
    """The disk is full, read-only or otherwise refuses a write."""


class KernelError(ReproError):
    """The native kernels cannot be compiled or loaded here."""


class Interrupted(ReproError):
    """The user or the system asked the run to stop; its state has been saved."""

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def text_of(error: BaseException) -> str:
    """The first line of what somebody else's exception says, fit for a terminal."""
    try:
        lines = str(error).strip().splitlines()
    except Exception as second:
        return f"its __str__ raised {type(second).__name__}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in lines[0]) if lines else ""


def from_os_error(error: OSError) -> StorageError:
    """The sentence for a file that the system refuses to read or write."""
    what = f"{error.filename}: " if error.filename else ""
    return StorageError(
        f"{what}{error.strerror or error}; free some space or choose a readable and writable "
        "folder, then run the same command again (earlier files are untouched)"
    )


def unknown(kind: str, value: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not in ``known``, with the near miss suggested."""
    names = sorted(known)
    hint = near_miss(value, names)
    return UsageError(f"unknown {kind} {value!r}{hint} (known: {', '.join(names)})")


def near_miss(value: str, known: Iterable[str]) -> str:
    """``; did you mean 'meta_lstm'?``, empty where nothing known is like ``value``."""
    near = difflib.get_close_matches(value, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
