"""The layouts of copies of mini-ImageNet, and their detection."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath

from repro.data.files.archives import refuse_other
from repro.data.files.sources import Source, html_error, is_html
from repro.data.mini_imagenet import parquet, pickles
from repro.data.mini_imagenet.copy import (
    SPLIT_NAMES,
    Copy,
    Groups,
    Images,
    by_file_name,
)
from repro.data.mini_imagenet.ravi import Target
from repro.data.pack import SPLITS
from repro.system.errors import DataError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
PICKLES = (".pkl", ".pickle", ".p")
LAYOUTS = (
    "class folders by split, Ravi's images/ with train.csv, val.csv and test.csv, all 100 classes "
    "in one folder, mini-imagenet-cache-*.pkl, miniImageNet_category_split_*.pickle, parquet "
    "shards, or an ILSVRC-2012 training set; each as a folder, a zip or a tar"
)
_CLASS = re.compile(r"n\d{8}")
_ILSVRC = re.compile(r"(n\d{8})_(\d+)\.jpe?g", re.IGNORECASE)


def detect(source: Source, target: Target) -> Copy:
    """The layout of a copy.

    Raises:
        DataError: none of the known ones, or a file of it is damaged.
    """
    by_ending: dict[str, list[str]] = {}
    for name in source.names:
        by_ending.setdefault(PurePosixPath(name).suffix.lower(), []).append(name)
    images = [name for ending in IMAGES for name in by_ending.get(ending, ())]
    pickled = [name for ending in PICKLES for name in by_ending.get(ending, ())]
    shards = by_ending.get(".parquet", [])
    if (pickled or shards) and len(images) * 10 < target.n_image:  # a logo is no copy
        return pickles.find(source, pickled) if pickled else parquet.find(source, shards)
    if not images:
        for name in source.names[:100]:
            with source.open(name) as stream:
                head = stream.read(512)
                if is_html(head):
                    raise html_error(source.called(name))
                refuse_other(head, source.called(name))
        raise DataError(
            f"{source.origin} holds no mini-ImageNet in a known layout ({len(source.names):,} "
            f"files, none of them an image, a pickle or a parquet shard); accepted are {LAYOUTS}"
        )
    lists = _lists(source, by_ending.get(".csv", []))
    ilsvrc = _find_ilsvrc(source, images, target, lists)
    if ilsvrc is not None:
        return ilsvrc
    groups = _by_folder(images, target)
    if lists and not set(groups) & set(SPLIT_NAMES.values()):
        return _by_list(source, images, lists)
    flat = all(len(PurePosixPath(name).parts) <= 2 for name in images[:1000])
    one = set(groups) == {""}
    if one and flat and _CLASS.match(PurePosixPath(images[0]).name):
        words = "images in one folder, their classes in their names"
    elif one:
        words = "class folders in one level, no split"
    else:
        words = "class folders by split"
    return Copy(words, source.origin, groups, _reader(source))


def _reader(source: Source) -> Callable[[Collection[str]], Images]:
    def images(names: Collection[str]) -> Images:
        for name in source.ordered(names):
            yield name, source.read(name)

    return images


def _class_of(path: PurePosixPath, target: Target) -> tuple[str, PurePosixPath]:
    """The class of an image and the folder above the class's own."""
    for parent in path.parents:
        if _CLASS.fullmatch(parent.name) or parent.name in target.classes:
            return parent.name, parent.parent
    named = _CLASS.match(path.name)
    if named:
        return named[0], path.parent
    return path.parent.name, path.parent.parent


def _by_folder(images: list[str], target: Target) -> Groups:
    found: dict[PurePosixPath, dict[str, list[str]]] = {}
    for name in images:
        class_id, above = _class_of(PurePosixPath(name), target)
        found.setdefault(above, {}).setdefault(class_id, []).append(name)
    common = os.path.commonpath([path.as_posix() for path in found]) if len(found) > 1 else ""
    groups: dict[str, dict[str, list[str]]] = {}
    for above, classes in found.items():
        parts = [SPLIT_NAMES[part.lower()] for part in above.parts if part.lower() in SPLIT_NAMES]
        other = above.relative_to(common).as_posix() if common and len(found) > 1 else above.name
        key = parts[0] if parts else (other if len(found) > 1 else "")
        group = groups.setdefault(key, {})
        for class_id, names in classes.items():
            group.setdefault(class_id, []).extend(names)
    return _sorted(groups)


def _sorted(groups: Mapping[str, Mapping[str, list[str]]]) -> Groups:
    return {
        split: {c: sorted(names, key=by_file_name) for c, names in sorted(classes.items())}
        for split, classes in sorted(groups.items())
    }


def _lists(source: Source, files: list[str]) -> dict[str, list[tuple[str, str]]]:
    """``train.csv`` and so on: split to (file name, class), Ravi's header checked."""
    found = {}
    for name in files:
        split = SPLIT_NAMES.get(PurePosixPath(name).stem.lower())
        if split is None:
            continue
        content = source.read(name)
        if is_html(content):
            raise html_error(source.called(name))
        try:
            rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), strict=True))
            if [word.strip().lower() for word in rows[0]] != ["filename", "label"]:
                raise ValueError(f"its header is {','.join(rows[0])[:60]!r}")
            found[split] = [(file.strip(), label.strip()) for file, label in filter(None, rows[1:])]
        except (ValueError, IndexError, csv.Error) as error:
            raise DataError(
                f"{source.called(name)} is not a list with the columns filename,label ({error}); "
                "bring the published file"
            ) from error
    return found


def _by_list(source: Source, images: list[str], lists: dict[str, list[tuple[str, str]]]) -> Copy:
    places: dict[str, str] = {PurePosixPath(name).name: name for name in images}
    for name in images:  # equal file names in several class folders
        path = PurePosixPath(name)
        places[f"{path.parent.name}/{path.name}"] = name
    groups: dict[str, dict[str, list[str]]] = {}
    absent = []
    for split, rows in lists.items():
        for file, label in rows:
            place = places.get(f"{label}/{PurePosixPath(file).name}") or places.get(
                PurePosixPath(file).name
            )
            if place is None:
                absent.append(file)
            else:
                groups.setdefault(split, {}).setdefault(label, []).append(place)
    named = sum(len(rows) for rows in lists.values())
    notes = []
    if len(images) > named:
        notes.append(f"{len(images) - named + len(absent):,} images are in no csv and are left out")
    return Copy(
        f"images with {', '.join(f'{split}.csv' for split in SPLITS if split in lists)}",
        source.origin, _sorted(groups), _reader(source), tuple(notes), tuple(absent),
    )  # fmt: skip


def _find_ilsvrc(
    source: Source, images: list[str], target: Target, lists: dict[str, list[tuple[str, str]]]
) -> Copy | None:
    """A training set of ILSVRC-2012, or None.

    The last five digits of a published file name are the 1-based rank of the image in its class,
    sorted by the number in the ILSVRC name.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for name in images:
        match = _ILSVRC.fullmatch(PurePosixPath(name).name)
        if match and match[1] in target.classes:
            found.setdefault(match[1], []).append((int(match[2]), name))
    listed = {PurePosixPath(file).name for rows in lists.values() for file, _ in rows}
    if all(len(items) <= target.per_class for items in found.values()) or any(
        PurePosixPath(items[0][1]).name in listed for items in found.values()
    ):
        return None
    wanted: dict[str, dict[str, set[int]]] = {}
    try:
        for split, rows in lists.items():
            for file, label in rows:
                rank = int(PurePosixPath(file).stem[-5:])
                wanted.setdefault(split, {}).setdefault(label, set()).add(rank)
    except ValueError as error:
        raise DataError(
            f"{source.origin}: a file name in the csv files does not end in the five digits of a "
            f"rank ({error}); bring the published files"
        ) from error
    if not wanted:
        for class_id, split in target.split_of.items():
            wanted.setdefault(split, {})[class_id] = set(target.ranks.get(class_id, ()))
    groups: dict[str, dict[str, list[str]]] = {}
    absent = []
    for split, classes in wanted.items():
        for class_id, ranks in classes.items():
            items = sorted(found.get(class_id, []))
            kept = [items[rank - 1][1] for rank in sorted(ranks) if 0 < rank <= len(items)]
            absent += [f"{class_id}, rank {rank}" for rank in sorted(ranks) if rank > len(items)]
            groups.setdefault(split, {})[class_id] = kept
    origin = "the csv files beside it" if lists else "the published list of images"
    note = f"{target.per_class} images a class chosen by {origin}: rank in the class by number"
    return Copy(
        "ILSVRC-2012 training set", source.origin, groups, _reader(source), (note,), tuple(absent)
    )
