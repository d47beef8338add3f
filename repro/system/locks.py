"""One writer per run: an operating-system lock, which no killed process leaves behind."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from repro.system import storage
from repro.system.errors import Interrupted
from repro.system.interrupts import StopRequest
from repro.system.progress import Reporter

POLL_S = 0.5


@contextlib.contextmanager
def locked(folder: Path, task: str, reporter: Reporter, stop: StopRequest) -> Iterator[None]:
    """Hold the folder's lock; while another process has it, wait and say so once.

    Raises:
        Interrupted: a stop was asked for while waiting.
    """
    lock, told = FileLock(folder / ".lock"), False
    while True:
        try:
            lock.acquire(timeout=POLL_S)
            break
        except Timeout:
            if not told:
                told = True
                reporter.say(f"{task}: another process works on it, waiting for it ({folder})")
            if stop:
                raise Interrupted(
                    f"{task}: stopped while waiting for another process", stop.exit_code
                ) from None
    storage.sweep(folder)
    try:
        yield
    finally:
        lock.release()


def try_lock(folder: Path) -> FileLock | None:
    """The folder's lock, held until its ``release``; None while another process has it."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    storage.sweep(folder)
    return lock
