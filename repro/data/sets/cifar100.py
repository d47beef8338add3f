"""CIFAR-FS and FC100: the two few-shot splits of CIFAR-100, from its published archive.

CIFAR-FS: 64, 16 and 20 classes drawn at random, Bertinetto et al. 2019 (arXiv 1805.08136).
FC100: whole superclasses, 60, 20 and 20 classes, Oreshkin et al. 2018 (arXiv 1805.10123).
Both take all 600 images of a class: the 500 of CIFAR's training file, then the 100 of its test
file.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from repro.data.dataset import ImageProgress, Selection
from repro.data.files import safe_pickle
from repro.data.files.archives import bounded_members
from repro.data.files.decoding import Counter
from repro.data.pack import SPLITS, Pixels
from repro.data.pack_builder import SplitPlan, build_pack
from repro.system.errors import DataError
from repro.system.regular import read_file

IMAGE_SIZE = 32  # px
MAX_FILE_BYTES = 2**28  # the largest of the three has 155 million
FOLDER = "cifar-100-python"
ARCHIVE = f"{FOLDER}.tar.gz"
IMAGES_PER_CLASS = {"train": 500, "test": 100}  # in CIFAR's own files, which are not our splits
WANTED = f"torchvision's {ARCHIVE}, or the folder {FOLDER} out of it, or the folder that holds one"

_VAL = """
beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree motorcycle otter sea
shark television tractor
"""
_TEST = """
baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose snail sweet_pepper
table telephone wardrobe whale woman worm
"""
CIFAR_FS = {"val": tuple(_VAL.split()), "test": tuple(_TEST.split())}  # the rest is train
# Superclasses.
FC100 = {
    "val": (
        *("large_carnivores", "large_omnivores_and_herbivores", "non-insect_invertebrates"),
        "small_mammals",
    ),
    "test": ("aquatic_mammals", "insects", "medium_mammals", "people"),
}
SIZES = {"cifar-fs": (64, 16, 20), "fc100": (60, 20, 20)}


@dataclass(frozen=True)
class _Cifar:
    """The content of the archive: pixels uint8 ``[n, 3072]``, labels ``[n]``, and names."""

    pixels: Pixels
    labels: np.ndarray[Any, Any]
    class_names: tuple[str, ...]
    super_of: Mapping[str, str]


@dataclass(frozen=True)
class Cifar100:
    """One of the two data sets, by its name."""

    name: str
    wanted: str = WANTED
    accepts: tuple[str, ...] = ()

    def prepare(self, root: Path | None, selection: Selection, progress: ImageProgress) -> Path:
        """The pack.

        Raises:
            DataError: the archive is missing, damaged or not CIFAR-100.
        """
        assert root is not None
        found = _read(root)
        splits = split_classes(self.name, found.class_names, found.super_of)
        tick = Counter(len(found.labels), progress)
        per_class = sum(IMAGES_PER_CLASS.values())

        def plan(ids: tuple[str, ...]) -> SplitPlan:
            def fill(array: Pixels) -> None:
                for place, class_id in enumerate(ids):
                    rows = np.flatnonzero(found.labels == found.class_names.index(class_id))
                    planes = found.pixels[rows].reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
                    first = place * per_class
                    array[first : first + per_class] = planes.transpose(0, 2, 3, 1)
                    tick(per_class)

            return SplitPlan(ids, (per_class,) * len(ids), fill)

        plans = {split: plan(splits[split]) for split in SPLITS}
        return build_pack(self.name, IMAGE_SIZE, plans, str(root.resolve()))


def split_classes(
    name: str, class_names: tuple[str, ...], super_of: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The published split, each part sorted by name.

    Raises:
        DataError: the names are not those of CIFAR-100.
    """
    named = class_names if name == "cifar-fs" else tuple(super_of[c] for c in class_names)
    held = CIFAR_FS if name == "cifar-fs" else FC100
    found: dict[str, list[str]] = {split: [] for split in SPLITS}
    for class_name, key in zip(class_names, named, strict=True):
        split = next((s for s, names in held.items() if key in names), "train")
        found[split].append(class_name)
    sizes = tuple(len(found[split]) for split in SPLITS)
    if sizes != SIZES[name]:
        raise DataError(
            f"the class names are not those of CIFAR-100: they make {sizes} classes of {name}, "
            f"not {SIZES[name]}; get {ARCHIVE} again"
        )
    return {split: tuple(sorted(ids)) for split, ids in found.items()}


def _files(root: Path) -> dict[str, bytes]:
    """The files train, test and meta, in memory."""
    places = (root, root / FOLDER, root / ARCHIVE)
    for place in places:
        if all((place / part).is_file() for part in ("train", "test", "meta")):
            try:
                parts = ("train", "test", "meta")
                return {part: read_file(place / part, MAX_FILE_BYTES) for part in parts}
            except OSError as error:
                raise DataError(f"{place} cannot be read ({error.strerror})") from error
        if place.is_file():
            return _members(place)
    raise DataError(f"no CIFAR-100 at {root}; expected {WANTED}")


def _members(archive: Path) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(archive, tarinfo=bounded_members()) as opened:
            for part in ("train", "test", "meta"):
                member = opened.getmember(f"{FOLDER}/{part}")
                stream = opened.extractfile(member) if member.size <= MAX_FILE_BYTES else None
                if stream is None:
                    raise DataError(f"{archive}: {FOLDER}/{part} is not a file of CIFAR-100")
                found[part] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error, KeyError, ValueError) as error:
        raise DataError(f"{archive} is not a readable {ARCHIVE} ({error}); get it again") from error
    return found


def _read(root: Path) -> _Cifar:
    content = {
        part: safe_pickle.load(io.BytesIO(raw), f"{root}: {FOLDER}/{part}")
        for part, raw in _files(root).items()
    }
    try:
        if not all(isinstance(part, dict) for part in content.values()):
            raise TypeError("a file of it holds no dictionary")
        meta, both = content["meta"], [content[part] for part in ("train", "test")]
        names = safe_pickle.texts(meta["fine_label_names"], "fine_label_names")
        supers = safe_pickle.texts(meta["coarse_label_names"], "coarse_label_names")
        pixels = [part["data"] for part in both]
        if not all(isinstance(part, np.ndarray) for part in pixels):
            raise TypeError("data is no array")
        labels = [safe_pickle.labels(p["fine_labels"], len(names), "fine_labels") for p in both]
        coarse = np.concatenate(
            [safe_pickle.labels(p["coarse_labels"], len(supers), "coarse_labels") for p in both]
        )
        for part, images, fine in zip(IMAGES_PER_CLASS, pixels, labels, strict=True):
            counts = np.bincount(fine, minlength=len(names))
            wanted = IMAGES_PER_CLASS[part]
            if images.dtype != np.uint8 or images.shape != (len(fine), 3 * IMAGE_SIZE**2):
                raise ValueError(f"{part} has pixels {images.dtype} {list(images.shape)}")
            if len(names) != 100 or counts.tolist() != [wanted] * 100:
                raise ValueError(f"{part} has not {wanted} images in each of 100 classes")
        fine = np.concatenate(labels)
        pairs = {(names[f], supers[c]) for f, c in zip(fine.tolist(), coarse.tolist(), strict=True)}
        if len(pairs) != 100 or len(set(names)) != 100:
            raise ValueError("a class is in several superclasses")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{root} does not hold CIFAR-100 ({error}); get {ARCHIVE} again") from error
    return _Cifar(np.concatenate(pixels), fine, names, dict(pairs))
