"""Objects under a URL: list, read, and write on a condition; any file system that fsspec knows.

S3 (and what speaks its protocol) checks a condition and writes in one step: ``If-None-Match: *``
for a new object, ``If-Match`` for one that is replaced. Google's store does so for new objects.
Everywhere else the condition is looked at right before the write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repro.records.remote.refusals import code, may_pass, refusal, shown
from repro.system import names, storage
from repro.system.errors import ReproError, StorageError, UsageError

LARGE = 64 * 2**20  # bytes; from here on an object is streamed, not held in memory
BATCH = 128 * 2**20  # bytes read at once
TRIES = 3
WAIT_S = 1.0  # before the second try, then twice as long each time
# Writes there show a whole object or none; elsewhere a temporary name and a rename do.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "memory"}
_S3 = {"s3", "s3a"}
T = TypeVar("T")


class Changed(Exception):
    """The object is not (or no longer) what the condition says."""


@dataclass(frozen=True)
class Found:
    """A listed object; ``version`` changes whenever it is written."""

    size: int
    version: str


class Store:
    """The objects below one URL, named by their path relative to it.

    Raises:
        UsageError: no such kind of storage, or its package is not installed.
        StorageError: from any method, when the storage refuses or stays out of reach; one sentence.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url, self.kind, self.root = url.rstrip("/"), url.partition("://")[0], ""
        try:
            self.fs, root = fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            named = "pip install 'repro-fewshot[s3]'" if self.kind in _S3 else str(error)
            raise UsageError(f"{shown(url)} needs another package: {named}") from error
        except ValueError as error:
            raise UsageError(
                f"{shown(url)} is not a kind of storage that fsspec knows ({error}); use a folder "
                "or a URL such as s3://bucket/prefix"
            ) from error
        except Exception as error:
            raise self._refusal(error) from error
        self.root = root.rstrip("/")

    @property
    def conditional(self) -> bool:
        """Whether condition and write are one step for replaced objects, too."""
        return self.kind in _S3

    def listing(self) -> dict[str, Found]:
        """All objects. A prefix that nothing is under has none; a bucket has to be there."""
        found: Mapping[str, Any] = self._try(self._find)
        prefix, listed = self.root + "/", {}
        for path, info in found.items():
            name = path.removeprefix(prefix)
            if not path.startswith(prefix) or info["type"] != "file" or name.endswith("/"):
                continue  # some tools leave an empty object that stands for a folder
            if why := names.problem(name):
                raise StorageError(
                    f"{shown(self.url)} has an object {name!r}, which is no file below a folder: "
                    f"it {why}; delete it or use another prefix"
                )
            listed[name] = Found(int(info["size"] or 0), _version(info))
        return listed

    def _find(self) -> Any:
        self.fs.invalidate_cache()
        if self.kind in _S3:  # an absent bucket lists as empty
            self.fs.call_s3("head_bucket", Bucket=self.root.partition("/")[0])
        try:
            return self.fs.find(self.root, detail=True)
        except FileNotFoundError:
            return {}

    def read(self, name: str) -> tuple[bytes, str] | None:
        """A small object and its version; None where there is none."""

        def attempt() -> tuple[bytes, str] | None:
            for _ in range(3):  # until nobody writes between the two questions
                before = self._info(name)
                if before is None:
                    return None
                content: bytes = self.fs.cat_file(self._path(name))
                after = self._info(name)
                if after is not None and after.version == before.version:
                    return content, before.version
            raise OSError(f"{name} changes all the time")

        return self._try(attempt)

    def find(self, name: str) -> Found | None:
        """One object as it is now; None where there is none."""
        return self._try(lambda: self._info(name))

    def fetch(
        self, wanted: Mapping[str, Found], folder: Path, kept: Callable[[Sequence[str]], None]
    ) -> list[str]:
        """Download to ``folder``, each file whole or not at all.

        Args:
            kept: told the names that are there now, batch by batch.
        Returns:
            Names whose objects were not those listed any more; they are not written.
        """
        missed: list[str] = []
        for batch in _batches(wanted):
            contents = self._try(lambda batch=batch: self._cat(batch))  # type: ignore[misc]
            done = []
            for name in batch:
                content = contents.get(name)
                if content is None and wanted[name].size >= LARGE:
                    with storage.atomic_file(names.below(folder, name)) as file:
                        self._try(lambda n=name, f=file: self._stream(n, f))  # type: ignore[misc]
                elif content is None or len(content) != wanted[name].size:
                    missed.append(name)
                    continue
                else:
                    storage.write_bytes(names.below(folder, name), content)
                done.append(name)
            kept(done)
        return missed

    def _cat(self, names: Sequence[str]) -> dict[str, bytes]:
        paths = {self._path(name): name for name in names}
        if len(names) == 1 and (found := self._info(names[0])) and found.size >= LARGE:
            return {}
        contents = {}
        for path, content in self.fs.cat(list(paths), on_error="return").items():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise content
            if isinstance(content, bytes):
                contents[paths[path]] = content
        return contents

    def _stream(self, name: str, file: Any) -> None:
        file.seek(0)
        file.truncate()
        with self.fs.open(self._path(name), "rb") as source:
            while block := source.read(LARGE // 4):
                file.write(block)

    def put(self, name: str, source: bytes | Path, expected: str | None) -> str:
        """Write an object whole, and only if it is still of the expected version.

        Args:
            source: its content, or a file that nobody writes to.
            expected: None: there is none yet.
        Returns:
            The version written.
        Raises:
            Changed: it is of another version, there is none, or there is one already.
        """

        def attempt() -> str:
            try:
                return self._put(name, source, expected)
            except FileExistsError as error:
                raise Changed(name) from error
            except Exception as error:
                if code(error) in ("PreconditionFailed", "412") or (
                    expected is not None and code(error) in ("NoSuchKey", "404")
                ):
                    raise Changed(name) from error
                raise

        return self._try(attempt)

    def _put(self, name: str, source: bytes | Path, expected: str | None) -> str:
        path = self._path(name)
        if self.kind not in _S3 or (isinstance(source, Path) and expected is not None):
            # Large objects are replaced without the store's own condition: s3fs has none for parts.
            found = self._info(name)
            if (found.version if found else None) != expected:
                raise Changed(name)
        mode = "create" if expected is None else "overwrite"
        if self.kind in _S3:
            if isinstance(source, Path):
                self.fs.put_file(str(source), path, mode=mode)
            else:
                match = {} if expected is None else {"IfMatch": expected}
                answer = self.fs.pipe_file(path, source, mode=mode, **match)
                if answer and "ETag" in answer:
                    return str(answer["ETag"])
        else:
            content = source if isinstance(source, bytes) else source.read_bytes()
            if self.kind in _WHOLE:
                self.fs.pipe_file(path, content, mode=mode)
            else:
                self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                folder, _, last = path.rpartition("/")
                self.fs.pipe_file(f"{folder}/.{last}.part", content)
                self.fs.mv(f"{folder}/.{last}.part", path)
        written = self._info(name)
        if written is None:
            raise OSError(f"{name} is not there after it was written")
        return written.version

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        for name in names:

            def attempt(name: str = name) -> None:
                with contextlib.suppress(FileNotFoundError):
                    self.fs.rm_file(self._path(name))

            self._try(attempt)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _info(self, name: str) -> Found | None:
        self.fs.invalidate_cache()
        try:
            info = self.fs.info(self._path(name))
        except FileNotFoundError:
            return None
        return Found(int(info["size"] or 0), _version(info))

    def _refusal(self, error: Exception) -> StorageError:
        return refusal(error, self.url, self.root.partition("/")[0])

    def _try(self, call: Callable[[], T]) -> T:
        """Call, and again when the network fails; every other failure is final."""
        wait = WAIT_S
        for left in reversed(range(TRIES)):
            try:
                return call()
            except (Changed, ReproError):
                raise
            except Exception as error:
                if not left or not may_pass(error):
                    raise self._refusal(error) from error
            time.sleep(wait)
            wait *= 2
        raise AssertionError


def _version(info: Mapping[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "content_md5"):
        if info.get(key):
            return str(info[key])
    when = next((info[k] for k in ("mtime", "LastModified", "modified", "created") if k in info), 0)
    return f"{info.get('size')} {when}"


def _batches(wanted: Mapping[str, Found]) -> Iterable[list[str]]:
    """Names in groups that fit the memory; a large object is alone."""
    batch: list[str] = []
    size = 0
    for name, found in wanted.items():
        if batch and (size + found.size > BATCH or found.size >= LARGE):
            yield batch
            batch, size = [], 0
        batch.append(name)
        size = BATCH if found.size >= LARGE else size + found.size
    if batch:
        yield batch
