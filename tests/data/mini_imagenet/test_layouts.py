"""The same images in any layout and container are the same pack."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.check import examine
from repro.data.pack import open_pack
from repro.data.preparing import prepare
from tests.data.mini_imagenet.layout_copies import (
    CONTAINERS,
    LAYOUTS,
    SMALL,
    SPLIT,
    cache_pickles,
    category_pickles,
    contain,
    expected,
    jpeg,
    parquet,
    ravi_flat,
    small_files,
    split_folders,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_in_every_container_is_the_pack_of_the_images(
    layout: str, container: str, tmp_path: Path
) -> None:
    files = small_files()
    copy = contain(LAYOUTS[layout](tmp_path / "copy", files, SMALL), container)
    pack = mini_imagenet.prepare(copy, target=SMALL)
    for split, classes in SPLIT.items():
        opened = open_pack(pack, split)
        assert opened.class_ids == classes
        np.testing.assert_array_equal(opened.images, expected(files, SMALL, split))
    assert examine(copy, target=SMALL).accepted


def test_an_archive_of_the_images_serves_with_its_csv_files_beside_it_and_alone(
    tmp_path: Path,
) -> None:
    root = ravi_flat(tmp_path / "copy", small_files(), SMALL)
    pack = mini_imagenet.prepare(root, target=SMALL)
    archive = contain(root / "images", "zip")
    shutil.rmtree(root / "images")
    report = examine(root, target=SMALL)
    assert report.layout == "images with train.csv, val.csv, test.csv"
    assert mini_imagenet.prepare(root, target=SMALL) == pack
    assert mini_imagenet.prepare(archive, target=SMALL) == pack


def test_archives_of_the_splits_may_themselves_be_in_an_archive(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    pack = mini_imagenet.prepare(root, target=SMALL)
    for split, container in (("train", "tar"), ("val", "zip"), ("test", "tar.gz")):
        contain(root / split, container)
        shutil.rmtree(root / split)
    assert mini_imagenet.prepare(root, target=SMALL) == pack
    assert mini_imagenet.prepare(contain(root, "zip"), target=SMALL) == pack
    assert mini_imagenet.prepare(contain(root, "tar.gz"), target=SMALL) == pack


def test_an_archive_that_changed_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.data.mini_imagenet.dataset.ravi", lambda: SMALL)
    files, root = small_files(), tmp_path / "copy"
    archive = contain(split_folders(root, files, SMALL), "tar")
    first = prepare("mini-imagenet", archive)
    files["n00000003"]["n0000000300000002.jpg"] = jpeg(1, 90, 90)
    contain(split_folders(root, files, SMALL), "tar")
    second = prepare("mini-imagenet", archive)
    assert first != second
    assert prepare("mini-imagenet", archive) == second


REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "mini-imagenet"


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="mini-ImageNet is not here")
@pytest.mark.parametrize(
    "layout", ["flat", "one level", "cache", "category", "parquet", "split tar.gz"]
)
def test_the_real_copy_in_other_layouts_is_the_published_pack(layout: str, tmp_path: Path) -> None:
    from repro.data.files.opening import open_source
    from repro.data.mini_imagenet.ravi import ravi

    files: dict[str, dict[str, bytes]] = {}
    with open_source(REAL) as source:
        for name in source.ordered(n for n in source.names if n.endswith(".jpg")):
            file = os.path.basename(name)
            files.setdefault(file[:9], {})[file] = source.read(name)
    files = {class_id: dict(sorted(of.items())) for class_id, of in sorted(files.items())}
    root, target = tmp_path / "copy", ravi()
    if layout == "flat":
        ravi_flat(root, files, target)
    elif layout == "one level":
        LAYOUTS["one level"](root, files, target)
    elif layout == "cache":
        cache_pickles(root, files, target, 2, "validation")
    elif layout == "category":
        category_pickles(root, files, target)
    elif layout == "parquet":
        parquet(root, files, target)
    else:
        root = contain(split_folders(root, files, target), "tar.gz")
    files.clear()
    pack = mini_imagenet.prepare(root)
    assert pack.name == "mini-imagenet-10f82ae4c084"
    assert open_pack(pack, "test").digest == (
        "10f82ae4c084b146d3f2afb45c1ca809997ce69029e9c22b07e52b33a18230c7"
    )
