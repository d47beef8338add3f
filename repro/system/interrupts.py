"""Ctrl-C and SIGTERM ask for a stop at the next safe point; a second Ctrl-C stops at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class StopNow(KeyboardInterrupt):
    """A second Ctrl-C, wherever it comes: also in code that has its own errors explained."""


class StopRequest:
    """Whether a stop was asked for; ``exit_code`` is 0 until then."""

    def __init__(self) -> None:
        self.exit_code = 0

    def __bool__(self) -> bool:
        return self.exit_code != 0


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turn the two signals into a request for as long as the block runs.

    Outside the main thread Python hands on no signals: nothing is asked for there.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, _: FrameType | None) -> None:
        if request and number == signal.SIGINT:
            raise StopNow
        request.exit_code = _EXIT_CODES[signal.Signals(number)]

    before = {number: signal.signal(number, handle) for number in _EXIT_CODES}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
