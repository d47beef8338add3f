"""repro data check tells the copies and wrong copies of mini-ImageNet apart."""

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repro.cli.main import cli
from repro.data.mini_imagenet import colours, marks
from repro.data.mini_imagenet import dataset as mini_imagenet
from repro.data.mini_imagenet.check import Report, examine
from repro.data.mini_imagenet.known_copies import known_files
from repro.data.mini_imagenet.ravi import Target
from repro.system.errors import DataError
from tests.data.mini_imagenet.layout_copies import (
    LAYOUTS,
    SMALL,
    Files,
    by_split,
    cache_pickles,
    contain,
    dump,
    ilsvrc,
    jpeg,
    parquet,
    pixels_of,
    ravi_flat,
    small_files,
    split_folders,
    write,
)

# A hundred-fold smaller than the published one, with the same shares: ten classes of ten images.
TEN = tuple(f"n1000000{i}" for i in range(10))
LARGE = Target({"train": TEN[:6], "val": TEN[6:8], "test": TEN[8:]}, 10, {})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def many() -> Files:
    return {
        class_id: {f"{class_id}{rank:08d}.jpg": jpeg(100 * i + rank) for rank in range(1, 14)}
        for i, class_id in enumerate(TEN)
    }


def first(files: Files, n: int) -> Files:
    return {class_id: dict(list(of.items())[:n]) for class_id, of in files.items()}


def codes(report: Report) -> set[str]:
    return {item.code for item in report.findings}


def refused(root: Path, target: Target, code: str, *said: str) -> None:
    """The check names it, and preparation refuses it in one sentence and leaves no pack."""
    report = examine(root, target=target)
    assert not report.accepted
    assert code in codes(report), report.lines()
    for word in said:
        assert word in "\n".join(report.lines())
    assert report.lines()[-1].startswith("refused")
    with pytest.raises(DataError):
        mini_imagenet.prepare(root, target=target)


def test_the_right_copy_is_told_with_counts_and_sizes(tmp_path: Path) -> None:
    report = examine(split_folders(tmp_path / "copy", small_files(), SMALL), target=SMALL)
    assert report.accepted
    assert report.findings == ()
    assert report.describe() | {"path": "", "pixels_digest": ""} == {
        "path": "",
        "pixels_digest": "",
        "accepted": True,
        "layout": "class folders by split",
        "split": "Ravi's",
        "counts": {split: dict.fromkeys(ids, 4) for split, ids in SMALL.split.items()},
        "image_sizes": {"84×84": 20},
        "known": [],
        "findings": [],
    }


def test_the_same_pixels_have_one_digest_and_others_another(tmp_path: Path) -> None:
    files = small_files()
    one = examine(split_folders(tmp_path / "a", files, SMALL), target=SMALL)
    two = examine(LAYOUTS["cache pickles"](tmp_path / "b", files, SMALL), target=SMALL)
    files["n00000003"]["n0000000300000002.jpg"] = jpeg(77)
    three = examine(split_folders(tmp_path / "c", files, SMALL), target=SMALL)
    assert one.pixels_digest == two.pixels_digest != three.pixels_digest


REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "mini-imagenet"


@pytest.mark.data
@pytest.mark.skipif(not REAL.exists(), reason="mini-ImageNet is not here")
def test_the_real_copy_is_known_by_its_files_and_by_its_pixels() -> None:
    report = examine(REAL)
    assert report.accepted
    assert codes(report) == {"duplicated-images"}
    assert "pixel for pixel the copy of the published results" in report.known[-1]
    assert [what.split()[0] for what in report.known[:3]] == ["test.zip", "train.zip", "val.zip"]


@pytest.mark.parametrize("name", ["mini.tar.gz", "mini.zip", "copy.pkl", "s.parquet", "train.csv"])
def test_a_web_page_under_any_name_is_called_one(name: str, tmp_path: Path) -> None:
    page = b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title>"
    write(tmp_path / name, page)
    refused(tmp_path / name, SMALL, "html", "is a web page (HTML)")
    if name != "mini.zip":
        ravi_flat(tmp_path / "copy", small_files(), SMALL)
        shutil.copy(tmp_path / name, tmp_path / "copy" / "train.csv")
        refused(tmp_path / "copy", SMALL, "html", "train.csv is a web page (HTML)")


def test_the_50000_version_is_named_and_refused(tmp_path: Path, many: Files) -> None:
    parts = {"train": slice(0, 10), "validation": slice(10, 11), "test": slice(11, 13)}
    for split, part in parts.items():
        for class_id, of in many.items():
            for file, content in list(of.items())[part]:
                write(tmp_path / "copy" / split / class_id / file, content)
    said = ("100/20/10 version", "in all three splits", "by image, not by class")
    refused(tmp_path / "copy", LARGE, "version-50000", *said)


def test_images_divided_between_splits_are_put_together_when_they_are_all_there(
    tmp_path: Path, many: Files
) -> None:
    files = first(many, 10)
    for split, part in {"train": slice(0, 8), "test": slice(8, 10)}.items():
        for class_id, of in files.items():
            for file, content in list(of.items())[part]:
                write(tmp_path / "copy" / split / class_id / file, content)
    report = examine(tmp_path / "copy", target=LARGE)
    assert report.accepted
    assert codes(report) == {"regrouped"}
    assert "80/20" in "\n".join(report.lines())
    whole = mini_imagenet.prepare(split_folders(tmp_path / "whole", files, LARGE), target=LARGE)
    assert mini_imagenet.prepare(tmp_path / "copy", target=LARGE) == whole
    shutil.rmtree(tmp_path / "copy" / "test" / TEN[0])
    refused(tmp_path / "copy", LARGE, "missing-images")


@pytest.mark.parametrize(
    ("sizes", "code", "said"),
    [((8, 2), "split-80-20", "80/20"), ((6, 2, 2), "regrouped", "a split of its own")],
)
def test_another_split_of_the_same_classes_is_named_and_regrouped(
    sizes: tuple[int, ...], code: str, said: str, tmp_path: Path, many: Files
) -> None:
    files, shuffled = first(many, 10), TEN[::-1]
    ends = np.cumsum([0, *sizes]).tolist()
    names = ("train", "test", "val")[: len(sizes)]
    other = {name: shuffled[a:b] for name, a, b in zip(names, ends, ends[1:], strict=False)}
    report = examine(by_split(tmp_path / "copy", files, other), target=LARGE)
    assert report.accepted
    assert codes(report) == {code}
    assert said in "\n".join(report.lines())
    assert "not comparable" in report.findings[0].text
    whole = mini_imagenet.prepare(split_folders(tmp_path / "whole", files, LARGE), target=LARGE)
    assert mini_imagenet.prepare(tmp_path / "copy", target=LARGE) == whole


@pytest.mark.parametrize("sizes", [(8, 2), (6, 2, 2)])
def test_other_classes_are_not_ravis(sizes: tuple[int, ...], tmp_path: Path, many: Files) -> None:
    files = {
        f"n2{class_id[2:]}" if i % 3 else class_id: of
        for i, (class_id, of) in enumerate(first(many, 10).items())
    }
    ends, ids = np.cumsum([0, *sizes]).tolist(), tuple(files)
    names = ("train", "test", "val")
    other = {n: ids[a:b] for n, a, b in zip(names, ends, ends[1:], strict=False)}
    root = by_split(tmp_path / "copy", files, other)
    whose = "Vinyals et al. 2016 had" if sizes == (8, 2) else "Vinyals' choice or someone else's"
    refused(root, LARGE, "other-split", "6 are missing (n10000001", whose)


def without(root: Path, name: str) -> None:
    (root / "train" / "n00000004" / name).unlink()


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (
            lambda root: without(root, "n0000000400000003.jpg"),
            "missing-images",
            "1 images of the published list are missing (n0000000400000003)",
        ),
        (
            lambda root: write(root / "train/n00000004/n0000000400000009.jpg", jpeg(1)),
            "extra-images",
            "1 are not in it (train/n00000004/n0000000400000009.jpg)",
        ),
        (
            lambda root: write(
                root / "val/n00000003/n0000000300000002.jpg", b"\xff\xd8\xff nothing"
            ),
            "unreadable-images",
            "1 images cannot be read (val/n00000003/n0000000300000002.jpg)",
        ),
        (lambda root: shutil.rmtree(root / "val"), "missing-split", "No val split"),
        (
            lambda root: shutil.rmtree(root / "train/n00000004"),
            "missing-classes",
            "1 are missing (n00000004)",
        ),
    ],
)
def test_missing_extra_and_unreadable_images_are_named(
    damage: Callable[[Path], None], code: str, said: str, tmp_path: Path
) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    damage(root)
    refused(root, SMALL, code, said)


def test_images_of_a_csv_that_are_not_there_are_named(tmp_path: Path) -> None:
    root = ravi_flat(tmp_path / "copy", small_files(), SMALL)
    (root / "images" / "n0000000200000005.jpg").unlink()
    refused(root, SMALL, "missing-images", "are missing (n0000000200000005.jpg)")


def test_an_ilsvrc_class_with_too_few_images_is_named(tmp_path: Path) -> None:
    root = ilsvrc(tmp_path / "copy", small_files(), SMALL)
    for path in sorted((root / "ILSVRC2012_img_train" / "n00000002").iterdir())[:4]:
        path.unlink()
    refused(root, SMALL, "missing-images", "n00000002, rank 8")


def test_duplicated_images_are_named(tmp_path: Path) -> None:
    files = small_files()
    files["n00000001"]["n0000000100000002.jpg"] = files["n00000005"]["n0000000500000003.jpg"]
    report = examine(split_folders(tmp_path / "copy", files, SMALL), target=SMALL)
    assert codes(report) == {"duplicated-images"}
    assert "n0000000100000002.jpg = train/n00000005/n0000000500000003.jpg" in report.lines()[-2]


def photograph(seed: int, width: int, height: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def test_cropped_images_are_told_from_whole_ones_and_from_others(tmp_path: Path) -> None:
    """The references know the stretched images only; the copies come from the originals."""
    references: dict[str, list[marks.Marks]] = {}

    def build(name: str, shrink: Callable[[Image.Image], Image.Image], shift: int = 0) -> Report:
        for i, (class_id, ranks) in enumerate(SMALL.ranks.items()):
            for rank in ranks:
                size = (500, 375) if rank % 2 else (375, 500)
                image = shrink(photograph(100 * i + rank + shift, *size))
                path = tmp_path / name / SMALL.split_of[class_id] / class_id / f"{rank}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image.save(path)
                if name == "stretched":
                    references.setdefault(class_id, []).append(marks.variants(np.asarray(image)))
        stacked = {class_id: np.stack(of) for class_id, of in references.items()}
        return examine(tmp_path / name, target=SMALL, references=stacked)

    def crop(image: Image.Image) -> Image.Image:
        left, top = (image.width - 375) // 2, (image.height - 375) // 2
        square = image.crop((left, top, left + 375, top + 375))
        return square.resize((84, 84), Image.Resampling.BOX)

    def stretch(image: Image.Image) -> Image.Image:
        return image.resize((84, 84), Image.Resampling.BILINEAR)

    assert codes(build("stretched", stretch)) == set()
    assert codes(build("originals", lambda image: image)) == set()
    assert codes(build("box", lambda image: image.resize((84, 84), Image.Resampling.BOX))) == set()
    assert codes(build("cropped", crop)) == {"cropped-images"}
    assert codes(build("others", stretch, shift=1000)) == {"other-images"}


def test_images_of_one_other_square_size_were_shrunk_before(tmp_path: Path) -> None:
    files = {
        class_id: {name: jpeg(i, 64, 64) for i, name in enumerate(of)}
        for class_id, of in small_files().items()
    }
    report = examine(split_folders(tmp_path / "copy", files, SMALL), target=SMALL)
    assert "resized-images" in codes(report)
    assert "All images are 64×64" in "\n".join(report.lines())


def test_pickles_with_code_are_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    root = cache_pickles(tmp_path / "copy", small_files(), SMALL)
    path = root / "mini-imagenet-cache-test.pkl"
    path.write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    refused(root, SMALL, "unreadable-copy", "asks for os.system", "nothing of it was run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"images": []}, "holds neither image_data and class_dict nor data and labels"),
        ({"data": np.zeros((2, 84, 84, 3)), "labels": [0, 1]}, "expected uint8 images"),
        ({"data": np.zeros((2, 3, 84, 84), np.uint8), "labels": [0, 1]}, "found uint8 (2, 3, 84"),
        ({"data": np.zeros((2, 84, 84, 3), np.uint8), "labels": [0]}, "1 labels for 2 images"),
        (
            {"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"n01": [0, 2]}},
            "name images that are not there",
        ),
    ],
)
def test_pickles_of_another_shape_are_refused(content: object, said: str, tmp_path: Path) -> None:
    dump(tmp_path / "test.pkl", content, 3)
    refused(tmp_path, SMALL, "unreadable-copy", said)


def test_parquet_labels_without_names_are_refused(tmp_path: Path) -> None:
    root = parquet(tmp_path / "copy", small_files(), SMALL, named=False)
    refused(root, SMALL, "unreadable-copy", "name no WordNet ids")


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = parquet(tmp_path / "copy", small_files(), SMALL)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(root, SMALL, "unreadable-copy", "pip install 'repro-fewshot[parquet]'")


def test_archives_that_name_files_outside_of_themselves_are_refused(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    with tarfile.open(tmp_path / "copy.tar", "w") as archive:
        archive.add(root / "train", "../train")
    refused(tmp_path / "copy.tar", SMALL, "unreadable-copy", "outside of itself")


def test_what_systems_leave_beside_images_is_passed_over(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    write(root / "train/n00000001/._n0000000100000002.jpg", b"resource fork")
    write(root / "__MACOSX/train/n00000001/x.jpg", b"resource fork")
    write(root / ".DS_Store", b"")
    write(root / "logo.jpg", jpeg(3))
    archive = contain(root, "zip")
    for path in (root, archive):
        assert examine(path, target=SMALL).accepted


def test_classes_beyond_those_of_mini_imagenet_are_left_out(tmp_path: Path) -> None:
    root = LAYOUTS["one level"](tmp_path / "copy", small_files(), SMALL)
    write(root / "n00000009/1.jpg", jpeg(3))
    report = examine(root, target=SMALL)
    assert report.accepted
    assert codes(report) == {"regrouped", "other-classes"}
    (root / "n00000002/n0000000200000002.jpg").unlink()
    refused(root, SMALL, "missing-images", "n0000000200000002")


def test_names_that_are_no_utf_8_can_be_told(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    odd = os.fsencode(root / "train/n00000001") + b"/\xff\xfe.jpg"
    os.rename(root / "train/n00000001/n0000000100000002.jpg", odd)
    refused(root, SMALL, "missing-images", "train/n00000001/\ufffd\ufffd.jpg")
    said = CliRunner().invoke(cli, ["data", "check", str(root)])
    assert "refused" in said.stdout


def test_preparation_says_that_it_regroups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mini_imagenet.prepare(
        LAYOUTS["one level"](tmp_path / "copy", small_files(), SMALL), target=SMALL
    )
    assert "No split; regrouped by WordNet id into Ravi's" in caplog.text


def test_a_download_beside_what_was_unpacked_is_not_read_twice(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    contain(root, "tar.gz").rename(root / "mini-imagenet.tar.gz")
    assert examine(root, target=SMALL).accepted
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "test")
    assert examine(root, target=SMALL).accepted  # now the archive is all there is


def test_known_files_are_recognised_by_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mini-imagenet.tar.gz", b"abc")
    sha256_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    md5_of_abc = "900150983cd24fb0d6963f7d28e17f72"
    assert known_files(tmp_path) == {}
    for digest in (sha256_of_abc, md5_of_abc):
        monkeypatch.setattr("repro.data.mini_imagenet.known_copies.FILES", {digest: "the letters"})
        assert known_files(tmp_path) == {"mini-imagenet.tar.gz": "the letters"}
        assert known_files(tmp_path / "mini-imagenet.tar.gz") == known_files(tmp_path)


def test_the_command_prints_words_or_json_and_exits_1_when_refused(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "copy", small_files(), SMALL)
    said = CliRunner().invoke(cli, ["data", "check", str(root)])
    assert said.exit_code == 1
    assert "Of Ravi's 100 classes 100 are missing" in said.stdout
    assert said.stdout.splitlines()[-1].startswith("refused")
    said = CliRunner().invoke(cli, ["data", "check", str(root), "--json"])
    assert said.exit_code == 1
    content = json.loads(said.stdout)
    assert not content["accepted"]
    assert content["counts"]["val"] == {"n00000003": 4}
    assert content["findings"][0]["code"] == "missing-classes"


def test_exchanged_red_and_blue_are_refused_by_mean_colours(tmp_path: Path) -> None:
    files = small_files()
    means = {
        class_id: np.mean([colours.mean(pixels_of(content)) for content in of.values()], axis=0)
        for class_id, of in files.items()
    }
    for name, order in (("as it is", [0, 1, 2]), ("blue first", [2, 1, 0])):
        turned: dict[str, dict[str, bytes]] = {}
        for class_id, of in files.items():
            for file, content in of.items():
                buffer = io.BytesIO()
                # Smaller and of another quality: not the same bytes or pixels.
                image = Image.fromarray(np.ascontiguousarray(pixels_of(content)[..., order]))
                image.resize((70, 70)).save(buffer, "JPEG", quality=60)
                turned.setdefault(class_id, {})[file] = buffer.getvalue()
        root = split_folders(tmp_path / name, turned, SMALL)
        report = examine(root, target=SMALL, of_colours=means)
        assert report.accepted == (name == "as it is")
        assert ("exchanged-colours" in codes(report)) == (name == "blue first")
        if report.accepted:
            mini_imagenet.prepare(root, target=SMALL, references=means)
        else:
            assert "wrong: Red and blue are exchanged" in "\n".join(report.lines())
            with pytest.raises(DataError, match="blue first: red and blue are exchanged"):
                mini_imagenet.prepare(root, target=SMALL, references=means)


def test_mean_colours_of_all_classes_are_kept() -> None:
    published = colours.published()
    assert len(published) == 100
    values = np.stack(list(published.values()))
    assert values.shape == (100, 3)
    # Photographs have more red than blue.
    assert 5 < (values[:, 0] - values[:, 2]).mean() < 30
