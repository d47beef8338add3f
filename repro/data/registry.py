"""The data sets that can be asked for: built in, and those that installed packages bring.

Others name theirs under the entry-point group ``repro.datasets``. All follow
:class:`repro.data.dataset.Dataset`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from repro.data import plug_in
from repro.data.dataset import Dataset, ImageProgress, Selection
from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.sets import folder, glyphs, omniglot, tiered_imagenet
from repro.data.sets.cifar100 import Cifar100
from repro.system.errors import unknown


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
    return (*DATASETS, *sorted(plug_in.installed() - set(DATASETS)))


def hidden() -> list[str]:
    """A sentence on each installed data set that cannot be used: its name is built in."""
    return plug_in.hidden(DATASETS)


def find(name: str) -> Dataset:
    """The data set of a name.

    Raises:
        UsageError: there is none. DataError: a plug-in that cannot be loaded or is no data set.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    if name not in plug_in.installed():
        raise unknown("dataset", name, names())
    return plug_in.find(name)
