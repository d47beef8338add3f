"""The right copy is packed; a wrong or damaged one is refused by name and leaves no pack."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.ravi import RAVI_SPLIT, Target, ravi
from repro.data.pack import open_pack
from repro.system.errors import DataError

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "mini-imagenet"
CLASSES = {"train": ("n01", "n02"), "val": ("n03",), "test": ("n04",)}
SMALL = Target(CLASSES, 2, {})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


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


def prepare(root: Path) -> Path:
    return mini_imagenet.prepare(root, target=SMALL)


def test_folders_and_zips_of_the_same_images_are_the_same_pack(tmp_path: Path) -> None:
    folders = copy(tmp_path / "folders")
    zips = tmp_path / "zips"
    zips.mkdir()
    for split in CLASSES:
        with zipfile.ZipFile(zips / f"{split}.zip", "w") as archive:
            for path in sorted((folders / split).rglob("*.png")):
                archive.write(path, path.relative_to(folders))
    pack = prepare(folders)
    assert prepare(zips) == pack
    train = open_pack(pack, "train")
    assert train.class_ids == ("n01", "n02")
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_other_sizes_are_stretched(tmp_path: Path) -> None:
    root = copy(tmp_path)
    (root / "test/n04/0.png").write_bytes(png(9, size=100))
    assert open_pack(prepare(root), "test").images[0, 83, 83].tolist() == [9, 9, 9]


def test_wrong_copies_are_named_and_leave_no_pack(tmp_path: Path, cache: Path) -> None:
    root = copy(tmp_path / "data")
    (root / "test/n04/1.png").write_bytes(png(1)[:-40])
    with pytest.raises(DataError, match=r"test/n04/1\.png is not a readable image"):
        prepare(root)
    (root / "test/n04/1.png").write_text("<!DOCTYPE html><title>Sign in</title>")
    with pytest.raises(DataError, match=r"test/n04/1\.png is a web page"):
        prepare(root)
    (root / "test/n04/1.png").unlink()
    with pytest.raises(DataError, match="n04 with 1"):
        prepare(root)
    (root / "val/n03").rename(root / "val/n09")
    with pytest.raises(DataError, match=r"1 are missing \(n03\).*1 others are there \(n09\)"):
        prepare(root)
    (root / "val/n09/0.png").unlink()
    (root / "val/n09/1.png").unlink()
    with pytest.raises(DataError, match="No val split"):
        prepare(root)
    (root / "val/n09").rmdir()
    (root / "val").rmdir()
    (root / "val.zip").write_text("<html>sign in</html>")
    with pytest.raises(DataError, match=r"val\.zip is a web page"):
        prepare(root)
    (root / "val.zip").write_text("PK nothing")
    with pytest.raises(DataError, match=r"val\.zip is not a readable archive"):
        prepare(root)
    with pytest.raises(DataError, match="nothing is at"):
        prepare(tmp_path / "nowhere")
    assert list(cache.glob("packs/*")) == []


def test_the_split_has_64_16_and_20_distinct_classes() -> None:
    sizes = {split: len(ids) for split, ids in RAVI_SPLIT.items()}
    assert sizes == {"train": 64, "val": 16, "test": 20}
    assert len({i for ids in RAVI_SPLIT.values() for i in ids}) == 100


def test_the_published_list_has_600_ranks_of_each_class() -> None:
    ranks = ravi().ranks
    assert ranks.keys() == ravi().classes
    assert {len(set(of)) for of in ranks.values()} == {600}
    assert min(min(of) for of in ranks.values()) == 1
    assert max(max(of) for of in ranks.values()) == 1300
    # From the first lines of the published train.csv.
    assert ravi().names("n01532829")[0] == "n0153282900000005"


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="mini-ImageNet is not here")
def test_the_real_copy_is_accepted_whole() -> None:
    pack = mini_imagenet.prepare(REAL)
    for split, n in (("train", 38400), ("val", 9600), ("test", 12000)):
        opened = open_pack(pack, split)
        assert opened.images.shape == (n, 84, 84, 3)
        assert opened.class_ids == RAVI_SPLIT[split]
