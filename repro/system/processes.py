"""Worker processes: how they start, report and end.

Code that does not come with this package runs in such a process and nowhere else: what it changes
there (settings of torch, modules of Python), and its end, concern no other row.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any, TypeVar

from repro.system import errors
from repro.system.errors import MethodError, ReproError, from_os_error
from repro.system.interrupts import StopRequest, stop_requests
from repro.system.progress import Queued, Reporter, Silent

POLL_S = 0.2
T = TypeVar("T")


def context() -> Any:
    """How workers start: afresh, but from a process that has loaded torch, where there is one.

    Loading it takes two seconds of a processor, which a grid of short cells would pay per task.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["repro.run.cell"])
    return found


class Line:
    """The worker's end: no other process shares it, so one that dies cannot hold up another."""

    def __init__(self, writing: Any) -> None:
        self._writing = writing

    def put(self, message: tuple[Any, ...]) -> None:
        """Send a message; where nobody listens any more it is dropped."""
        try:
            self._writing.send(message)
        except OSError:
            return


class Worker:
    """A process and what it says.

    Args:
        body: called there with ``args`` and a :class:`Line`; like them, it is pickled.
    """

    def __init__(self, body: Callable[..., None], *args: Any) -> None:
        started = context()
        self._reading, writing = started.Pipe(duplex=False)
        self.process = started.Process(
            target=_begin, args=(body, args, Line(writing), dict(os.environ))
        )
        self.process.start()
        writing.close()
        self._open = True

    @property
    def handles(self) -> list[Any]:
        """What to wait for: a message or the end."""
        return [self.process.sentinel, *([self._reading] if self._open else [])]

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What came since; nothing is waited for."""
        while self._open:
            try:
                if not self._reading.poll():
                    return
                found = self._reading.recv()
            except (EOFError, OSError):  # it ended, perhaps in the middle of a message
                self._open = False
                self._reading.close()
                return
            yield found

    def stop(self) -> None:
        """Ask for a stop at the next safe point."""
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGTERM)

    @property
    def ending(self) -> str:
        """How the process ended, for people."""
        code = self.process.exitcode
        if code is not None and code < 0:
            number = -code
            known = number in {s.value for s in signal.Signals}
            return f"was ended by {signal.Signals(number).name if known else f'signal {number}'}"
        return f"ended with exit code {code} before it was done"


def wait(workers: Sequence[Worker]) -> None:
    """Until one of them has something to say, or a while."""
    connection.wait([handle for worker in workers for handle in worker.handles], POLL_S)


def _begin(
    body: Callable[..., None], args: Sequence[Any], line: Line, environment: dict[str, str]
) -> None:  # fmt: skip
    os.environ.clear()  # that of the process which asked, not of the one it was forked from
    os.environ.update(environment)
    body(*args, line)


def call(
    function: Callable[..., T], *args: Any, who: str, reporter: Reporter | None = None,
    stop: StopRequest | None = None, early_end: type[ReproError] = MethodError,
) -> T:  # fmt: skip
    """What a function returns that runs code of somebody's own, called in a process of its own.

    Args:
        who: whose code it is, for the error of a process that ends early.
        reporter: given to the function, with a stop request, as ``reporter`` and ``stop``.
        early_end: the class of that error.
    Raises:
        ReproError: as the function, or ``early_end``.
    """
    worker = Worker(_answer, function, args, reporter is not None)
    told, asked = reporter or Silent(), False
    try:
        while True:
            ended = not worker.process.is_alive()
            for kind, *rest in worker.messages():
                if kind == "result":
                    found: T = rest[0]
                    return found
                if kind == "failed":
                    raise _again(*rest)
                if kind == "report":
                    told.report(*rest[1:])
                else:
                    told.say(*rest)
            if ended:
                raise early_end(f"{who}: its process {worker.ending}")
            if stop and not asked:
                asked = True
                worker.stop()
            wait([worker])
    finally:
        if worker.process.is_alive():
            worker.process.join(POLL_S)
            worker.process.kill()


def _answer(function: Callable[..., Any], args: Sequence[Any], told: bool, line: Line) -> None:
    with stop_requests() as stop:
        given = {"reporter": Queued(line, stop, ""), "stop": stop} if told else {}
        try:
            line.put(("result", function(*args, **given)))
        except ReproError as error:
            line.put(("failed", kind(error), str(error), error.exit_code))
        except OSError as error:
            line.put(("failed", "StorageError", str(from_os_error(error)), 1))


def kind(error: ReproError) -> str:
    """The error's class in :mod:`repro.system.errors`."""
    return next(c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__)


def _again(name: str, message: str, exit_code: int) -> ReproError:
    found: ReproError = getattr(errors, name)(message)
    found.exit_code = exit_code
    return found
