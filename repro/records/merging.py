"""Merging: the records of two people's runs in a new folder, all checked before the first copy."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from repro import records
from repro.records import publishing
from repro.records.files import CURVE, FILE, GATES, MODEL, PREDICTIONS, SEALED
from repro.records.tested_cell import Record
from repro.system import storage
from repro.system.errors import RecordError, UsageError


def merge(sources: Sequence[Path], target: Path, datasets: Collection[str] = ()) -> list[Path]:
    """Copy the cells of several folders of runs to one that is not there yet.

    A cell that several have with the same outcome is taken once, from the first. Checkpoints of
    trainings and ablations stay where they are: they are no records.

    Args:
        datasets: only these.
    Returns:
        The folders of the cells copied, below ``target``.
    Raises:
        UsageError: a folder is not there, or ``target`` is, or it is the current folder.
        RecordError: a record is damaged, of another numerics revision or other images or episodes
            than the rest, or a cell has two outcomes; nothing is written.
    """
    for source in sources:
        if not source.is_dir():
            raise UsageError(f"{source} is not a folder of runs; name the one given to --runs")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already; name a folder that is not, for all of it")
    if target.exists() and target.samefile(Path()):
        # It is replaced as a whole, which would leave the shell in a folder that is gone.
        raise UsageError(
            f"{target} is the current folder, which cannot be replaced; name a folder in it that "
            "is not there yet, as in --into merged"
        )
    cells: dict[Path, Record] = {}
    for source in sources:
        for record in _records(source, datasets):
            publishing.refuse_damaged(record, source)
            place = record.path.relative_to(source)
            there = cells.setdefault(place, record)
            if there.digests["record"] != record.digests["record"]:
                raise RecordError(
                    f"{there.path} and {record.path} are the same cell with different outcomes; "
                    "keep one of them"
                )
    if not cells:
        raise RecordError(f"no records under {', '.join(map(str, sources))}; run cells first")
    _refuse_mixed(list(cells.values()))
    return _copy(cells, target)


def _records(source: Path, datasets: Collection[str]) -> Iterator[Record]:
    for folder in sorted(path for path in source.iterdir() if path.is_dir()):
        if not folder.name.startswith(".") and (not datasets or folder.name in datasets):
            yield from records.read_records(source, folder.name)


def _refuse_mixed(found: Sequence[Record]) -> None:
    """One pack of images a data set, and one list of episodes of each task and way to draw them.

    Raises:
        RecordError: there are two; a record of each is named.
    """
    images: dict[str, Record] = {}
    episodes: dict[tuple[object, ...], Record] = {}
    for record in found:
        seed = record.config.get("episode_seed", 0)
        drawn = (record.dataset, record.task, record.k_shot, record.episode_classes, seed,
                 record.n_episode)  # fmt: skip
        for what, name, first in (
            ("images", "data", images.setdefault(record.dataset, record)),
            ("episodes", "episodes", episodes.setdefault(drawn, record)),
        ):
            ours, theirs = (str(r.digests.get(name)) for r in (first, record))
            if ours != theirs:
                raise RecordError(
                    f"{first.path} and {record.path} are of different {what} of {record.dataset} "
                    f"({name} digest {ours[:8]} and {theirs[:8]}); only records of the same {what} "
                    "are merged"
                )


def _files(record: Record) -> list[str]:
    """Names of what belongs to a cell and is there."""
    names_of = (PREDICTIONS, CURVE, GATES, MODEL, SEALED, FILE)
    return [name for name in names_of if (record.path / name).exists()]


def _copy(cells: dict[Path, Record], target: Path) -> list[Path]:
    """All cells under a temporary name that becomes ``target`` when every record is read again."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.merging")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        for place, record in cells.items():
            for name in sorted(_files(record), key=records.write_order):
                content = storage.read_bytes(record.path / name, follow=False, limit=2**31)
                storage.write_bytes(temporary / place / name, content)
            again = records.read_record(temporary / place)
            publishing.refuse_damaged(again, temporary)
            if again.digests != record.digests:
                raise RecordError(f"{record.path} was changed meanwhile; merge again")
        if target.exists():
            target.rmdir()  # it is empty
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return [target / place for place in cells]
