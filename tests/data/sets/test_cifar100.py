"""CIFAR-FS and FC100 out of archives like the published one, which is a Python 2 pickle."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.data.pack import open_pack
from repro.data.preparing import prepare
from repro.data.sets import cifar100
from repro.system.errors import DataError

# CIFAR-100's own table, superclass by superclass (Krizhevsky 2009).
TABLE = """
aquatic_mammals: beaver dolphin otter seal whale
fish: aquarium_fish flatfish ray shark trout
flowers: orchid poppy rose sunflower tulip
food_containers: bottle bowl can cup plate
fruit_and_vegetables: apple mushroom orange pear sweet_pepper
household_electrical_devices: clock keyboard lamp telephone television
household_furniture: bed chair couch table wardrobe
insects: bee beetle butterfly caterpillar cockroach
large_carnivores: bear leopard lion tiger wolf
large_man-made_outdoor_things: bridge castle house road skyscraper
large_natural_outdoor_scenes: cloud forest mountain plain sea
large_omnivores_and_herbivores: camel cattle chimpanzee elephant kangaroo
medium_mammals: fox porcupine possum raccoon skunk
non-insect_invertebrates: crab lobster snail spider worm
people: baby boy girl man woman
reptiles: crocodile dinosaur lizard snake turtle
small_mammals: hamster mouse rabbit shrew squirrel
trees: maple_tree oak_tree palm_tree pine_tree willow_tree
vehicles_1: bicycle bus motorcycle pickup_truck train
vehicles_2: lawn_mower rocket streetcar tank tractor
"""
SUPERS = {line.split(":")[0]: line.split(":")[1].split() for line in TABLE.strip().splitlines()}
NAMES = sorted(name for names in SUPERS.values() for name in names)
COARSE = [sorted(SUPERS).index(next(s for s in SUPERS if n in SUPERS[s])) for n in NAMES]
# The training classes of CIFAR-FS as torchmeta lists them.
TRAIN_FS = """
dolphin seal aquarium_fish ray trout orchid sunflower tulip bottle bowl can cup plate apple mushroom
orange pear clock keyboard chair couch bee caterpillar cockroach bear lion tiger wolf bridge castle
house road skyscraper cloud forest mountain elephant kangaroo porcupine possum raccoon skunk lobster
spider boy girl dinosaur lizard snake turtle hamster mouse rabbit shrew squirrel oak_tree palm_tree
pine_tree willow_tree bus train lawn_mower streetcar tank
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cifar100, "IMAGES_PER_CLASS", {"train": 2, "test": 1})
    return tmp_path / "cache"


def part(copies: int, offset: int) -> dict[str, Any]:
    """Image ``i`` of a class: red is the class, green the image, blue the column."""
    labels = [c for _ in range(copies) for c in reversed(range(100))]
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    images[:, 0] = np.array(labels)[:, None, None]
    images[:, 1] = (np.arange(len(labels)) // 100 + offset)[:, None, None]
    images[:, 2] = np.arange(32)[None, None]
    return {
        "data": images.reshape(len(labels), -1),
        "fine_labels": labels,
        "coarse_labels": [COARSE[c] for c in labels],
        "filenames": [f"{i}.png" for i in range(len(labels))],
        "batch_label": "part",
    }


def contents() -> dict[str, Any]:
    meta = {"fine_label_names": NAMES, "coarse_label_names": sorted(SUPERS)}
    return {"train": part(2, 0), "test": part(1, 2), "meta": meta}


def as_folder(root: Path, content: dict[str, Any]) -> Path:
    (root / cifar100.FOLDER).mkdir(parents=True)
    for name, value in content.items():
        (root / cifar100.FOLDER / name).write_bytes(pickle.dumps(value, 2))
    return root


def as_archive(path: Path, content: dict[str, Any]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, value in content.items():
            raw = pickle.dumps(value, 2)
            info = tarfile.TarInfo(f"{cifar100.FOLDER}/{name}")
            info.size = len(raw)
            archive.addfile(info, io.BytesIO(raw))
    return path


def test_the_splits_are_the_published_ones() -> None:
    supers = {name: s for s, names in SUPERS.items() for name in names}
    found = cifar100.split_classes("cifar-fs", tuple(NAMES), supers)
    assert [len(ids) for ids in found.values()] == [64, 16, 20]
    assert set(found["train"]) == set(TRAIN_FS.split())
    assert sorted(sum(found.values(), ())) == NAMES
    found = cifar100.split_classes("fc100", tuple(NAMES), supers)
    assert [len(ids) for ids in found.values()] == [60, 20, 20]
    assert sorted(sum(found.values(), ())) == NAMES
    tops = {split: {supers[name] for name in ids} for split, ids in found.items()}
    assert not tops["train"] & (tops["val"] | tops["test"]) and not tops["val"] & tops["test"]
    # By the numbers of the superclasses in the authors' code.
    numbers = {s: sorted(sorted(SUPERS).index(top) for top in tops[s]) for s in ("val", "test")}
    assert numbers == {"val": [8, 11, 13, 16], "test": [0, 7, 12, 14]}


def test_archive_and_folders_are_one_pack_with_the_pixels_in_place(tmp_path: Path) -> None:
    pack = prepare("cifar-fs", as_archive(tmp_path / cifar100.ARCHIVE, contents()))
    folder = as_folder(tmp_path / "data", contents())
    assert prepare("cifar-fs", folder) == prepare("cifar-fs", folder / cifar100.FOLDER) == pack
    assert prepare("cifar-fs", tmp_path) == pack  # beside the archive
    assert prepare("fc100", folder) != pack
    opened = open_pack(pack, "val")
    assert opened.class_ids == cifar100.CIFAR_FS["val"]
    first, n = opened.class_rows[opened.class_ids.index("camel")]
    images = opened.images[first : first + n]
    assert images[:, 5, 7].tolist() == [[NAMES.index("camel"), i, 7] for i in range(3)]


def spoil(content: dict[str, Any], what: str) -> None:
    if what == "one image fewer":
        for key in ("data", "fine_labels", "coarse_labels"):
            content["test"][key] = content["test"][key][:-1]
    elif what == "floats":
        content["train"]["data"] = content["train"]["data"].astype(np.float32)
    elif what == "cifar-10":
        content["meta"] = {"label_names": NAMES[:10]}
    elif what == "other names":
        content["meta"]["fine_label_names"] = [name.upper() for name in NAMES]
    elif what == "code":
        content["meta"] = Path("x")
    elif what == "superclasses":
        content["test"]["coarse_labels"] = content["test"]["coarse_labels"][::-1]
    elif what == "negative":
        content["test"]["fine_labels"][0] = -1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("one image fewer", "test has not 1 images in each of 100 classes"),
        ("floats", "train has pixels float32"),
        ("cifar-10", "does not hold CIFAR-100"),
        ("other names", "the class names are not those of CIFAR-100"),
        ("code", "meta is not a pickle of plain data"),
        ("superclasses", "several superclasses"),
        ("negative", "does not hold CIFAR-100"),
    ],
)
def test_what_is_not_cifar_100_is_said_and_leaves_no_pack(
    tmp_path: Path, cache: Path, what: str, said: str
) -> None:
    content = contents()
    spoil(content, what)
    with pytest.raises(DataError, match=said) as caught:
        prepare("cifar-fs", as_folder(tmp_path / "data", content))
    assert "\n" not in str(caught.value)
    assert list(cache.glob("packs/*")) == []


def test_missing_cut_and_html_archives_are_said(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="no CIFAR-100 at"):
        prepare("fc100", tmp_path / "gone")
    path = as_archive(tmp_path / cifar100.ARCHIVE, contents())
    whole = path.read_bytes()
    for content in (b"<html>", whole[: len(whole) // 2], whole[:10]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"is not a readable cifar-100-python\.tar\.gz"):
            prepare("fc100", tmp_path)
    assert list(cache.glob("packs/*")) == []
