"""``--runs`` on shared storage: read records from a URL, or be the one driver that writes there."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from repro.records.remote.lease import RENEW_S, Lease, Lost
from repro.records.remote.mirror import Mirror, below, records_only
from repro.records.remote.refusals import shown
from repro.records.remote.store import Store
from repro.system.errors import StorageError
from repro.system.interrupts import StopRequest

PUSH_S = 5.0  # between two looks for files to send
LAST_S = 60.0  # how long the last files are tried at the end of a run
_LOCK_S = 5.0  # how long a reader may keep a driver waiting

Say = Callable[[str], None]


def read(url: str, access: str, say: Say) -> Path:
    """A folder with what is below a URL now: of records what the analysis reads, or all.

    Args:
        access: ``read`` for records, ``copy`` for everything.

    Raises:
        UsageError, StorageError: no such storage, or it refuses or is out of reach.
    """
    mirror = Mirror(Store(url))
    probe = FileLock(mirror.driver_lock)
    try:
        probe.acquire(timeout=0)
    except Timeout:
        return mirror.folder  # a driver of this machine writes here: nothing is newer
    probe.release()
    with FileLock(mirror.pull_lock):
        for sentence in mirror.pull(records_only if access == "read" else lambda _: True):
            say(sentence)
    return mirror.folder


class Session:
    """A driver's hold on a URL: what it needs is fetched, what it writes is sent."""

    def __init__(self, mirror: Mirror, lease: Lease, say: Say) -> None:
        self.mirror, self.folder = mirror, mirror.folder
        self._lease, self._say, self._stop = lease, say, StopRequest()
        self.lost: Lost | None = None
        self._ended = threading.Event()
        self._since_failure: float | None = None
        self._threads = [
            threading.Thread(target=self._again, args=(every, call), daemon=True)
            for every, call in ((PUSH_S, self._push), (RENEW_S, lease.renew))
        ]

    def start(self) -> None:
        """Send and renew from now on, in the background."""
        for thread in self._threads:
            thread.start()

    def stops(self, stop: StopRequest) -> None:
        """What is asked to stop when another driver takes over."""
        self._stop = stop

    def need(self, folders: Iterable[Path]) -> None:
        """Fetch whole folders of the mirror, before anything writes there."""
        names = [path.relative_to(self.folder).as_posix() for path in folders]
        for sentence in self.mirror.pull(below(names)):
            self._say(sentence)

    def _push(self) -> None:
        self.mirror.push(lambda: self._lease.renew(RENEW_S))

    def _again(self, every: float, call: Callable[[], None]) -> None:
        while not self._ended.wait(every) and self.lost is None:
            try:
                call()
            except Lost as error:
                self._give_up(error)
            except (StorageError, OSError) as error:
                if self._since_failure is None:
                    self._say(f"{error}; the run continues here, and its files are uploaded later")
                self._since_failure = self._since_failure or time.monotonic()
            else:
                if self._since_failure is not None:
                    self._say(f"{shown(self.mirror.store.url)} is back")
                self._since_failure = None

    def _give_up(self, error: Lost) -> None:
        self.lost = error
        self._stop.exit_code = self._stop.exit_code or error.exit_code

    def drop(self) -> None:
        """Send nothing more; the lease runs out by itself."""
        self._ended.set()

    def end(self) -> None:
        """Send the rest and let the next driver in.

        Raises:
            Lost: another driver has taken over.
            StorageError: the storage stays out of reach; everything is kept in the mirror.
        """
        self._ended.set()
        for thread in self._threads:
            thread.join()
        deadline = time.monotonic() + LAST_S
        while self.lost is None:
            try:
                self._push()
                self._lease.end()
                return
            except Lost as error:
                self._give_up(error)
            except StorageError as error:
                if time.monotonic() > deadline:
                    raise StorageError(
                        f"{error}; everything is kept in {self.folder} and is uploaded by "
                        f"the next run"
                    ) from error
                time.sleep(min(PUSH_S, 1.0))
        raise self.lost


@contextlib.contextmanager
def drive(url: str, take_over: bool, say: Say) -> Iterator[Session]:
    """Be the driver of a URL while the block runs.

    Raises:
        StorageError: another driver is there (it is named), or the storage refuses.
    """
    mirror = Mirror(Store(url))
    lock = FileLock(mirror.driver_lock)
    try:
        lock.acquire(timeout=_LOCK_S)
    except Timeout:
        raise StorageError(
            f"{shown(url)} is being written by another process of this machine; wait for its end "
            "or stop it"
        ) from None
    try:
        lease = Lease(mirror.store, mirror.name)
        mirror.store.listing()  # says what is wrong with the URL before anything is written
        if said := lease.take(take_over):
            say(said)
        session = Session(mirror, lease, say)
        with FileLock(mirror.pull_lock):
            for sentence in mirror.pull(records_only):
                say(sentence)
        session.start()
        try:
            yield session
        except KeyboardInterrupt:  # a second Ctrl-C: nobody waits
            session.drop()
            raise
        except BaseException:
            try:
                session.end()
            except Lost as error:
                raise error from None
            except StorageError as error:
                say(f"error: {error}")
            raise
        else:
            session.end()
    finally:
        lock.release()
