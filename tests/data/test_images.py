"""A pack is whole or absent, and a damaged one is refused by name."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from repro.data.images import Pixels, SplitPlan, build_pack, open_pack, release, verify_pack
from repro.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    return tmp_path


def plans(offset: int = 0) -> dict[str, SplitPlan]:
    def fill(array: Pixels) -> None:
        array[:] = (np.arange(array.size).reshape(array.shape) + offset) % 251

    return {name: SplitPlan(("a", "b"), (3, 2), fill) for name in ("train", "val", "test")}


def test_a_pack_gives_back_its_pixels_classes_and_rows() -> None:
    pack = build_pack("toy", 4, plans(), "made up")
    split = open_pack(pack, "val")
    assert split.images.shape == (5, 4, 4, 3)
    np.testing.assert_array_equal(split.images.ravel(), np.arange(240) % 251)
    assert split.class_rows == ((0, 3), (3, 2))
    assert split.digest.startswith(pack.name.split("-")[1])
    verify_pack(pack)


def test_equal_content_is_one_pack_and_other_pixels_are_another() -> None:
    first = build_pack("toy", 4, plans(), "here")
    assert build_pack("toy", 4, plans(), "there") == first
    assert build_pack("toy", 4, plans(1), "here") != first


def test_a_failed_build_leaves_nothing_behind(cache: Path) -> None:
    def fail(array: Pixels) -> None:
        raise DataError("image 7 is truncated")

    broken = {**plans(), "test": SplitPlan(("a",), (1,), fail)}
    with pytest.raises(DataError, match="image 7"):
        build_pack("toy", 4, broken, "here")
    assert list((cache / "packs").iterdir()) == []


def test_truncated_files_flipped_pixels_and_nonsense_headers_are_named() -> None:
    pack = build_pack("toy", 4, plans(), "here")
    path = pack / "test.npy"
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"test\.npy is damaged"):
        open_pack(pack, "test")
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test\.npy changed"):
        verify_pack(pack)
    (pack / "pack.json").write_text("[]")
    with pytest.raises(DataError, match=r"pack\.json"):
        open_pack(pack, "val")


def test_released_pages_keep_what_was_written_and_the_digest_is_of_the_whole(cache: Path) -> None:
    n_image = 2500  # more than are read at once, and a part left over

    def fill(array: Pixels) -> None:
        for first in range(0, n_image, 100):
            array[first : first + 100] = first // 100
            release(array)

    few = SplitPlan(("a",), (3,), lambda array: array.fill(1))
    many = SplitPlan(("b",), (n_image,), fill)
    pack = build_pack("released", 4, {"train": many, "val": few, "test": few}, "made up")
    images = open_pack(pack, "train").images
    assert images[:, 0, 0, 0].tolist() == [i // 100 for i in range(n_image)]
    kept = json.loads((pack / "pack.json").read_text())["splits"]["train"]["sha256"]
    assert kept == hashlib.sha256(images.tobytes()).hexdigest()
    verify_pack(pack)
    release(np.zeros((2, 4, 4, 3), np.uint8))  # not mapped: nothing happens
