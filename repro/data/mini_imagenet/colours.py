"""Mean colours of the published classes, by which exchanged colour channels are noticed."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from repro.data.pack import Pixels
from repro.system.errors import DataError

Colour = npt.NDArray[np.float64]  # red, green and blue, 0 to 255: [3]
_IMAGES = Path(__file__).with_name("ravi_images.npz")


def mean(image: Pixels) -> Colour:
    """The mean colour of pixels ``[height, width, 3]``."""
    total: Colour = image.sum(axis=(0, 1), dtype=np.int64) / (image.shape[0] * image.shape[1])
    return total


@functools.cache
def published() -> Mapping[str, Colour]:
    """Class to the mean colour of its 600 images."""
    with np.load(_IMAGES) as content:
        return dict(zip(map(str, content["class_ids"]), content["colours"], strict=True))


class Means:
    """Mean colours by class, collected image by image."""

    def __init__(self) -> None:
        self._sums: dict[str, Colour] = {}
        self._counts: dict[str, int] = {}

    def add(self, class_id: str, colour: Colour) -> None:
        """One more image of a class."""
        self._sums[class_id] = self._sums.get(class_id, np.zeros(3)) + colour
        self._counts[class_id] = self._counts.get(class_id, 0) + 1

    def exchanged(self, references: Mapping[str, Colour]) -> bool:
        """Whether the classes look like the references with red and blue exchanged.

        Their sum of absolute differences is then less than half of what it is as they are. In the
        published classes, red and blue are 23 levels of 255 apart on average.
        """
        classes: Iterable[str] = self._sums.keys() & references.keys()
        direct = other = 0.0
        for class_id in classes:
            found = self._sums[class_id] / self._counts[class_id]
            direct += float(np.abs(found - references[class_id]).sum())
            other += float(np.abs(found[::-1] - references[class_id]).sum())
        return other < direct / 2


EXCHANGED = (
    "red and blue are exchanged: the classes have the mean colours of the published images with "
    "these two channels the other way round (OpenCV reads and writes blue first); exchange them "
    "again, or bring another copy"
)


def refuse_exchanged(means: Means, references: Mapping[str, Colour], origin: Path) -> None:
    """Refuse images whose red and blue are exchanged.

    Raises:
        DataError: they are.
    """
    if means.exchanged(references):
        raise DataError(f"{origin}: {EXCHANGED}")
