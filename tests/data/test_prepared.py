"""The images asked for are the images used, and what was chosen need not be repeated."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repro.cli.main import cli
from repro.data.dataset import Selection
from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.ravi import Target
from repro.data.pack import check_pack, open_pack, packs_of, stamp
from repro.data.preparing import prepare
from repro.system import storage
from repro.system.errors import DataError, UsageError
from tests.data.mini_imagenet.layout_copies import SMALL, jpeg, small_files, split_folders

CHOICE = Selection(split="5/5/5", image_size=16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_folder(root: Path, shade: int = 0) -> Path:
    rng = np.random.default_rng(shade)
    for c in range(15):
        (root / f"c{c:02}").mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / f"c{c:02}" / f"{i}.png")
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "d")


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, words)
    assert "Traceback" not in result.output
    return result.exit_code, result.output


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mini-ImageNet is five classes of four images."""
    monkeypatch.setattr(mini_imagenet, "ravi", lambda: SMALL)


def test_images_rewritten_in_place_deep_inside_are_another_pack(
    small: None, tmp_path: Path
) -> None:
    copy = split_folders(tmp_path / "outer" / "copy", small_files(), SMALL).parent
    first = prepare("mini-imagenet", copy)
    assert prepare("mini-imagenet", copy) == first
    image = copy / "copy/test/n00000002/n0000000200000002.jpg"
    before = image.stat()
    with image.open("r+b") as file:  # the same file, as Pillow saves over one
        file.truncate()
        file.write(jpeg(999))
    os.utime(image.parent, ns=(before.st_mtime_ns, before.st_mtime_ns))
    assert prepare("mini-imagenet", copy) != first


def test_without_a_place_the_copy_asked_for_last_is_taken(
    small: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = small_files()
    a = split_folders(tmp_path / "a", files, SMALL)
    files["n00000003"]["n0000000300000002.jpg"] = jpeg(77)
    b = split_folders(tmp_path / "b", files, SMALL)
    packs = [prepare("mini-imagenet", place) for place in (a, b)]
    assert packs[0] != packs[1]
    assert prepare("mini-imagenet", None) == packs[1]
    assert prepare("mini-imagenet", a) == packs[0]  # nothing is built, and now it is the last
    assert prepare("mini-imagenet", None) == packs[0]
    assert f"{packs[0].name}: made from {a}, the images used last" in caplog.text


def test_a_run_shows_the_images_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    classes = {"train": 5, "val": 5, "test": 5}
    ids = iter(f"n{i:08}" for i in range(15))
    split = {name: tuple(next(ids) for _ in range(n)) for name, n in classes.items()}
    target = Target(split, 20, {})
    monkeypatch.setattr(mini_imagenet, "ravi", lambda: target)
    shown = []
    places = []
    for copy in range(2):
        files = {
            c: {f"{c}{i:08}.jpg": jpeg(copy * 10**6 + 100 * int(c[1:]) + i) for i in range(20)}
            for ids in split.values()
            for c in ids
        }
        places.append(split_folders(tmp_path / f"copy{copy}", files, target))
    words = ("reproduce", "--methods", "nearest_neighbor", "--dataset", "mini-imagenet", "--shots",
             "1", "--budget", "smoke,n_test_episode=12", "--jobs", "1", "--recipe",
             "authors-code,neighbor_features=pixels", "--data")  # fmt: skip
    for place in (*places, places[0]):
        _, said = run(*words, str(place))
        lines = said[said.index("Table 1") :].splitlines()
        shown.append(lines[lines.index("Baseline-nearest-neighbor") + 1])
    assert "not run" not in shown[0]
    assert shown[0] == shown[2] != shown[1]


def test_choices_need_not_be_repeated_after_preparation(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = prepare("folder", root, selection=CHOICE)
    caplog.set_level(logging.WARNING)
    caplog.clear()
    assert prepare("folder", root) == prepare("folder", None) == pack
    assert "--split 5/5/5 --image-size 16" in caplog.text
    assert "a random split of 15 classes" in caplog.text
    assert prepare("folder", root, afresh=True) != pack  # as `data prepare`: the default split
    with pytest.raises(DataError, match="has not been prepared with these options"):
        prepare("folder", None, selection=Selection(split="6/5/4"))


def test_a_pack_is_known_by_the_name_that_tables_print(root: Path, tmp_path: Path) -> None:
    pack = prepare("folder", root, selection=CHOICE)
    digest = open_pack(pack, "test").digest
    for n in (4, 8, 12, 64):
        assert prepare(f"folder@{digest[:n]}", None) == pack
    with pytest.raises(UsageError, match=r"unknown pack 'folder@0000'.*known: folder@"):
        prepare("folder@0000", None)
    with pytest.raises(UsageError, match="a pack that exists already; leave out --data"):
        prepare(f"folder@{digest[:8]}", root)
    named = f"folder@{digest[:8]}"
    for words in (
        ("episodes", "draw", named, "--output", str(tmp_path / "e.png")),
        ("episodes", "write", named, "--n", "3", "--output", str(tmp_path / "e.json")),
        ("episodes", "verify", named, str(tmp_path / "e.json")),
        ("episodes", "verify", "folder", str(tmp_path / "e.json")),
        ("evaluate", "nearest_neighbor", "--dataset", named, "--budget", "smoke,n_test_episode=2",
         "--recipe", "authors-code,neighbor_features=pixels", "--runs", str(tmp_path / "runs")),
    ):  # fmt: skip
        code, said = run(*words)
        assert code == 0, said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["folder"]


def test_all_pixels_are_read_again_by_verify_publish_and_doctor(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("data", "prepare", "folder", "--data", str(root), "--split", "5/5/5", "--image-size", "16")
    code, said = run(
        "evaluate", "nearest_neighbor", "--dataset", "folder", "--budget", "smoke,n_test_episode=2",
        "--recipe", "authors-code,neighbor_features=pixels",
    )  # fmt: skip
    assert code == 0, said
    (pack,) = packs_of("folder")
    with (pack / "test.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x07")
    kept = storage.read_json(pack / "verified.json")
    storage.write_json(pack / "verified.json", {**kept, "test": stamp(pack, "test")})
    check_pack(pack)  # size, times and inode are those that are remembered
    for words in (("verify", "runs/folder"), ("publish", "--dataset", "folder"), ("doctor",)):
        code, said = run(*words)
        assert f"the pixels of {pack}/test.npy changed since they were packed" in said, words
        assert code == (words[0] != "doctor")
    assert not Path("results").exists()
