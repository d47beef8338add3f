"""Data sets: files on disk to a memory-mapped pack of uint8 images.

One small registry: the built-in data sets and those that other packages name under the entry-point
group ``repro.datasets``. All follow :class:`repro.data.dataset.Dataset`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro import storage
from repro.data import folder, glyphs, mini_imagenet, omniglot, tiered_imagenet
from repro.data.cifar100 import Cifar100
from repro.data.dataset import Dataset, ImageProgress, Selection, check_selection, ignore
from repro.data.images import SPLITS, ImageSplit, cache_folder, open_pack, packs_of
from repro.errors import DataError, RecordError, ReproError, unknown

PLUG_INS = "repro.datasets"


@dataclass(frozen=True)
class _Fixed:
    """A built-in data set with nothing to choose."""

    name: str
    wanted: str
    build: Callable[[Path | None, ImageProgress], Path]
    accepts: tuple[str, ...] = ()

    def prepare(self, root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
        return self.build(root, progress)


def _mini_imagenet(root: Path | None, progress: ImageProgress) -> Path:
    assert root is not None
    return mini_imagenet.prepare(root, progress)


_BUILT_IN: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        _Fixed("glyphs", "", lambda _, progress: glyphs.prepare(progress)),
        _Fixed("mini-imagenet", mini_imagenet.LAYOUTS, _mini_imagenet),
        Cifar100("cifar-fs"),
        Cifar100("fc100"),
        omniglot,
        tiered_imagenet,
        folder,
    )
}
DATASETS = tuple(_BUILT_IN)


def names() -> tuple[str, ...]:
    """Every data set that can be asked for; no plug-in is loaded."""
    found = {entry.name for entry in importlib.metadata.entry_points(group=PLUG_INS)}
    return (*DATASETS, *sorted(found - set(DATASETS)))


def find(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        UsageError: there is none. DataError: a plug-in that cannot be loaded or is no data set.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    entries = list(importlib.metadata.entry_points(group=PLUG_INS, name=name))
    if not entries:
        raise unknown("dataset", name, names())
    source = f"the plug-in {name} ({entries[0].value})"
    try:
        loaded = entries[0].load()
        dataset: Dataset = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # another package's code may fail in any way
        raise DataError(f"{source} cannot be loaded ({error}); repair or uninstall it") from error
    missing = [
        word for word in ("name", "wanted", "accepts", "prepare") if not hasattr(dataset, word)
    ]
    if missing or dataset.name != name:
        what = f"has no {', '.join(missing)}" if missing else f"calls itself {dataset.name!r}"
        raise DataError(f"{source} is not a data set: it {what}; see repro.data.dataset.Dataset")
    return dataset


def _fingerprint(root: Path, depth: int | None) -> str:
    """Cheap and enough to notice a changed copy: names, sizes and times down to ``depth``.

    Empty when something cannot be looked at: the reader says what.
    """
    lines = []
    try:
        for parent, folders, files in os.walk(root):
            if depth is not None and len(Path(parent).relative_to(root).parts) + 1 >= depth:
                inner, folders[:] = folders[:], []
            else:
                inner = folders
            for item in (*inner, *files):
                stat = os.stat(os.path.join(parent, item))
                lines.append(f"{parent}/{item} {stat.st_size} {stat.st_mtime_ns}")
        stat = root.stat()
    except OSError:
        return ""
    lines.append(f"{stat.st_size if root.is_file() else 0} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def prepare(
    name: str,
    root: Path | None,
    progress: ImageProgress = ignore,
    selection: Selection | None = None,
) -> Path:
    """The pack of a data set, built when it is not there yet.

    Without ``root``, the one prepared last with the same choices.

    Raises:
        UsageError: an unknown name or a choice that means nothing here.
        DataError: the copy is missing or not the right one.
    """
    dataset, selection = find(name), selection or Selection()
    check_selection(dataset, selection)
    chosen = selection.chosen()
    if not dataset.wanted:
        return _checked(dataset, dataset.prepare(root, selection, progress))
    if root is None:
        return _prepared_before(dataset, chosen)
    told = f"{name} {root.resolve()}" + "".join(f" {k}={v}" for k, v in sorted(chosen.items()))
    key = hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()[:16]
    known = cache_folder() / "sources" / f"{key}.json"
    fingerprint = _fingerprint(root, None if name == "folder" else 2)
    try:
        entry = storage.read_json(known)
        pack = cache_folder() / "packs" / str(entry["pack"])
        if fingerprint and entry["fingerprint"] == fingerprint and (pack / "pack.json").exists():
            return pack
    except (RecordError, KeyError, TypeError):
        pass  # no usable entry: look at the copy itself
    pack = _checked(dataset, dataset.prepare(root, selection, progress))
    entry = {"fingerprint": fingerprint, "pack": pack.name, "dataset": name, "chosen": chosen}
    storage.write_json(known, entry)
    return pack


def _prepared_before(dataset: Dataset, chosen: dict[str, str]) -> Path:
    packs, found = cache_folder() / "packs", list[Path]()
    for path in (cache_folder() / "sources").glob("*.json"):
        try:
            entry = storage.read_json(path)
            if (entry["dataset"], entry["chosen"]) == (dataset.name, chosen):
                found.append(packs / str(entry["pack"]) / "pack.json")
        except (RecordError, KeyError, TypeError):
            continue  # a damaged entry, or one without choices
    if not dataset.accepts:
        found += [pack / "pack.json" for pack in packs_of(dataset.name)]
    times = {path: path.stat().st_mtime for path in found if path.exists()}
    if not times:
        so = " with these options" if chosen else ""
        raise DataError(
            f"{dataset.name} has not been prepared{so} yet: give its place with --data PATH "
            f"(DATA=PATH for make); accepted are {dataset.wanted}"
        )
    return max(times, key=lambda path: times[path]).parent


def _checked(dataset: Dataset, pack: Path) -> Path:
    """The pack, when it is one of this data set (a plug-in may return anything).

    Raises:
        DataError: it is not.
    """
    try:
        opened = {split: open_pack(Path(pack), split) for split in SPLITS}
        if opened["test"].dataset != dataset.name:
            raise DataError(f"it is a pack of {opened['test'].dataset}")
    except (ReproError, TypeError) as error:
        raise DataError(
            f"the data set {dataset.name} prepared no usable pack ({error}); it has to return the "
            "folder that repro.data.images.build_pack gives for its own name"
        ) from error
    return Path(pack)


def pack_of(name: str, digest: str) -> Path | None:
    """The pack in the cache with this content, if it is there."""
    folder_ = cache_folder() / "packs" / f"{name}-{digest[:12]}"
    return folder_ if (folder_ / "pack.json").exists() else None


def load_split(
    name: str, root: Path | None, split: str, selection: Selection | None = None
) -> ImageSplit:
    """One split of a data set, prepared when needed."""
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return open_pack(prepare(name, root, selection=selection), split)
