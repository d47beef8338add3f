"""Frozen features in the cache: one array per split, bound to the images of one pack.

A set is a folder ``<cache>/features/<pack>/<name>-<digest12>/`` with ``<split>.npy`` (float32
``[n_image, n_feature]``, in the order of the pack) and ``features.json``. It is written under a
temporary name and takes its own only when whole.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from repro.data.pack import SPLITS, cache_folder
from repro.data.pack_builder import building
from repro.papers.method_spec import Features
from repro.system import storage
from repro.system.errors import DataError, RecordError, StorageError, UsageError, unknown

HEADER = "features.json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,17}")
Array = npt.NDArray[np.float32]


class _Split(msgspec.Struct):
    shape: tuple[int, int]
    sha256: str


class _Header(msgspec.Struct):
    schema: int
    name: str
    backbone: str
    request: str
    data_digest: str
    splits: dict[str, _Split]
    digest: str


@dataclass(frozen=True)
class FeatureSet:
    """Features of all images of a pack.

    Attributes:
        name: of the backbone in the names of rows. backbone: what made them, for people.
        request: digest of what they were made from, so that nothing is embedded twice.
        digest: of their content and of the images.
    """

    folder: Path
    name: str
    backbone: str
    request: str
    data_digest: str
    digest: str
    splits: dict[str, _Split]

    @property
    def n_feature(self) -> int:
        return self.splits["test"].shape[1]

    def described(self) -> Features:
        """As rows know them."""
        return Features(self.name, self.backbone, self.digest)

    def split(self, name: str) -> Array:
        """The features of a split, mapped; the file is read whole when it is not the one read last.

        Raises:
            DataError: it is damaged or was changed.
        """
        path = self.folder / f"{name}.npy"
        try:
            found = path.stat()
            stamp = (found.st_size, found.st_mtime_ns, found.st_ino)
            return _opened(path, stamp, self.splits[name].shape, self.splits[name].sha256)
        except (OSError, ValueError) as error:
            raise DataError(
                f"the features {path} are damaged ({error}); delete {self.folder} and embed again"
            ) from error


@functools.lru_cache(maxsize=8)
def _opened(path: Path, _stamp: tuple[int, ...], shape: tuple[int, int], sha256: str) -> Array:
    found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    if found.dtype != np.float32 or found.shape != tuple(shape):
        raise ValueError(f"{found.dtype} {found.shape}, expected float32 {tuple(shape)}")
    if hashlib.sha256(np.ascontiguousarray(found).data).hexdigest() != sha256:
        raise ValueError("the digest is another")
    return found


def home(pack: Path) -> Path:
    """The folder of all features of a pack."""
    return cache_folder() / "features" / pack.name


def check_name(name: str) -> str:
    """A name of a backbone, when rows can have it.

    Raises:
        UsageError: it cannot be part of a row's name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a backbone is named in small letters, digits and _, at most 18, not {name!r}; put a "
            "name in front of it, as in mine=…"
        )
    return name


def all_of(pack: Path) -> list[FeatureSet]:
    """Every whole set of features of a pack, by name."""
    found = []
    for path in sorted(home(pack).glob(f"[a-z]*/{HEADER}")):
        with contextlib.suppress(RecordError, ValueError):  # what is damaged cannot be asked for
            found.append(_read(path))
    return found


def _read(path: Path) -> FeatureSet:
    """The set with this header.

    Raises:
        RecordError, ValueError: it is damaged.
    """
    told = storage.conform(storage.read_json(path), _Header)
    if told.schema != 1 or sorted(told.splits) != sorted(SPLITS) or _digest(told) != told.digest:
        raise ValueError(f"{path} is damaged")
    return FeatureSet(
        path.parent, told.name, told.backbone, told.request, told.data_digest, told.digest,
        told.splits,
    )  # fmt: skip


def _digest(told: _Header) -> str:
    return storage.digest({"data": told.data_digest, "splits": msgspec.to_builtins(told.splits)})


def named(pack: Path, word: str) -> FeatureSet:
    """The features of a pack by their name, or ``name@digest`` where there are several.

    Raises:
        UsageError: none or several have the name.
    """
    name, _, digest = word.partition("@")
    known = all_of(pack)
    found = [one for one in known if one.name == name and one.digest.startswith(digest)]
    if not found:
        raise unknown("features", word, {one.name for one in known})
    if len(found) > 1:
        which = ", ".join(f"{one.name}@{one.digest[:8]} ({one.backbone})" for one in found)
        raise UsageError(f"several features are called {name}; name one of {which}")
    return found[0]


def of_digest(pack: Path, features: Features) -> FeatureSet:
    """The features that a row was made with.

    Raises:
        DataError: they are not in the cache.
    """
    for one in all_of(pack):
        if one.digest == features.digest:
            return one
    raise DataError(
        f"the features {features.name} ({features.backbone}, digest {features.digest[:8]}) of "
        f"{pack.name} are not in the cache {home(pack)}; make them again with `repro embed`"
    )


def of_request(pack: Path, request: str, name: str) -> FeatureSet | None:
    """What was made under a name from this before, if it is there."""
    return next((o for o in all_of(pack) if o.request == request and o.name == name), None)


def save(
    pack: Path,
    data_digest: str,
    name: str,
    backbone: str,
    request: str,
    arrays: Iterable[tuple[str, Array]],
) -> FeatureSet:
    """Write a set of features, or find the one with the same name and content.

    Args:
        backbone: what made them; ``{digest}`` stands for their digest.
        arrays: name and features of each split.
    Raises:
        StorageError: the cache cannot be written; nothing is left behind.
    """
    parent = home(pack)
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with building(parent, name) as temporary:
            splits = {}
            for split, array in arrays:
                whole = np.ascontiguousarray(array, dtype="<f4")
                np.save(temporary / f"{split}.npy", whole, allow_pickle=False)
                sha256 = hashlib.sha256(whole.data).hexdigest()
                splits[split] = _Split((whole.shape[0], whole.shape[1]), sha256)
            told = _Header(1, name, backbone, request, data_digest, splits, "")
            told.digest = _digest(told)
            told.backbone = backbone.format(digest=told.digest[:8])
            content: dict[str, Any] = msgspec.to_builtins(told)
            storage.write_json(temporary / HEADER, content)
            final = parent / f"{name}-{told.digest[:12]}"
            if final.exists():
                shutil.rmtree(final)  # the same content, or a damaged one
            try:
                temporary.rename(final)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another was first
                    raise
            return _read(final / HEADER)
    except OSError as error:
        raise StorageError(
            f"cannot write features in {parent}: {error.strerror or error}; free some space or "
            "point REPRO_CACHE to a writable folder"
        ) from error
