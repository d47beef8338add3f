"""Which classes and images mini-ImageNet is, as Ravi & Larochelle 2017 published it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

IMAGES_PER_CLASS = 600
# Digest of the pack of the published results: its images stand in the order of their file names.
PUBLISHED_PACK = "10f82ae4c084b146d3f2afb45c1ca809997ce69029e9c22b07e52b33a18230c7"
_IMAGES = Path(__file__).with_name("ravi_images.npz")

# Ravi & Larochelle 2017: 64, 16 and 20 classes.
_TRAIN = """
n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867
n02091831 n02101006 n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079
n02165456 n02457408 n02606052 n02687172 n02747177 n02795169 n02823428 n02966193 n03017168
n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684 n03527444
n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 n04243546
n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003
n04596742 n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
n13133613
"""
_VAL = """
n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370
n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479
"""
_TEST = """
n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484
n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357
n04522168 n07613480
"""
RAVI_SPLIT = {
    "train": tuple(_TRAIN.split()),
    "val": tuple(_VAL.split()),
    "test": tuple(_TEST.split()),
}


@dataclass(frozen=True)
class Target:
    """What a copy is compared with; tests have small ones.

    Attributes:
        split: ``train``, ``val`` and ``test`` to their classes, sorted.
        per_class: images of every class.
        ranks: class to the 1-based ranks of its images among those of ILSVRC-2012, sorted; a
            published file name is the class followed by the rank in eight digits.
    """

    split: Mapping[str, tuple[str, ...]]
    per_class: int
    ranks: Mapping[str, tuple[int, ...]]

    @functools.cached_property
    def classes(self) -> frozenset[str]:
        """All classes."""
        return frozenset(c for classes in self.split.values() for c in classes)

    @functools.cached_property
    def split_of(self) -> dict[str, str]:
        """Class to its split."""
        return {c: split for split, classes in self.split.items() for c in classes}

    @property
    def n_image(self) -> int:
        """Images in all."""
        return self.per_class * len(self.classes)

    def names(self, class_id: str) -> list[str]:
        """The published file names of a class without their ending, sorted."""
        return [f"{class_id}{rank:08d}" for rank in self.ranks.get(class_id, ())]


@functools.cache
def ravi() -> Target:
    """The published split and list of images."""
    with np.load(_IMAGES) as content:
        bits = np.unpackbits(content["ranks"], axis=1)
        class_ids = [str(c) for c in content["class_ids"]]
    ranks = {
        class_id: tuple(int(i) + 1 for i in np.flatnonzero(row))
        for class_id, row in zip(class_ids, bits, strict=True)
    }
    return Target(RAVI_SPLIT, IMAGES_PER_CLASS, ranks)
