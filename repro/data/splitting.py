"""Classes to splits: by seeded shares or counts, or by the user's own file."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro import paper
from repro.data.dataset import MAX_SPLIT_FILE, Selection
from repro.data.decoding import first_few
from repro.data.images import SPLITS
from repro.errors import DataError, UsageError
from repro.regular import read_file
from repro.seeding import Stream, words

DEFAULT_SHARES = "0.64/0.16/0.20"
IMAGES_NEEDED = paper.MAX_SHOT + paper.N_QUERY  # of a class, by the largest episode
_OTHER_NAMES = {"valid": "val", "validation": "val"}

Assigned = dict[str, tuple[str, ...]]


def by_shares(class_ids: Sequence[str], text: str, seed: int) -> Assigned:
    """A random split of the classes; equal ids, shares and seed give an equal split.

    Args:
        text: shares of the classes that sum to 1, or counts that sum to their number, for
            train, val and test.
    Raises:
        UsageError: not three such numbers.
    """
    wanted = _counts(text, len(class_ids))
    ids = sorted(class_ids)
    order = words(seed, Stream.CLASS_SPLIT).permutation(len(ids)).tolist()
    found, first = {}, 0
    for split, n in zip(SPLITS, wanted, strict=True):
        found[split] = tuple(sorted(ids[i] for i in order[first : first + n]))
        first += n
    return found


def _counts(text: str, n_class: int) -> list[int]:
    try:
        numbers = [float(part) for part in text.split("/")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(0 < number < float("inf") for number in numbers):
        raise UsageError(
            f"--split is three positive numbers such as {DEFAULT_SHARES} (train/val/test), "
            f"not {text!r}"
        )
    if all(number == int(number) for number in numbers):
        counts = [int(number) for number in numbers]
        if sum(counts) != n_class:
            raise UsageError(
                f"--split {text} is for {sum(counts)} classes, but there are {n_class}; "
                "give counts that sum to that, or shares that sum to 1"
            )
        return counts
    if abs(sum(numbers) - 1) > 1e-6:
        raise UsageError(f"the shares of --split {text} sum to {sum(numbers):g}, not to 1")
    # Largest remainders: every split within one class of its share, and all classes used.
    exact = [round(number * n_class, 6) for number in numbers]
    counts = [int(number) for number in exact]
    by_remainder = sorted(range(3), key=lambda i: counts[i] - exact[i])
    for place in by_remainder[: n_class - sum(counts)]:
        counts[place] += 1
    return counts


def by_file(class_ids: Sequence[str], path: Path) -> Assigned:
    """The split that a file names: JSON ``{"train": [...], ...}``, or csv ``class,split``.

    Classes that the file does not name are left out.

    Raises:
        DataError: not such a file, an unknown or doubled class, or an unknown split.
    """
    pairs = _pairs(path)
    known, seen = set(class_ids), set[str]()
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    unknown = [class_id for class_id, _ in pairs if class_id not in known]
    if unknown:
        raise DataError(
            f"{path} names {len(unknown)} classes that are not there ({_some(unknown)}); a class "
            "is named by its folder below the root, as in animals/cat"
        )
    for class_id, split in pairs:
        if split not in found:
            raise DataError(f"{path} names the split {split!r}; only {', '.join(SPLITS)} exist")
        if class_id in seen:
            raise DataError(f"{path} names the class {class_id!r} twice; keep one of the lines")
        seen.add(class_id)
        found[split].append(class_id)
    return {split: tuple(sorted(ids)) for split, ids in found.items()}


def _pairs(path: Path) -> list[tuple[str, str]]:
    wanted = 'expected JSON {"train": [...], "val": [...], "test": [...]} or csv lines class,split'
    try:
        text = read_file(path, MAX_SPLIT_FILE).decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            content = json.loads(text)
            pairs = [(str(c), str(split)) for split, ids in content.items() for c in list(ids)]
            if any(isinstance(ids, str) for ids in content.values()):
                raise ValueError("text instead of a list of classes")
        else:
            rows = [row for row in csv.reader(text.splitlines()) if row]
            pairs = [(c.strip(), split.strip()) for c, split in rows]
            if pairs and pairs[0] == ("class", "split"):
                del pairs[0]
    except (OSError, ValueError, AttributeError, TypeError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} is not a split file ({error}); {wanted}") from error
    return [(class_id, _OTHER_NAMES.get(split, split)) for class_id, split in pairs]


def by_folders(class_ids: Sequence[str]) -> Assigned | None:
    """The split of folders ``train/``, ``val/`` and ``test/``; None when they are not these.

    Raises:
        DataError: a class is in two splits, which would make its images both learned and tested.
    """
    parts = [class_id.split("/", 1) for class_id in class_ids]
    if not all(len(part) == 2 for part in parts):
        return None
    if {_OTHER_NAMES.get(top, top) for top, *_ in parts} != set(SPLITS):
        return None
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for class_id, (top, _) in zip(class_ids, parts, strict=True):
        found[_OTHER_NAMES.get(top, top)].append(class_id)
    below = [below for _, below in parts]
    doubled = sorted({name for name in below if below.count(name) > 1})
    if doubled:
        raise DataError(
            f"{len(doubled)} classes are in more than one of train, val and test "
            f"({_some(doubled)}): few-shot splits share no class; put all images of a class into "
            "one folder and use --split"
        )
    return {split: tuple(sorted(ids)) for split, ids in found.items()}


def assign(counts: Mapping[str, int], selection: Selection) -> Assigned:
    """The split that was asked for, checked to be large enough for episodes.

    Args:
        counts: class id to number of images.
    Raises:
        UsageError, DataError: see above; and a split with fewer than five classes, or a class
            with fewer images than an episode takes.
    """
    class_ids = sorted(counts)
    if selection.split_file is not None:
        if selection.split is not None or selection.split_seed is not None:
            raise UsageError("--split-file is itself the split; leave out --split and --split-seed")
        found: Assigned | None = by_file(class_ids, selection.split_file)
    else:
        found = by_folders(class_ids) if selection.split is None else None
        if found is not None and selection.split_seed is not None:
            raise UsageError(
                "the folders train, val and test are the split; --split-seed needs --split too"
            )
    if found is None:
        shares = selection.split or DEFAULT_SHARES
        found = by_shares(class_ids, shares, selection.split_seed or 0)
    for split, ids in found.items():
        if len(ids) < paper.N_WAY:
            raise DataError(
                f"the {split} split has {len(ids)} of {len(class_ids)} classes, and "
                f"{paper.N_WAY}-way episodes need {paper.N_WAY}; choose another --split or "
                "bring more classes"
            )
    small = [c for ids in found.values() for c in ids if counts[c] < IMAGES_NEEDED]
    if small:
        named = [f"{class_id} with {counts[class_id]}" for class_id in sorted(small)]
        raise DataError(
            f"{len(small)} of {len(class_ids)} classes have fewer than the {IMAGES_NEEDED} images "
            f"that an episode takes of a class ({_some(named)}); add images, move these folders "
            "away, or leave them out by a --split-file"
        )
    return found


def _some(names: Sequence[str]) -> str:
    return ", ".join(first_few(names))
