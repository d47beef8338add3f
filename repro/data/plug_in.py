"""Data sets of other packages: their code runs in a process of its own and nowhere else.

There it may exit, crash or change settings; here only its name, its options and the path of the
pack arrive.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from repro.data.dataset import Dataset, ImageProgress, Selection
from repro.system import processes
from repro.system.errors import DataError, ReproError, text_of
from repro.system.interrupts import StopRequest
from repro.system.progress import Phase, Reporter, Silent

PLUG_INS = "repro.datasets"


@dataclass(frozen=True)
class PlugIn:
    """An installed data set (:class:`repro.data.dataset.Dataset`), without its code."""

    name: str
    wanted: str
    accepts: tuple[str, ...]

    def prepare(self, root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
        """Call the plug-in's ``prepare`` in a process of its own.

        Raises:
            DataError: it failed, or its process ended early, with whatever exit code.
        """
        return processes.call(
            _prepare, self.name, root, selection, who=f"the data set {self.name}",
            reporter=_Images(progress), early_end=DataError,
        )  # fmt: skip


class _Images(Silent):
    """A reporter that hands the counts of images on."""

    def __init__(self, progress: ImageProgress) -> None:
        self._progress = progress

    def report(
        self, task: str, done: int, total: int, note: str = "", phase: Phase = "test"
    ) -> None:
        self._progress(done, total)


def installed() -> set[str]:
    """The names of all installed data sets; no plug-in is loaded."""
    return {entry.name for entry in importlib.metadata.entry_points(group=PLUG_INS)}


def hidden(built_in: Iterable[str]) -> list[str]:
    """A sentence on each installed data set that cannot be used: its name is built in."""
    taken = set(built_in)
    return [
        f"the installed data set {entry.name} ({entry.value}) is not used: a data set of this "
        "name is built in; give its entry point another name"
        for entry in importlib.metadata.entry_points(group=PLUG_INS)
        if entry.name in taken
    ]


def find(name: str) -> PlugIn:
    """An installed data set by its name.

    Raises:
        DataError: it cannot be loaded or is no data set.
    """
    return processes.call(_described, name, who=f"the data set {name}", early_end=DataError)


def _described(name: str) -> PlugIn:
    dataset, source = _load(name)
    missing = [
        word for word in ("name", "wanted", "accepts", "prepare") if not hasattr(dataset, word)
    ]
    if missing or dataset.name != name:
        what = f"has no {', '.join(missing)}" if missing else f"calls itself {dataset.name!r}"
        raise DataError(f"{source} is not a data set: it {what}; see repro.data.dataset.Dataset")
    return PlugIn(name, str(dataset.wanted), tuple(map(str, dataset.accepts)))


def _load(name: str) -> tuple[Dataset, str]:
    """The plug-in itself and words for it; its code is run."""
    (entry, *_) = importlib.metadata.entry_points(group=PLUG_INS, name=name)
    source = f"the plug-in {name} ({entry.value})"
    try:
        loaded = entry.load()
        return loaded() if isinstance(loaded, type) else loaded, source
    except BaseException as error:  # another package's code may fail, or exit, in any way
        why = text_of(error) if isinstance(error, Exception) else type(error).__name__
        raise DataError(f"{source} cannot be loaded ({why}); repair or uninstall it") from error


def _prepare(
    name: str, root: Path | None, selection: Selection, reporter: Reporter, stop: StopRequest
) -> Path:
    dataset, source = _load(name)
    try:
        pack = dataset.prepare(
            root, selection, lambda done, total: reporter.report(name, done, total)
        )
    except (ReproError, OSError):
        raise  # one sentence already, or the disk's
    except BaseException as error:
        why = f"{type(error).__name__}: {text_of(error)}".removesuffix(": ")
        raise DataError(f"{source} made no pack: prepare raised {why}; repair it") from error
    if not isinstance(pack, Path):
        raise DataError(
            f"the data set {name} prepared no usable pack (prepare returned a "
            f"{type(pack).__name__}); it has to return the folder that "
            "repro.data.pack_builder.build_pack gives for its own name"
        )
    return pack
