"""From the files of a data set to its pack: built when it is not there, and found again."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import replace
from pathlib import Path

from repro.data import plug_in
from repro.data.dataset import Dataset, ImageProgress, Selection, check_selection, ignore
from repro.data.pack import (
    SPLITS,
    ImageSplit,
    cache_folder,
    check_pack,
    notes_of,
    open_pack,
    packs_of,
)
from repro.data.prepared import (
    PackSource,
    known_sources,
    read_source,
    shown_path,
    source_file,
    write_source,
)
from repro.data.registry import DATASETS, find
from repro.system.errors import DataError, ReproError, UsageError, unknown

_log = logging.getLogger(__name__)


def _fingerprint(root: Path) -> str:
    """Cheap and enough to notice a changed copy: names, sizes and times of all that is below.

    Empty when something cannot be looked at: the reader says what.
    """
    lines, seen = [], set[str]()
    try:
        for parent, folders, files in os.walk(root, followlinks=True):
            real = os.path.realpath(parent)
            if real in seen:  # a link may lead back to its own parent
                folders.clear()
                continue
            seen.add(real)
            for item in (*folders, *files):
                stat = os.stat(os.path.join(parent, item))
                times = f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
                lines.append(f"{parent}/{item} {stat.st_size} {times}")
        stat = root.stat()
    except OSError:
        return ""
    size = stat.st_size if root.is_file() else 0
    lines.append(f"{size} {stat.st_mtime_ns} {stat.st_ctime_ns}")
    return hashlib.sha256("\n".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()


def prepare(
    name: str,
    root: Path | None,
    progress: ImageProgress = ignore,
    selection: Selection | None = None,
    afresh: bool = False,
) -> Path:
    """The pack of a data set, built when it is not there yet and built again when damaged.

    Without choices, those with which ``root`` was prepared last; without ``root``, the one that
    was asked for last. What is used then is told.

    Args:
        name: a data set, or one of its packs as tables name it: ``folder@1a2b3c4d``.
        afresh: no choices are no choices.
    Raises:
        UsageError: an unknown name or a choice that means nothing here.
        DataError: the copy is missing or not the right one.
    """
    for sentence in plug_in.hidden({name.partition("@")[0]} & set(DATASETS)):
        _log.warning(sentence)
    pack = _prepared(name, root, progress, selection or Selection(), afresh)
    for note in notes_of(pack):
        _log.warning("%s: %s", pack.name, note)
    return pack


def prepare_test(
    name: str, root: Path | None, image_size: int, progress: ImageProgress = ignore
) -> Path:
    """The pack of a data set whose meta-test images are tested by what was trained on others.

    Its images are made in the size of theirs where it has a choice; its split is that with which
    ``root`` was prepared before, else the default.

    Raises:
        UsageError, DataError: as :func:`prepare`; or its images have another size.
    """
    plain, at, _ = name.partition("@")
    dataset = find(plain)
    place = None if root is None else shown_path(root)
    earlier = next((s for s in known_sources(plain) if place in (None, s.root)), None)
    if dataset.wanted and not at and root is None and earlier is None and not packs_of(plain):
        raise DataError(
            f"{plain} has not been prepared yet: name its folder or archive with --test-data PATH; "
            f"accepted are {dataset.wanted}"
        )
    selection = Selection() if earlier is None else earlier.selection
    if not at and "image_size" in dataset.accepts and not _has_size(earlier, image_size):
        selection = replace(selection, image_size=image_size)
        if root is None and earlier is not None:
            root = Path(earlier.root)
    pack = prepare(name, root, progress, Selection() if at else selection)
    found = open_pack(pack, "test").image_size
    if found != image_size:
        raise UsageError(
            f"the images of {name} have {found} px and those of the training {image_size} px; "
            f"train with --image-size {found} if that data set has a choice, or test on another"
        )
    return pack


def _has_size(source: PackSource | None, image_size: int) -> bool:
    """Whether the pack of a source is there and has images of this size."""
    if source is None:
        return False
    pack = cache_folder() / "packs" / source.pack
    return (pack / "pack.json").exists() and open_pack(pack, "test").image_size == image_size


def _prepared(
    name: str, root: Path | None, progress: ImageProgress, selection: Selection, afresh: bool
) -> Path:
    name, at, digest = name.partition("@")
    dataset = find(name)
    check_selection(dataset, selection)
    if at:
        return _named_pack(name, digest, root, selection)
    if not dataset.wanted:
        return _checked(dataset, dataset.prepare(root, selection, progress))
    if root is None:
        return _prepared_before(dataset, selection.chosen())
    place = shown_path(root)
    if not selection.chosen() and not afresh:
        earlier = next((found for found in known_sources(name) if found.root == place), None)
        if earlier is not None and earlier.chosen:
            selection = earlier.selection
            _log.warning("%s: using%s, as in the last call", place, _words(selection))
    chosen = selection.chosen()
    fingerprint = _fingerprint(root)
    known = source_file(name, root, chosen)
    entry = read_source(known)
    if entry is not None and fingerprint and entry.fingerprint == fingerprint:
        try:
            pack = check_pack(cache_folder() / "packs" / entry.pack)
        except DataError as error:
            _log.warning("%s: it is built again", error)
        else:
            with contextlib.suppress(OSError):  # now it is the one asked for last
                os.utime(known)
            return pack
    pack = _checked(dataset, dataset.prepare(root, selection, progress))
    write_source(known, PackSource(name, place, selection, chosen, pack.name, fingerprint))
    return pack


def _words(selection: Selection) -> str:
    return "".join(f" --{k.replace('_', '-')} {v}" for k, v in selection.told().items())


def _named_pack(name: str, digest: str, root: Path | None, selection: Selection) -> Path:
    if root is not None or selection.chosen():
        raise UsageError(
            f"{name}@{digest} is a pack that exists already; leave out --data and the options of "
            f"a split or size, or name {name} alone"
        )
    packs = packs_of(name)
    # The name of a pack's folder ends in the first twelve digits.
    found = [p for p in packs if digest and p.name.rpartition("-")[2].startswith(digest[:12])]
    if len(found) != 1:
        raise unknown("pack", f"{name}@{digest}", ["@".join(p.name.rsplit("-", 1)) for p in packs])
    return check_pack(found[0])


def _prepared_before(dataset: Dataset, chosen: dict[str, str]) -> Path:
    packs = cache_folder() / "packs"
    for entry in known_sources(dataset.name):
        if not chosen or entry.chosen == chosen:
            pack = packs / entry.pack
            if (pack / "pack.json").exists():
                told = _words(entry.selection)
                _log.warning(
                    "%s: made from %s%s, the images used last", pack.name, entry.root, told
                )
                return check_pack(pack)
    # A pack that was copied here, without where it comes from.
    found = [] if dataset.accepts and chosen else packs_of(dataset.name)
    if not found:
        so = " with these options" if chosen else ""
        raise DataError(
            f"{dataset.name} has not been prepared{so} yet: name its folder or archive with "
            f"--data PATH "
            f"(DATA=PATH for make); accepted are {dataset.wanted}"
        )
    return check_pack(max(found, key=lambda pack: (pack / "pack.json").stat().st_mtime))


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
            "folder that repro.data.pack_builder.build_pack gives for its own name"
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
