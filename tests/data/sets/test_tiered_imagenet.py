"""tieredImageNet out of pickles like the public ones; others are refused by name."""

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repro.data.pack import open_pack
from repro.data.preparing import prepare
from repro.data.sets import tiered_imagenet
from repro.system.errors import DataError

NAMES = {"train": ["tench", "ant", "jay"], "val": ["ox"], "test": ["fig", "elm"]}
# In the order of the file: classes mixed, of unequal sizes.
LABELS = {"train": [2, 0, 1, 0, 2, 2], "val": [0, 0], "test": [1, 0, 1]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    sizes = {split: (len(NAMES[split]), len(LABELS[split])) for split in NAMES}
    monkeypatch.setattr(tiered_imagenet, "SIZES", sizes)
    return tmp_path / "cache"


def png(value: int) -> np.ndarray[Any, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.full((84, 84, 3), (value, 0, 9), np.uint8)).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def write(root: Path, protocol: int = 2, as_bytes: bool = False) -> Path:
    root.mkdir(parents=True)
    for split, labels in LABELS.items():
        images: list[Any] = [png(10 * label + i) for i, label in enumerate(labels)]
        if as_bytes:
            images = [image.tobytes() for image in images]
        else:
            images = [image[:, None] for image in images]  # as cv2.imencode gives them
        named = {
            "label_specific": np.array(labels),
            "label_specific_str": NAMES[split],
            "label_general": np.zeros(len(labels), np.int64),
            "label_general_str": ["thing"],
        }
        (root / f"{split}_images_png.pkl").write_bytes(pickle.dumps(images, protocol))
        (root / f"{split}_labels.pkl").write_bytes(pickle.dumps(named, protocol))
    return root


def test_folders_and_tars_of_either_python_are_one_pack_sorted_by_class(tmp_path: Path) -> None:
    root = write(tmp_path / "two")
    pack = prepare("tiered-imagenet", root)
    assert prepare("tiered-imagenet", write(tmp_path / "three", 5, as_bytes=True)) == pack
    assert prepare("tiered-imagenet", write(tmp_path / "in/tiered-imagenet").parent) == pack
    with tarfile.open(tmp_path / "tiered-imagenet.tar", "w") as archive:
        archive.add(root, "tiered-imagenet")
    assert prepare("tiered-imagenet", tmp_path / "tiered-imagenet.tar") == pack
    train = open_pack(pack, "train")
    assert train.class_ids == ("ant", "jay", "tench")
    assert train.class_rows == ((0, 1), (1, 3), (4, 2))
    assert train.images[:, 40, 40].tolist() == [[v, 0, 9] for v in (12, 20, 24, 25, 1, 3)]


def spoil(root: Path, what: str) -> None:
    labels = {"label_specific": np.array([0, 0]), "label_specific_str": ["ox"]}
    images: list[Any] = [png(1), png(2)]
    if what == "missing":
        (root / "val_labels.pkl").unlink()
    elif what == "html":
        (root / "val_images_png.pkl").write_text("<html>")
    elif what == "npz":
        (root / "val_images_png.pkl").unlink()
        np.savez(root / "val_images.npz", images=np.zeros((2, 84, 84, 3), np.uint8))
    elif what == "one more":
        images.append(png(3))
    elif what == "cut":
        images[1] = images[1][: len(images[1]) // 2]
    elif what == "floats":
        images[1] = np.zeros((84, 84, 3), np.float32)
    elif what == "out of range":
        labels["label_specific"] = np.array([0, 1])
    elif what == "negative":
        labels["label_specific"] = np.array([0, -1])
    elif what == "keys":
        labels = {"labels": np.array([0, 0])}
    if what not in ("missing", "html", "npz"):
        (root / "val_images_png.pkl").write_bytes(pickle.dumps(images))
        (root / "val_labels.pkl").write_bytes(pickle.dumps(labels))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "no val_labels.pkl at"),
        ("html", "val_images_png.pkl is not a pickle of plain data"),
        ("npz", "val_images.npz, whose order of colours is not published"),
        ("one more", "is not a list of 2 images"),
        ("cut", "image 1 is not a readable image"),
        ("floats", "image 1 is no PNG but"),
        ("out of range", "is not the labels of tieredImageNet"),
        ("negative", "is not the labels of tieredImageNet"),
        ("keys", "is not the labels of tieredImageNet"),
    ],
)
def test_what_is_not_it_is_said_and_leaves_no_pack(
    tmp_path: Path, cache: Path, what: str, said: str
) -> None:
    root = write(tmp_path / "data")
    spoil(root, what)
    with pytest.raises(DataError, match=said) as caught:
        prepare("tiered-imagenet", root)
    assert "\n" not in str(caught.value)
    assert list(cache.glob("packs/*")) == []


def test_places_without_it_are_said(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("<html>")
    for place, said in ((tmp_path / "gone", "no train_labels"), (tmp_path / "x.tar", "x.tar: ")):
        with pytest.raises(DataError, match=said):
            prepare("tiered-imagenet", place)
