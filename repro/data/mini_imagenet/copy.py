"""A user's copy of mini-ImageNet, in any layout."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from repro.data.pack import Pixels

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

Images = Iterator[tuple[str, bytes | Pixels]]
Groups = Mapping[str, Mapping[str, Sequence[str]]]


@dataclass(frozen=True)
class Copy:
    """What was found, before it is judged.

    Attributes:
        layout: in words.
        groups: split as the copy names it (empty: none) to class to names of images, in order.
        images: gives (name, file content or pixels ``[height, width, 3]``) of the wanted images,
            in the order in which they are cheap to read.
        notes: what a user should know.
        absent: images that the copy's own list names and that are not there.
    """

    layout: str
    origin: Path
    groups: Groups
    images: Callable[[Collection[str]], Images]
    notes: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def split_name(word: str) -> str:
    """The split that a file or folder name means; the name itself when none."""
    return SPLIT_NAMES.get(word.lower(), word)


def by_file_name(name: str) -> tuple[str, str]:
    """Images of a class are in the order of their file names, wherever the files are."""
    return PurePosixPath(name).name, name
