"""A file is taken by its content, told or refused; nothing is started or waited for."""

import io
import logging
import os
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from repro.data.dataset import Selection
from repro.data.files.decoding import FORMATS, decode, format_of
from repro.data.pack import ImageSplit, notes_of, open_pack
from repro.data.preparing import prepare
from repro.data.splitting import assign
from repro.system.errors import DataError, UsageError

CHOICE = Selection(split="5/5/5", image_size=16)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
WMF = b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x09\0\x09\0\x48\0" + bytes(60)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def encoded(pixels: npt.NDArray[np.generic], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def noise(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for c in range(15):
        (tmp_path / f"d/c{c:02}").mkdir(parents=True)
        for i in range(20):
            (tmp_path / f"d/c{c:02}/{i:02}.png").write_bytes(encoded(noise(100 * c + i)))
    return tmp_path / "d"


def of_class(pack: Path, class_id: str) -> tuple[ImageSplit, npt.NDArray[np.uint8]]:
    for split in ("train", "val", "test"):
        opened = open_pack(pack, split)
        if class_id in opened.class_ids:
            first, n = opened.class_rows[opened.class_ids.index(class_id)]
            return opened, opened.images[first : first + n]
    raise AssertionError(class_id)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (EPS, "EPS"),
        (b"\xc5\xd0\xd3\xc6" + bytes(28) + EPS, "EPS"),
        (WMF, "WMF"),
        (b"DanM" + bytes(60), "MSP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "FPX or MIC"),
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(60), "HEIC"),
        (b"8BPS\0\1" + bytes(60), "Photoshop"),
    ],
)
def test_only_formats_decoded_in_this_process_are_opened_and_others_are_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, content: bytes, kind: str
) -> None:
    def start(*words: object, **_: object) -> None:
        pytest.fail(f"a program was started: {words}")

    for name in ("Popen", "run", "call", "check_call", "check_output"):
        monkeypatch.setattr(subprocess, name, start)
    monkeypatch.setattr(os, "system", start)
    (root / "c07/03.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"c07/03\.png is an image in the format {kind}, which"):
        prepare("folder", root, selection=CHOICE)
    assert not list(cache.glob("packs/*"))


def test_every_format_that_is_read_is_known_by_its_content() -> None:
    pixels = np.full((20, 20, 3), 90, np.uint8)
    for kind in FORMATS:
        content = encoded(pixels, kind)
        assert format_of(content[:32]) == kind
        assert abs(int(decode(content, "x", 16)[8, 8, 0]) - 90) < 3
    assert format_of(b"P6 is a text\n"[:32]) == "PPM"  # decided by the decoder
    for text in (b"BM, a text about", b"P60 engines", b"", b"II"):
        assert format_of(text) == ""


def test_images_are_taken_by_content_whatever_their_ending(root: Path) -> None:
    for path in (root / "c00").iterdir():
        path.rename(path.with_suffix(".heic"))  # PNG inside
    for path in (root / "c01").iterdir():
        path.rename(path.with_suffix(""))
    for path in (root / "c02").iterdir():
        path.rename(f"{path}.1")
    for i, path in enumerate(sorted((root / "c03").iterdir())):
        path.unlink()
        kind = ("JPEG", "AVIF", "WEBP")[i % 3]
        path.with_suffix((".jfif", ".avif", ".x")[i % 3]).write_bytes(encoded(noise(i), kind))
    pack = prepare("folder", root, selection=CHOICE)
    for c in range(3):
        np.testing.assert_array_equal(of_class(pack, f"c{c:02}")[1][5], noise(100 * c + 5))
    assert len(of_class(pack, "c03")[1]) == 20
    assert len(notes_of(pack)) == 1  # the split


def test_what_is_passed_over_is_counted_and_named(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.txt", "b.txt", "Thumbs.db", "notes"):
        (root / "c04" / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1 or a text")
    (root / "labels").mkdir()
    (root / "labels/x.csv").write_text("a,b")
    pack = prepare("folder", root, selection=CHOICE)
    for told in (caplog.text, " ".join(notes_of(pack))):
        assert "5 files are not images by their content and are skipped (2 .txt, 1 " in told
        assert "first c04/a.txt" in told
        assert "1 folders hold files but no image and do not become classes (labels)" in told
    caplog.clear()
    prepare("folder", root, selection=CHOICE)  # nothing is built, and still it is told
    assert "5 files are not images" in caplog.text
    (root / "c04/photo").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1")
    with pytest.raises(DataError, match="c04/photo is an image in the format HEIC"):
        prepare("folder", root, selection=CHOICE)


@pytest.mark.parametrize(
    ("kind", "top", "said"),
    [
        ("PNG 12", 4095, "0 to 4,095"),
        ("PNG 16", 65_535, "0 to 65,535"),
        ("TIFF 32", 65_535, "0 to 65,535"),
        ("TIFF 1", 1, "0 to 1 "),
        ("TIFF float", 1.0, "0 to 1 "),
        ("TIFF float 255", 255.0, "0 to 255"),
    ],
)
def test_deep_images_are_scaled_by_the_range_of_the_whole_folder(
    root: Path, kind: str, top: float, said: str
) -> None:
    ramp = np.tile(np.linspace(0, 1, 16), (16, 1))
    if kind == "TIFF 1":
        ramp = ramp.round()
    dtype = {"PNG 12": np.uint16, "PNG 16": np.uint16, "TIFF 32": np.int32, "TIFF 1": np.int32}.get(
        kind, np.float32
    )
    for c in range(15):
        for i, path in enumerate(sorted((root / f"c{c:02}").iterdir())):
            values = (
                ramp * top * (1 if i or top == 1 else 0.05)
            )  # the first is dark, and stays dark
            path.unlink()
            content = encoded(values.astype(dtype), kind.split()[0])
            path.with_suffix("." + kind.split()[0].lower()).write_bytes(content)
    pack = prepare("folder", root, selection=CHOICE)
    dark, bright = of_class(pack, "c03")[1][:2].astype(int)
    assert abs(bright[..., 0] - 255 * ramp).max() <= 1
    assert top == 1 or abs(dark[..., 0] - 255 * 0.05 * ramp).max() <= 1
    assert any("300 images have " in note and said in note for note in notes_of(pack))


@pytest.mark.parametrize("low_high", [(-5.0, 3.0), (0.0, 300.0), (float("nan"), 1.0)])
def test_values_without_a_usual_range_are_refused(
    root: Path, low_high: tuple[float, float]
) -> None:
    values = np.full((16, 16), low_high[1], np.float32)
    values[0, 0] = low_high[0]
    (root / "c03/00.png").unlink()
    (root / "c03/00.tif").write_bytes(encoded(values, "TIFF"))
    with pytest.raises(
        DataError, match=r"c03/00\.tif holds values from .* save it with eight bits"
    ):
        prepare("folder", root, selection=CHOICE)


def test_equal_images_across_classes_and_splits_are_told(root: Path) -> None:
    split = root.parent / "split.csv"
    of = ["train"] * 5 + ["val"] * 5 + ["test"] * 5
    split.write_text("\n".join(f"c{c:02},{of[c]}" for c in range(15)))
    for target in ("c00/01", "c01/07", "c12/09"):
        (root / f"{target}.png").write_bytes((root / "c00/00.png").read_bytes())
    (root / "c05/01.png").write_bytes((root / "c05/00.png").read_bytes())
    pack = prepare("folder", root, selection=Selection(split_file=split, image_size=16))
    assert (
        "2 images are there more than once, 1 of them in several classes and 1 in several splits "
        "(c12/09.png = c00/00.png = c00/01.png)"
    ) in notes_of(pack)


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_pipes_and_devices_are_refused_as_image_data_and_split_file(
    root: Path, tmp_path: Path, kind: str
) -> None:
    special = tmp_path / "special"
    if kind == "pipe":
        os.mkfifo(special)
    elif kind == "device":
        special.symlink_to("/dev/zero")
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(special))
    from_file = Selection(split_file=special, image_size=16)
    with pytest.raises(DataError, match="special"):
        prepare("folder", root, selection=from_file)
    for name in ("folder", "cifar-fs", "omniglot", "tiered-imagenet", "mini-imagenet"):
        with pytest.raises(DataError, match="special"):
            prepare(name, special)
    (root / "c00/00.png").unlink()
    (root / "c00/00.png").symlink_to(special)
    with pytest.raises(DataError, match=r"c00/00\.png cannot be read"):
        prepare("folder", root, selection=CHOICE)


IDS = [f"k{i}" for i in range(5)]


def folders(*tops: str, same: bool = False) -> dict[str, int]:
    return {f"{top}/{'' if same else i}{c}": 20 for i, top in enumerate(tops) for c in IDS}


@pytest.mark.parametrize(
    "tops",
    [
        ("Train", "Val", "Test"),
        ("TRAIN", "validation", "test"),
        ("base", "val", "novel"),
        ("meta-train", "meta-val", "meta-test"),
        ("data/images/train", "data/images/val", "data/images/test"),
        ("train_set", "val_set", "test_set"),
    ],
)
def test_folders_that_mean_a_split_are_the_split(tops: tuple[str, str, str]) -> None:
    found, said = assign(folders(*tops), Selection())
    assert said == "the split of the folders: 5 train, 5 val, 5 test"
    for split, top in zip(("train", "val", "test"), tops, strict=True):
        assert all(class_id.startswith(f"{top}/") for class_id in found[split])


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        (
            folders("train", "test"),
            "folders test, train look like a split, but there is none for val",
        ),
        (folders("base", "novel"), "but there is none for val"),
        (folders("train", "val", same=True), r"but 5 classes are in more than one of them \(k0"),
        (folders("train", "val", "test", "extra"), "but beside them is extra"),
        ({**folders("train", "val", "test"), "train": 20}, "there are images in them beside"),
        ({**folders("train", "val", "test"), "val/0K0": 20}, r"1 classes .* \(0k0\)"),
    ],
)
def test_folders_that_are_no_whole_split_are_refused(counts: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        assign(counts, Selection())


def test_a_random_split_is_told_and_never_divides_one_class() -> None:
    _, said = assign(folders("train", "test", "dogs"), Selection(split="5/5/5", split_seed=3))
    assert said == "a random split of 15 classes, shares 5/5/5, seed 3: 5 train, 5 val, 5 test"
    with pytest.raises(DataError, match="more than one of them"):
        assign(folders("train", "val", "test", same=True), Selection(split="5/5/5"))
    # One such name among others is a class like them.
    _, said = assign(folders("train", "car", "ship"), Selection(split="5/5/5"))
    assert said.startswith("a random split")
    with pytest.raises(UsageError, match="--split-seed needs --split too"):
        assign(folders("train", "val", "test"), Selection(split_seed=1))


def test_the_split_that_is_used_is_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        caplog.clear()
        prepare("folder", root, selection=CHOICE)
        assert "a random split of 15 classes, shares 5/5/5, seed 0: 5 train, 5 val" in caplog.text
