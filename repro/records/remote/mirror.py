"""A local folder that mirrors the objects below a URL; the rest of the program sees a folder.

What was last seen of each object, and which file equals it, is kept beside the folder, so that
the next run fetches and sends only what changed. The unit of a conflict is a folder (a cell or a
training), because its files belong together: where both sides changed, the remote one is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from repro.data.pack import cache_folder
from repro.records import write_order
from repro.records.files import CURVE, FILE, GATES, PREDICTIONS, SEALED
from repro.records.remote import lease
from repro.records.remote.refusals import shown
from repro.records.remote.store import LARGE, Changed, Found, Store
from repro.system import storage
from repro.system.errors import StorageError
from repro.system.regular import read_file

SENDERS = 8
_Seen = tuple[str, str | None, tuple[int, int] | None]
Stamp = tuple[int, int]  # size and time of change (ns) of a file
READ_BY_ANALYSIS = (FILE, PREDICTIONS, CURVE, GATES, SEALED)


@dataclass(frozen=True)
class Known:
    """An object as last seen; ``stamp`` is of the local file that equals it, None if none does."""

    version: str
    stamp: Stamp | None


def place_of(url: str) -> Path:
    """The folder in the cache that belongs to a URL; the mirror itself is ``runs`` in it."""
    path = shown(url).partition("://")[2]
    name = "".join(c if c.isalnum() else "-" for c in path)[-40:].strip("-")
    return cache_folder() / "remote" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def is_mirror(folder: Path) -> bool:
    """Whether a folder is a mirror or in one."""
    return (cache_folder() / "remote").resolve() in folder.resolve().parents


def records_only(name: str) -> bool:
    """What the analysis reads: no parameters, checkpoints or trainings."""
    parts = name.split("/")
    return parts[-1] in READ_BY_ANALYSIS and "trainings" not in parts[1:2]


def below(folders: Iterable[str]) -> Callable[[str], bool]:
    """Everything in some folders, themselves named relative to the mirror."""
    chosen = frozenset(folders)
    return lambda name: name.rpartition("/")[0] in chosen


class Mirror:
    """The folder and the objects it mirrors."""

    def __init__(self, store: Store) -> None:
        place = place_of(store.url)
        self.store, self.folder, self._state = store, place / "runs", place / "state.jsonl"
        self.driver_lock, self.pull_lock = place / "driver.lock", place / "pull.lock"
        self.folder.mkdir(parents=True, exist_ok=True)
        name = place / "mirror.txt"
        if not name.exists():
            storage.write_text(name, uuid.uuid4().hex)
        self.name = name.read_text()
        self._lock, self._busy = threading.Lock(), threading.Lock()
        self._known = self._load()

    def _load(self) -> dict[str, Known]:
        known: dict[str, Known] = {}
        try:
            lines = self._state.read_bytes().splitlines()
        except FileNotFoundError:
            return known
        for line in lines:
            try:
                name, version, stamp = msgspec.json.decode(line, type=_Seen)
            except ValueError:  # a kill while it was written: the object is looked at again
                continue
            if version is None:
                known.pop(name, None)
            else:
                known[name] = Known(version, stamp)
        return known

    def _save(self) -> None:
        lines = [
            json.dumps([name, k.version, k.stamp]) + "\n" for name, k in sorted(self._known.items())
        ]
        storage.write_text(self._state, "".join(lines))

    def _note(self, name: str, known: Known | None) -> None:
        """Keep what is known of an object now, through a kill, too."""
        with self._lock:
            if known is None:
                self._known.pop(name, None)
            else:
                self._known[name] = known
            with self._state.open("a") as file:
                line = [name, known and known.version, known and known.stamp]
                file.write(json.dumps(line) + "\n")

    def scan(self) -> dict[str, Stamp]:
        """The files of the mirror; temporary ones and locks have names with a dot before them."""
        found: dict[str, Stamp] = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                if not name.startswith(".") and (stamp := _stamp(path)) is not None:
                    found[path.relative_to(self.folder).as_posix()] = stamp
        return found

    def pull(self, wanted: Callable[[str], bool]) -> list[str]:
        """Fetch what is wanted and missing or changed; returns sentences for the user.

        Files that changed here only stay as they are, to be sent.

        Raises:
            StorageError: the storage refuses or is out of reach.
        """
        said: list[str] = []
        with self._busy:
            self._known = self._load()  # another process may have pulled meanwhile
            for _ in range(3):  # objects may change while they are read
                missed = self._pull(wanted, said)
                if not missed:
                    return said
        raise StorageError(
            f"{missed[0]} and {len(missed) - 1} more objects of {shown(self.store.url)} change all "
            "the time; run the same command again"
        )

    def _pull(self, wanted: Callable[[str], bool], said: list[str]) -> list[str]:
        remote = self.store.listing()
        remote.pop(lease.NAME, None)
        local = self.scan()
        fetch: dict[str, Found] = {}
        for names in _by_folder({*remote, *local, *self._known}):
            there = {name: remote[name] for name in names if name in remote}
            here = {name: local[name] for name in names if name in local}
            fetch |= self._settle(names, there, here, wanted, said)
        self._save()

        def kept(names: Iterable[str]) -> None:
            for name in names:
                self._note(name, Known(fetch[name].version, _stamp(self.folder / name)))

        return self.store.fetch(fetch, self.folder, kept)

    def _settle(
        self, names: list[str], there: Mapping[str, Found], here: Mapping[str, Stamp],
        wanted: Callable[[str], bool], said: list[str],
    ) -> dict[str, Found]:  # fmt: skip
        """Bring one folder's state up to date; what is still to be fetched."""
        known = {name: self._known[name] for name in names if name in self._known}
        moved = {
            name for name in {*there, *known}
            if (there[name].version if name in there else None)
            != (known[name].version if name in known else None)
        }  # fmt: skip
        unsent = {n for n, s in here.items() if n not in known or known[n].stamp != s}
        if moved and unsent:
            # A run killed right after a write did not note what it wrote.
            same = {name for name in moved & unsent & {*there} if self._same(name, there[name])}
            for name in same:
                known[name] = Known(there[name].version, here[name])
            moved -= same
            if moved:
                folder = names[0].rpartition("/")[0]
                said.append(
                    f"{folder}: changed here and by another driver; the other driver's "
                    f"files are used"
                )
                for name in unsent - {*there}:
                    (self.folder / name).unlink(missing_ok=True)
                moved |= unsent & {*there}
        for name in moved:
            if name in here and not (name in there and wanted(name)):
                (self.folder / name).unlink(missing_ok=True)
        fetch = {}
        for name in names:
            if name not in there:
                self._known.pop(name, None)
                continue
            stamp = known[name].stamp if name in known and name not in moved else None
            if name not in here:
                stamp = None
            if wanted(name) and (name in moved or name not in here):
                fetch[name] = there[name]
            self._known[name] = Known(there[name].version, stamp)
        return fetch

    def _same(self, name: str, found: Found) -> bool:
        path = self.folder / name
        if path.stat().st_size != found.size or found.size >= LARGE:
            return False
        read = self.store.read(name)
        return read is not None and read[0] == read_file(path)

    def push(self, ours: Callable[[], None]) -> int:
        """Send every file that changed, whole, and remove what was removed here.

        Args:
            ours: raises unless we are still the driver; asked before every write.
        Returns:
            How many files were sent.
        Raises:
            StorageError: the storage refuses or is out of reach; what was sent is noted.
        """
        with self._busy:
            return self._push(ours)

    def _push(self, ours: Callable[[], None]) -> int:
        # A header seen in the first look has all that it points at in the second one.
        first = self.scan()
        now = self.scan()
        changed = [n for n, s in now.items() if n not in self._known or self._known[n].stamp != s]
        torn: set[str] = set()  # folders in which a file went away meanwhile

        def send(name: str) -> bool:
            folder = name.rpartition("/")[0]
            if write_order(name) > 1 and (folder in torn or first.get(name) != now[name]):
                return False  # next time, with what it points at
            ours()
            if not self._send(name, now[name], ours):
                torn.add(folder)
                return False
            return True

        sent = 0
        with ThreadPoolExecutor(SENDERS) as pool:
            for rank in range(4):
                sent += sum(pool.map(send, [n for n in changed if write_order(n) == rank]))
        gone = [n for n, k in list(self._known.items()) if k.stamp is not None and n not in now]
        for name in gone:
            if not (self.folder / name).exists():
                ours()
                self.store.delete([name])
                self._note(name, None)
        return sent

    def _send(self, name: str, stamp: Stamp, ours: Callable[[], None]) -> bool:
        path = self.folder / name
        try:
            source = path if stamp[0] >= LARGE else read_file(path)
        except FileNotFoundError:
            return False
        known = self._known.get(name)
        try:
            version = self.store.put(name, source, known.version if known else None)
        except Changed:
            # Ours after all, when we are still the driver: the answer to an earlier try got lost,
            # or it is the last write of a driver that was taken over.
            ours()
            found = self.store.find(name)
            version = self.store.put(name, source, found.version if found else None)
        except StorageError:
            if not path.exists():
                return False
            raise
        self._note(name, Known(version, stamp))
        return True


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


def _by_folder(names: Iterable[str]) -> list[list[str]]:
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return list(folders.values())
