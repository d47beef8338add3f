"""One driver per URL: an object that names who writes there, renewed while it lives.

Every write of the object is on the condition that it is what was last seen, so of two drivers
one gets it, and one that was taken over learns so at its next renewal.
"""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from msgspec import Meta

from repro.records.remote.refusals import shown
from repro.records.remote.store import Changed, Store
from repro.system import storage
from repro.system.errors import RecordError, StorageError

NAME = "driver.json"
LIFETIME_S = 120.0  # without a renewal; then anybody may take over
RENEW_S = 20.0
MAX_LIFETIME_S = 3600.0  # no lease that was read is believed for longer, nor from a later clock
Time = Annotated[float, Meta(ge=0, le=32_503_680_000)]  # to the year 3000


class Lost(StorageError):
    """Another driver has taken over."""


@dataclass(frozen=True)
class Holder:
    """Who drives. Times are seconds since 1970 by the holder's clock.

    Attributes:
        mirror: names the holder's local folder: whoever holds that folder's lock knows that an
            earlier holder from there is dead.
    """

    user: str
    host: str
    pid: Annotated[int, Meta(ge=0, le=2**53)]
    mirror: str
    token: str
    since: Time
    renewed: Time
    lifetime_s: Annotated[float, Meta(gt=0, le=MAX_LIFETIME_S)]
    ended: bool = False

    @property
    def told(self) -> str:
        """``alice@node7 (process 4711) since 2026-01-02 03:04:05 UTC``."""
        since = datetime.datetime.fromtimestamp(self.since, datetime.UTC)
        return f"{self.user}@{self.host} (process {self.pid}) since {since:%Y-%m-%d %H:%M:%S} UTC"


class Lease:
    """The right to write below a URL."""

    def __init__(self, store: Store, mirror: str, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock, self._lock = store, clock, threading.Lock()
        now = clock()
        self.mine = Holder(
            _user(), socket.gethostname(), os.getpid(), mirror, uuid.uuid4().hex, now, now,
            LIFETIME_S,
        )  # fmt: skip
        self._version: str | None = None

    def take(self, take_over: bool) -> str:
        """Become the driver; returns what to tell the user, or nothing.

        Raises:
            StorageError: another one drives; it is named.
        """
        for _ in range(3):  # somebody may write between question and answer
            said, other = "", self._holder()
            if other is not None and not other[0].ended:
                holder, _ = other
                silent = self._clock() - holder.renewed
                if holder.mirror == self.mine.mirror:
                    said = (
                        f"process {holder.pid} of this machine ended without releasing the lease; "
                        "continuing"
                    )
                elif silent > holder.lifetime_s:
                    said = f"taken over from {holder.told}, silent for {silent:.0f} s"
                elif take_over:
                    said = f"taken over from {holder.told}, as asked for"
                else:
                    raise StorageError(
                        f"{shown(self._store.url)} is being written by {holder.told}, last heard "
                        f"{max(0.0, silent):.0f} s ago; wait for its end, or add --take-over if "
                        "you know that it is dead"
                    )
            try:
                self._write(replace(self.mine, renewed=self._clock()), other and other[1])
                return said
            except Changed:
                continue
        raise StorageError(f"{shown(self._store.url)}: several drivers start at once; try again")

    def renew(self, at_least_s: float = 0.0) -> None:
        """Say that we live, unless we did within the last ``at_least_s`` seconds.

        Raises:
            Lost: another driver has taken over; it is named.
        """
        with self._lock:
            if self._clock() - self.mine.renewed < at_least_s:
                return
            self._renew(replace(self.mine, renewed=self._clock()))

    def end(self) -> None:
        """Let the next one drive.

        Raises:
            Lost: as :meth:`renew`.
        """
        with self._lock:
            self._renew(replace(self.mine, renewed=self._clock(), ended=True))

    def _renew(self, now: Holder) -> None:
        try:
            self._write(now, self._version)
        except Changed:
            other = self._holder()
            if other is not None and other[0].token == self.mine.token:
                self._version = other[1]  # our own write, whose answer got lost
                return
            who = other[0].told if other else "somebody who removed the lease"
            raise Lost(
                f"{shown(self._store.url)} was taken over by {who}; this run has stopped and its "
                "last state is kept on this machine only"
            ) from None

    def _write(self, now: Holder, expected: str | None) -> None:
        content = (json.dumps(asdict(now), indent=1, sort_keys=True) + "\n").encode()
        self._version = self._store.put(NAME, content, expected)
        self.mine = now

    def _holder(self) -> tuple[Holder, str] | None:
        found = self._store.read(NAME)
        if found is None:
            return None
        try:
            holder = storage.conform(storage.parse_json(found[0], NAME), Holder)
            if holder.renewed > self._clock() + MAX_LIFETIME_S:
                raise ValueError("renewed in the future")
            return holder, found[1]
        except (RecordError, ValueError) as error:
            raise StorageError(
                f"{shown(self._store.url)}/{NAME} is not a lease of this program ({error}); "
                "delete it if no run writes there"
            ) from error


def _user() -> str:
    try:
        name = getpass.getuser()
        return name if name.isprintable() else ascii(name)
    except (OSError, KeyError):  # a container without a name for its user
        return "somebody"
