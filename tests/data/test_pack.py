"""A pack is whole or absent, and a damaged one is refused by name."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import repro
from repro.data import pack as images
from repro.data.pack import Pixels, check_pack, open_pack, release, verify_pack
from repro.data.pack_builder import SplitPlan, build_pack
from repro.data.sets import glyphs
from repro.system.errors import DataError, StorageError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[1])}


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


def flip(path: Path) -> None:
    """Change the last pixel in place."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def test_pixels_changed_in_place_are_refused_and_built_again() -> None:
    pack = build_pack("toy", 4, plans(), "here")
    flip(pack / "test.npy")
    for _ in range(2):
        with pytest.raises(DataError, match=r"test\.npy changed since they were packed"):
            open_pack(pack, "test")
    assert build_pack("toy", 4, plans(), "here") == pack
    check_pack(pack)
    verify_pack(pack)


def test_a_checked_pack_is_read_again_only_when_its_file_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pack, read = build_pack("toy", 4, plans(), "here"), []

    def digest(pixels: Pixels) -> str:
        read.append(1)
        return hashlib.sha256(pixels.tobytes()).hexdigest()

    monkeypatch.setattr(images, "pixel_digest", digest)
    check_pack(pack)
    assert read == []  # remembered since it was built
    shutil.copytree(pack, tmp_path / "copy")  # other files: looked at once
    for _ in range(3):
        check_pack(tmp_path / "copy")
    assert len(read) == 3


def test_preparation_never_returns_a_damaged_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glyphs, "IMAGES_PER_CLASS", 1)
    monkeypatch.setattr(glyphs, "SPLIT_SIZES", {"train": 2, "val": 2, "test": 2})
    monkeypatch.setattr(glyphs, "EXPECTED_DIGEST", "")
    with pytest.raises(DataError, match="expected ") as told:
        glyphs.prepare()
    (pack,) = images.packs_of("glyphs")
    monkeypatch.setattr(glyphs, "EXPECTED_DIGEST", open_pack(pack, "test").digest)
    assert str(pack) in str(told.value)
    flip(pack / "train.npy")
    verify_pack(glyphs.prepare())


def test_space_is_reserved_before_anything_is_decoded(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    untouched = {name: SplitPlan(("a",), (5,), lambda _: pytest.fail("filled"))
                 for name in ("train", "val", "test")}  # fmt: skip
    with pytest.raises(StorageError, match="which takes 0 MB: No space left on device; free some"):
        build_pack("toy", 4, untouched, "here")
    assert list((cache / "packs").iterdir()) == []


_ON_A_FULL_DISK = """
import os, sys
from pathlib import Path
from repro.data.pack_builder import SplitPlan, build_pack
plan = SplitPlan(("a",), (5000,), lambda array: array.fill(7))
try:
    build_pack("toy", 16, dict.fromkeys(("train", "val", "test"), plan), "here")
except Exception as error:
    print(type(error).__name__, error)
print(list(Path(os.environ["REPRO_CACHE"], "packs").iterdir()))
"""


def test_a_full_disk_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
    command = ["unshare", "-rm", "sh", "-c", mounted, str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], check=False).returncode:
        pytest.skip("no file system of its own can be mounted here")
    done = subprocess.run(
        [*command, sys.executable, "-c", _ON_A_FULL_DISK], capture_output=True, text=True,
        env={**ENVIRONMENT, "REPRO_CACHE": str(tmp_path / "c")}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done  # SIGBUS would be -7
    assert done.stdout.startswith("StorageError cannot build the toy pack")
    assert "takes 12 MB: No space left on device" in done.stdout
    assert done.stdout.endswith("[]\n")


_KILLED = """
import os, sys, time
from repro.data.pack_builder import SplitPlan, build_pack
def fill(array):
    print("building", flush=True)
    time.sleep(600)
plan = SplitPlan(("a",), (5,), fill)
build_pack("toy", 4, dict.fromkeys(("train", "val", "test"), plan), "here")
"""


def test_what_a_killed_build_left_is_swept_and_a_living_one_is_left_alone(cache: Path) -> None:
    def start() -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, "-c", _KILLED], stdout=subprocess.PIPE, text=True,
            env={**ENVIRONMENT, "REPRO_CACHE": str(cache)},
        )  # fmt: skip
        assert started.stdout is not None
        started.stdout.readline()
        return started

    with start() as dead:
        dead.send_signal(signal.SIGKILL)
    with start() as alive:
        (kept,) = [path for path in (cache / "packs").iterdir() if path.is_dir()]
        pack = build_pack("toy", 4, plans(), "here")
        assert {p for p in (cache / "packs").iterdir() if p.is_dir()} == {kept, pack}
        alive.kill()
    build_pack("toy", 4, plans(1), "here")
    assert not list((cache / "packs").glob(".*"))


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o775), (0o022, 0o755), (0o077, 0o700)])
def test_a_pack_has_the_rights_that_the_umask_gives(mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        pack = build_pack("toy", 4, plans(), "here")
    finally:
        os.umask(before)
    assert pack.stat().st_mode & 0o777 == mode
    assert (pack / "test.npy").stat().st_mode & 0o777 == mode & 0o666


def test_a_cache_that_cannot_be_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pack = build_pack("toy", 4, plans(), "here")
    (pack / "verified.json").unlink()

    def refuse(*_: object) -> None:
        raise StorageError("read-only")

    monkeypatch.setattr(images.storage, "write_json", refuse)
    check_pack(pack)
