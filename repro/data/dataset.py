"""The protocol of a data set: a name, and a function that packs its files.

The built-in ones and those of other packages (entry-point group ``repro.datasets``) are the same
kind of thing; a module with these names is one, and so is an instance of a class.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from repro.system.errors import DataError, UsageError
from repro.system.regular import read_file

MAX_SPLIT_FILE = 2**24  # bytes
ImageProgress = Callable[[int, int], None]  # images done and in all


def ignore(done: int, total: int) -> None:
    """Progress for those who do not watch."""


@dataclass(frozen=True)
class Selection:
    """What may be chosen of a data set, beside its place on disk.

    Attributes:
        split: shares or counts such as ``0.64/0.16/0.20``, or the name of a published split.
        split_seed: which of the random splits with these shares; None is 0.
        split_file: the user's own assignment of classes to splits.
        image_size: height and width of the images, px.
    """

    split: str | None = None
    split_seed: int | None = None
    split_file: Path | None = None
    image_size: int | None = None

    def told(self) -> dict[str, int | str]:
        """What differs from the default; a file by its place."""
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            key: str(value.absolute()) if isinstance(value, Path) else value
            for key, value in kept.items()
            if value is not None
        }

    def chosen(self) -> dict[str, str]:
        """What differs from the default, as text; a file counts by what it holds."""
        found = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Path):
                try:
                    value = hashlib.sha256(read_file(value, MAX_SPLIT_FILE)).hexdigest()
                except OSError as error:
                    raise DataError(
                        f"the split file {value} cannot be read ({error.strerror}); "
                        "give a file that exists"
                    ) from error
            if value is not None:
                found[field.name] = str(value)
        return found


class Dataset(Protocol):
    """A data set that ``repro`` can prepare.

    Attributes:
        name: as after ``--dataset``; the pack's own name.
        wanted: what ``--data`` is to name, in words; empty when nothing is needed.
        accepts: the fields of :class:`Selection` that mean something here.
    """

    @property
    def name(self) -> str: ...

    @property
    def wanted(self) -> str: ...

    @property
    def accepts(self) -> tuple[str, ...]: ...

    def prepare(self, root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
        """The folder of the pack, built with :func:`repro.data.pack_builder.build_pack` if need be.

        Raises:
            DataError: what is wrong with the files at ``root``; no pack is left behind.
        """
        ...


def check_selection(dataset: Dataset, selection: Selection) -> None:
    """Refuse a choice that the data set would ignore.

    Raises:
        UsageError: an option that means nothing here.
    """
    for field in fields(selection):
        if getattr(selection, field.name) is not None and field.name not in dataset.accepts:
            option = "--" + field.name.replace("_", "-")
            known = ", ".join("--" + name.replace("_", "-") for name in dataset.accepts)
            raise UsageError(
                f"{option} does not apply to {dataset.name}, which has "
                f"{f'only {known}' if known else 'one fixed split and size'}; leave it out"
            )
