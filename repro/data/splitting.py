"""The assignment of classes to splits: by seeded shares or counts, or by the user's file."""

from __future__ import annotations

import contextlib
import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repro.data.dataset import MAX_SPLIT_FILE, Selection
from repro.data.files.decoding import first_few
from repro.data.pack import SPLITS
from repro.papers import paper
from repro.system.errors import DataError, UsageError
from repro.system.regular import read_file
from repro.system.seeding import Stream, rng

DEFAULT_SHARES = "0.64/0.16/0.20"
IMAGES_WANTED = paper.MAX_SHOT + paper.N_QUERY  # of a class, by the paper's largest episode
LEAST_WAY, LEAST_IMAGES = 2, 2  # of the smallest episode: two classes, one shot and one query
_OTHER_NAMES = {"valid": "val", "validation": "val"}
_SPLIT_FOLDER = re.compile(
    r"(?:meta[-_ ]?)?(?:(?P<train>train(?:ing)?|base|background)|(?P<val>val|valid|validation|dev)"
    r"|(?P<test>test(?:ing)?|novel|eval|evaluation))(?:[-_ ]?(?:set|split|images|classes))?",
    re.IGNORECASE,
)

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
    order = rng(seed, Stream.CLASS_SPLIT).permutation(len(ids)).tolist()
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
            content = json.loads(text, object_pairs_hook=_no_key_twice)
            pairs = [(str(c), str(split)) for split, ids in content.items() for c in list(ids)]
            if any(isinstance(ids, str) for ids in content.values()):
                raise ValueError("text instead of a list of classes")
        else:
            rows = csv.reader(text.splitlines())
            pairs = [_pair(row, rows.line_num) for row in rows if row]
            if pairs and pairs[0] == ("class", "split"):
                del pairs[0]
    except (OSError, ValueError, AttributeError, TypeError, csv.Error, RecursionError) as error:
        raise DataError(f"{path} is not a split file ({error}); {wanted}") from error
    return [(class_id, _OTHER_NAMES.get(split, split)) for class_id, split in pairs]


def _no_key_twice(items: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in items:
        if key in found:
            raise ValueError(f"it has {key!r} twice; put these classes into one list")
        found[key] = value
    return found


def _pair(row: Sequence[str], line: int) -> tuple[str, str]:
    if len(row) != 2:
        raise ValueError(
            f"line {line} is {','.join(row)[:80]!r}, not a class and a split with one comma between"
        )
    return row[0].strip(), row[1].strip()


class _NotASplit(DataError):
    """Folders that look like a split and are none, but could be divided otherwise."""


def by_folders(class_ids: Sequence[str]) -> Assigned | None:
    """The split of folders ``train/``, ``val/`` and ``test/``; None when there are none such.

    Common other names are known (``Train``, ``validation``, ``meta-test``, ``base``, ``novel``),
    and a single folder around them.

    Raises:
        DataError: such folders are there, but not all three, not alone, or with a class in two of
            them, which would make its images both learned and tested.
    """
    above = _above(class_ids)
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    named, others, holders = set[str](), set[str](), dict[str, set[str]]()
    for class_id in class_ids:
        top, _, below = class_id[len(above) :].partition("/")
        split = split_name(top)
        if split is None:
            others.add(top)
            continue
        named.add(top)
        found[split].append(class_id)
        holders.setdefault(below.casefold(), set()).add(split)
    there = [split for split in SPLITS if found[split]]
    if len(there) < 2:
        return None
    folders = f"the folders {', '.join(sorted(named))} look like a split"
    doubled = sorted(below for below, splits in holders.items() if len(splits) > 1 and below)
    if doubled:
        raise DataError(
            f"{folders}, but {len(doubled)} classes are in more than one of them "
            f"({_some(doubled)}): few-shot splits share no class; put all images of a class into "
            "one folder, or name the classes of every split in a --split-file"
        )
    missing = [split for split in SPLITS if not found[split]]
    wrong = f"there is none for {' and '.join(missing)}" if missing else ""
    if "" in holders:
        wrong = "there are images in them beside the class folders"
    elif others:
        wrong = f"beside them is {_some(sorted(others))}"
    if wrong:
        raise _NotASplit(
            f"{folders}, but {wrong}; give the classes of every split by a --split-file, or "
            f"have folders {', '.join(SPLITS)} with class folders and nothing else"
        )
    return {split: tuple(sorted(ids)) for split, ids in found.items()}


def split_name(folder: str) -> str | None:
    """The split that a folder's name means; None when none."""
    match = _SPLIT_FOLDER.fullmatch(folder)
    return match.lastgroup if match else None


def _above(class_ids: Sequence[str]) -> str:
    """The folders around all classes, one in the other, as a prefix of their ids."""
    above = ""
    while True:
        tops = {class_id[len(above) :].partition("/") for class_id in class_ids}
        heads = {head for head, _, _ in tops}
        if len(heads) != 1 or not all(slash for _, slash, _ in tops):
            return above
        above += f"{heads.pop()}/"


def _enough(n_class: int) -> str:
    """What to do where a split has too few classes."""
    least = 3 * LEAST_WAY
    if n_class < least:
        return f"bring at least {least} classes"
    way = min(paper.N_WAY, n_class // 3)
    split = f"{n_class - 2 * way}/{way}/{way}"
    return f"choose another split, for instance --split {split}, or bring more classes"


def assign(counts: Mapping[str, int], selection: Selection) -> tuple[Assigned, str]:
    """The split that was asked for, checked to be large enough for episodes; and it in words.

    Args:
        counts: class id to number of images.
    Raises:
        UsageError, DataError: see above; and a split with fewer than two classes, or a class
            with fewer than two images. Whether they are enough for the episodes of a run is asked
            when its size is known (:mod:`repro.run.sizes`).
    """
    class_ids, ignored = sorted(counts), ""
    if selection.split_file is not None:
        if selection.split is not None or selection.split_seed is not None:
            raise UsageError("--split-file is itself the split; leave out --split and --split-seed")
        found: Assigned | None = by_file(class_ids, selection.split_file)
        said = f"the split of {selection.split_file.name}"
    elif selection.split is not None:
        with contextlib.suppress(_NotASplit):
            # not to divide at random what holds one class in two folders
            if by_folders(class_ids) is not None:
                ignored = "; the folders train, val and test are not used as the split"
        found = None
    else:
        found = by_folders(class_ids)
        said = "the split of the folders"
        if found is not None and selection.split_seed is not None:
            raise UsageError(
                "the folders train, val and test are the split; --split-seed needs --split too"
            )
    if found is None:
        shares, seed = selection.split or DEFAULT_SHARES, selection.split_seed or 0
        found = by_shares(class_ids, shares, seed)
        said = f"a random split of {len(class_ids)} classes, shares {shares}, seed {seed}{ignored}"
    said += ": " + ", ".join(f"{len(ids)} {split}" for split, ids in found.items())
    left = len(class_ids) - sum(map(len, found.values()))
    said += f"; {left} classes are in no split" if left else ""
    for split, ids in found.items():
        if len(ids) < LEAST_WAY:
            raise DataError(
                f"the {split} split has {len(ids)} of {len(class_ids)} classes, and an episode "
                f"takes at least {LEAST_WAY}; " + _enough(len(class_ids))
            )
    if small := _smaller(found, counts, LEAST_IMAGES):
        raise DataError(
            f"{len(small)} of {len(class_ids)} classes have fewer than the {LEAST_IMAGES} images "
            f"that the smallest episode takes of a class ({_some(small)}); add images, move these "
            "folders away, or leave them out by a --split-file"
        )
    if small := _smaller(found, counts, IMAGES_WANTED):
        said += (
            f"; {len(small)} of {len(class_ids)} classes have fewer than {IMAGES_WANTED} images "
            f"({_some(small)}), so fewer shots (--shots) or queries (--n-query) can be asked for"
        )
    return found, said


def _smaller(found: Assigned, counts: Mapping[str, int], least: int) -> list[str]:
    """The classes with fewer images than that, with their number."""
    small = sorted(c for ids in found.values() for c in ids if counts[c] < least)
    return [f"{class_id} with {counts[class_id]}" for class_id in small]


def _some(names: Sequence[str]) -> str:
    return ", ".join(first_few(names))
