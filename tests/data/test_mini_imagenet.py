"""The right copy is packed; a wrong or damaged one is refused by name and leaves no pack."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data import mini_imagenet
from repro.data.images import open_pack
from repro.errors import DataError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "mini-imagenet"
CLASSES = {"train": ("n01", "n02"), "val": ("n03",), "test": ("n04",)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini_imagenet, "RAVI_SPLIT", CLASSES)
    monkeypatch.setattr(mini_imagenet, "IMAGES_PER_CLASS", 2)


def png(value: int, size: int = 84) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def copy(root: Path) -> Path:
    value = 0
    for split, classes in CLASSES.items():
        for class_id in classes:
            for image in range(2):
                path = root / split / class_id / f"{image}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(value))
                value += 1
    return root


@pytest.mark.usefixtures("small")
def test_folders_and_zips_of_the_same_images_are_the_same_pack(tmp_path: Path) -> None:
    folders = copy(tmp_path / "folders")
    zips = tmp_path / "zips"
    zips.mkdir()
    for split in CLASSES:
        with zipfile.ZipFile(zips / f"{split}.zip", "w") as archive:
            for path in sorted((folders / split).rglob("*.png")):
                archive.write(path, path.relative_to(folders))
    pack = mini_imagenet.prepare(folders)
    assert mini_imagenet.prepare(zips) == pack
    train = open_pack(pack, "train")
    assert train.class_ids == ("n01", "n02")
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("small")
def test_other_sizes_are_stretched(tmp_path: Path) -> None:
    root = copy(tmp_path)
    (root / "test/n04/0.png").write_bytes(png(9, size=100))
    assert open_pack(mini_imagenet.prepare(root), "test").images[0, 83, 83].tolist() == [9, 9, 9]


@pytest.mark.usefixtures("small")
def test_wrong_copies_are_named_and_leave_no_pack(tmp_path: Path, cache: Path) -> None:
    root = copy(tmp_path / "data")
    (root / "test/n04/1.png").write_bytes(png(1)[:-40])
    with pytest.raises(DataError, match=r"test/n04/1\.png is not a readable image"):
        mini_imagenet.prepare(root)
    (root / "test/n04/1.png").unlink()
    with pytest.raises(DataError, match="n04 with 1"):
        mini_imagenet.prepare(root)
    (root / "val/n03").rename(root / "val/n09")
    with pytest.raises(DataError, match=r"1 are missing \(first: n03\).*n09"):
        mini_imagenet.prepare(root)
    (root / "val").rename(root / "valid")
    with pytest.raises(DataError, match="no val split"):
        mini_imagenet.prepare(root)
    (root / "val.zip").write_text("<html>sign in</html>")
    with pytest.raises(DataError, match=r"val\.zip is not a readable zip"):
        mini_imagenet.prepare(root)
    with pytest.raises(DataError, match="no folder"):
        mini_imagenet.prepare(tmp_path / "nowhere")
    assert list(cache.glob("packs/*")) == []


def test_the_split_has_64_16_and_20_distinct_classes() -> None:
    sizes = {split: len(ids) for split, ids in mini_imagenet.RAVI_SPLIT.items()}
    assert sizes == {"train": 64, "val": 16, "test": 20}
    assert len({i for ids in mini_imagenet.RAVI_SPLIT.values() for i in ids}) == 100


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="mini-ImageNet is not here")
def test_the_real_copy_is_accepted_whole() -> None:
    pack = mini_imagenet.prepare(REAL)
    for split, n in (("train", 38400), ("val", 9600), ("test", 12000)):
        opened = open_pack(pack, split)
        assert opened.images.shape == (n, 84, 84, 3)
        assert opened.class_ids == mini_imagenet.RAVI_SPLIT[split]
