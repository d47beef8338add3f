"""All records below a folder of runs or of published results."""

from __future__ import annotations

from pathlib import Path

from repro.papers.config import Split
from repro.records.files import FILE
from repro.records.folders import below
from repro.records.record import read_record
from repro.records.tested_cell import Record
from repro.system.errors import RecordError


def read_records(
    root: Path, dataset: str, split: Split = "test", damaged: list[RecordError] | None = None
) -> list[Record]:
    """All records of a dataset that were tested on a split, in a stable order.

    Args:
        damaged: takes the errors of records that cannot be read, which are then left out.
    Raises:
        RecordError: one is damaged, or of another cell than its folder's name says.
    """
    found, home = [], root.joinpath(dataset, *below(split))
    for path in sorted(home.glob(f"*/*-shot/seed-*/*/{FILE}")):
        folder = path.parent
        if any(part.startswith(".") for part in folder.relative_to(home).parts):
            continue  # an editor's copies
        try:
            found.append(_at_home(read_record(folder), root, dataset, split))
        except RecordError as error:
            if damaged is None:
                raise
            damaged.append(error)
    return found


def _at_home(record: Record, root: Path, dataset: str, split: Split) -> Record:
    """The record, when it lies where its content says.

    Raises:
        RecordError: it does not.
    """
    own = record.folder(root)
    if record.path != own or (record.dataset, record.split) != (dataset, split):
        raise RecordError(
            f"{record.path / FILE} is the record of {own.relative_to(root)}; move its folder back "
            "there or delete it"
        )
    return record


def methods_in(*roots: Path) -> set[str]:
    """Methods that have records of any data set."""
    found = {path.parents[1].name for root in roots for path in root.glob("*/*/*-shot/seed-*")}
    return found - {"trainings"}
