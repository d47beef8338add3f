"""Any folder of class folders becomes a pack; what cannot is refused by name, without one."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from repro.cli.main import cli
from repro.data.dataset import Selection
from repro.data.files.decoding import Scale, decode
from repro.data.pack import open_pack
from repro.data.preparing import prepare
from repro.data.sets.folder import list_classes
from repro.data.splitting import by_file, by_shares
from repro.episodes import EpisodeSampler
from repro.papers import config
from repro.papers.config import EpisodeSpec
from repro.run.cell import RunContext, plan, run_cell
from repro.system.errors import DataError, ReproError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY
from tests.system.test_fuzz import mutated

CLASSES = [f"class {i:02}" for i in range(10)]
CLASSES += ["größe", "größe/ß", "猫 🐈", "a,b\"c'", "nested/a/b", "-x", "[*]"]
CHOICE = Selection(split="7/5/5", image_size=16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache"


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_class(folder: Path, grey: int, n: int = 20) -> None:
    folder.mkdir(parents=True)
    for i in range(n):
        pixels = np.full((10, 12 + i % 3, 3), grey + i, np.uint8)
        pixels[..., 1] = 250 - grey
        (folder / f"{i}.png").write_bytes(encoded(Image.fromarray(pixels)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for context, class_id in enumerate(CLASSES):
        write_class(tmp_path / "data" / class_id, 10 * context, 20 + context)
    (tmp_path / "data/readme.txt").write_text("not an image")
    (tmp_path / "data/.hidden").mkdir()
    (tmp_path / "data/.hidden/x.png").write_text("never looked at")
    return tmp_path / "data"


def class_ids(pack: Path) -> dict[str, tuple[str, ...]]:
    return {split: open_pack(pack, split).class_ids for split in ("train", "val", "test")}


def test_classes_of_odd_names_and_unequal_sizes_are_all_packed(root: Path) -> None:
    pack = prepare("folder", root, selection=CHOICE)
    found = class_ids(pack)
    assert [len(ids) for ids in found.values()] == [7, 5, 5]
    assert sorted(c for ids in found.values() for c in ids) == sorted(CLASSES)
    for split in found:
        opened = open_pack(pack, split)
        assert opened.image_size == 16
        for class_id, (first, n) in zip(opened.class_ids, opened.class_rows, strict=True):
            context = CLASSES.index(class_id)
            assert n == 20 + context
            # Images of a class in the order of their names: 0, 1, 10, 11, 12, ...
            wanted = [10 * context + i for i in sorted(range(n), key=str)]
            assert opened.images[first : first + n, 8, 8, 0].tolist() == wanted
        EpisodeSampler(opened.class_rows, split, EpisodeSpec(k_shot=5), 0)[0]


def test_the_digest_names_data_split_and_size(root: Path) -> None:
    def pack(**changes: object) -> Path:
        return prepare("folder", root, selection=Selection(**{**chosen, **changes}))  # type: ignore[arg-type]

    chosen = {"split": "7/5/5", "image_size": 16}
    packs = [pack(), pack(split_seed=1), pack(image_size=20), pack(split="6/6/5")]
    assert len(set(packs)) == 4
    assert pack(split_seed=0) == packs[0]  # the default, said aloud
    assert prepare("folder", None, selection=Selection(**chosen)) == packs[0]  # type: ignore[arg-type]
    assert prepare("folder", None, selection=Selection(**chosen, split_seed=1)) == packs[1]  # type: ignore[arg-type]
    # One pixel changed in place, deep inside: another pack.
    (root / "nested/a/b/0.png").write_bytes(encoded(Image.new("RGB", (10, 10), "red")))
    assert pack() not in packs
    with pytest.raises(DataError, match="has not been prepared with these options"):
        prepare("folder", None, selection=Selection(split="5/6/6"))


def test_a_random_split_depends_on_seed_and_names_alone() -> None:
    ids = [f"c{i}" for i in range(100)]
    first = by_shares(ids, "0.64/0.16/0.20", 0)
    assert [len(v) for v in first.values()] == [64, 16, 20]
    assert sorted(sum(first.values(), ())) == sorted(ids)
    assert by_shares(ids[::-1], "0.64/0.16/0.20", 0) == first == by_shares(ids, "64/16/20", 0)
    assert by_shares(ids, "0.64/0.16/0.20", 1) != first
    # Every class goes somewhere, whatever the shares leave over.
    for n in range(15, 60):
        sizes = [len(v) for v in by_shares(ids[:n], "0.34/0.33/0.33", 0).values()]
        assert sum(sizes) == n
        assert max(abs(size - n / 3) for size in sizes) < 1.4


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_split_file_decides_and_leaves_out_what_it_does_not_name(
    root: Path, tmp_path: Path, suffix: str
) -> None:
    split = {"train": CLASSES[:5], "validation": CLASSES[5:10], "test": CLASSES[11:16]}
    path = tmp_path / f"split.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(split), encoding="utf-8")
    else:
        quoted = [
            '"' + c.replace('"', '""') + f'",{name}' for name, ids in split.items() for c in ids
        ]
        path.write_text("\n".join(["class,split", *quoted]), encoding="utf-8")
    pack = prepare("folder", root, selection=Selection(split_file=path, image_size=16))
    assert class_ids(pack) == {
        "train": tuple(sorted(CLASSES[:5])),
        "val": tuple(sorted(CLASSES[5:10])),
        "test": tuple(sorted(CLASSES[11:16])),
    }


def test_folders_train_val_and_test_are_the_split(tmp_path: Path) -> None:
    for context, split in enumerate(("train", "valid", "test")):
        for i in range(5):
            write_class(tmp_path / "data" / split / f"c{context}{i}", 5 * i)
    pack = prepare("folder", tmp_path / "data", selection=Selection(image_size=16))
    assert class_ids(pack)["val"] == tuple(f"valid/c1{i}" for i in range(5))
    (tmp_path / "data/train/c00").rename(tmp_path / "data/train/c20")
    with pytest.raises(DataError, match=r"more than one of them \(c20\)"):
        prepare("folder", tmp_path / "data", selection=Selection(image_size=16))


def test_a_split_of_links_beside_the_folders_they_lead_to_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for i, split in enumerate(("train", "train", "val", "val", "test", "test")):
        write_class(root / f"images/c{i}", 10 * i, 2)
        (root / split).mkdir(exist_ok=True)
        (root / split / f"c{i}").symlink_to(f"../images/c{i}")
    with pytest.raises(DataError, match=r"images/c4 and .*test/c4 are the same folder, by a link"):
        prepare("folder", root, selection=Selection(image_size=16))
    (root / "images").rename(tmp_path / "images")
    for link in root.glob("*/c*"):
        link.unlink()
        link.symlink_to(tmp_path / "images" / link.name)
    (tmp_path / "linked").symlink_to(root)
    pack = prepare("folder", tmp_path / "linked", selection=Selection(image_size=16))
    assert class_ids(pack) == {
        "train": ("train/c0", "train/c1"),
        "val": ("val/c2", "val/c3"),
        "test": ("test/c4", "test/c5"),
    }


def test_a_class_with_two_names_is_refused_and_a_link_back_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_class(root / "b", 10, 2)
    write_class(root / "c/deep", 20, 2)
    (root / "c/deep/back").symlink_to("../..")
    (root / "c/itself").symlink_to(".")
    assert list(list_classes(root).classes) == ["b", "c/deep"]
    for link, leads_to, said in (("a", "b", "data/a and .*data/b"), ("z", "b", "b and .*data/z")):
        (root / link).symlink_to(leads_to)
        with pytest.raises(DataError, match=f"{said} are the same folder, by a link; keep one"):
            list_classes(root)
        (root / link).unlink()


def colours(image: Image.Image, kind: str = "PNG") -> list[int]:
    scale = Scale(integer=65_535)
    found: list[int] = decode(encoded(image, kind), "x", 16, scale)[8, 8].tolist()
    return found


def test_grey_16_bit_transparent_palette_cmyk_and_turned_images_are_read() -> None:
    assert colours(Image.new("L", (20, 10), 77)) == [77] * 3
    assert colours(Image.new("1", (20, 10), 1)) == [255] * 3
    assert colours(Image.fromarray(np.full((9, 9), 77 * 256 + 5, np.uint16))) == [77] * 3
    assert colours(Image.new("RGBA", (9, 9), (10, 20, 30, 255))) == [10, 20, 30]
    assert colours(Image.new("RGBA", (9, 9), (10, 20, 30, 0))) == [255] * 3
    assert colours(Image.new("LA", (9, 9), (0, 128))) == [127] * 3
    assert colours(Image.new("RGB", (9, 9), (10, 20, 30)).quantize(4)) == [10, 20, 30]
    cmyk = colours(Image.new("CMYK", (9, 9), (0, 0, 0, 255)), "JPEG")
    assert max(cmyk) < 10
    # A photograph whose camera was held upright: stored lying, dark on its left side.
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    upright = decode(buffer.getvalue(), "x", 16)
    np.testing.assert_array_equal(upright, np.rot90(pixels, -1))


def test_damaged_metadata_of_a_readable_image_is_no_warning(root: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x010E] = "a description that is cut off"
    Image.new("RGB", (9, 9), "red").save(buffer, "JPEG", exif=exif.tobytes()[:-20])
    with pytest.warns(UserWarning, match="Corrupt EXIF|Possibly corrupt|Truncated"):
        assert decode(buffer.getvalue(), "x", 16)[0, 0, 0] > 250
    (root / "class 00/0.jpg").write_bytes(buffer.getvalue())
    prepare("folder", root, selection=CHOICE)  # warnings are errors in these tests


def spoiled(root: Path, tmp_path: Path, what: str) -> tuple[Path, Selection]:
    """The good folder, spoiled in one way; and what to ask for."""
    path = tmp_path / "split.csv"
    with_file = Selection(split_file=path)
    lines = [f"{c},{s}" for s, ids in (("train", CLASSES[:5]), ("val", CLASSES[5:10])) for c in ids]
    if what == "cut":
        content = (root / "class 03/7.png").read_bytes()
        (root / "class 03/7.png").write_bytes(content[:-30])
    elif what == "html":
        (root / "class 03/7.png").write_text("<html>sign in</html>")
    elif what == "few":
        for path in sorted((root / "class 00").glob("*.png"))[1:]:
            path.unlink()
    elif what == "outside":
        (root / "stray.png").write_bytes(encoded(Image.new("RGB", (9, 9))))
    elif what == "file":
        return root / "readme.txt", CHOICE
    elif what == "gone":
        return root / "gone", CHOICE
    elif what == "empty":
        (tmp_path / "empty").mkdir()
        return tmp_path / "empty", CHOICE
    elif what == "shares":
        return root, Selection(split="13/1/3")
    elif what == "no split":
        return root, Selection(split="0.5/0.5")
    elif what == "nan":
        return root, Selection(split="nan/nan/nan")
    elif what == "sum":
        return root, Selection(split="0.5/0.5/0.5")
    elif what == "counts":
        return root, Selection(split="7/5/6")
    elif what == "size":
        return root, Selection(split="7/5/5", image_size=5000)
    elif what == "both":
        return root, Selection(split="7/5/5", split_file=path.parent / "data/readme.txt")
    elif what == "no file":
        return root, with_file
    elif what == "unknown class":
        path.write_text("\n".join([*lines, "dog,test"]))
        return root, with_file
    elif what == "doubled":
        path.write_text("\n".join([*lines, lines[0]]))
        return root, with_file
    elif what == "other split":
        path.write_text(f"{CLASSES[0]},meta")
        return root, with_file
    elif what == "no columns":
        path.write_text("a b c\n")
        return root, with_file
    elif what == "semicolons":
        path.write_text("\n\n".join(line.replace(",", ";") for line in lines))
        return root, with_file
    elif what == "key twice":
        path = tmp_path / "split.json"
        lists = {"train": CLASSES[:5], "val": CLASSES[5:10], "test": CLASSES[11:16]}
        path.write_text(json.dumps(lists)[:-1] + ', "train": ["nested/a/b"]}')
        return root, Selection(split_file=path)
    elif what == "no test":
        path.write_text("\n".join(lines))
        return root, with_file
    return root, CHOICE


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("cut", r"class 03/7\.png is not a readable image"),
        ("html", r"class 03/7\.png is a web page"),
        ("few", "1 of 17 classes have fewer than the 2 .*class 00 with 1.* by a --split-file"),
        ("outside", r"1 images outside any class folder \(first: stray\.png\)"),
        ("file", "is a file; unpack it first"),
        ("gone", "does not exist"),
        ("empty", "holds no folder with images"),
        ("shares", "the val split has 1 of 17 classes, and an .* for instance --split 7/5/5"),
        ("no split", "--split is three positive numbers"),
        ("nan", "--split is three positive numbers"),
        ("sum", "sum to 1.5, not to 1"),
        ("counts", "is for 18 classes, but there are 17"),
        ("size", "--image-size is 16 to 512 pixels, not 5000"),
        ("both", "--split-file is itself the split"),
        ("no file", "cannot be read"),
        ("unknown class", r"names 1 classes that are not there \(dog\)"),
        ("doubled", "names the class 'class 00' twice"),
        ("other split", "names the split 'meta'"),
        ("no columns", "is not a split file .line 1 is 'a b c', not a class and a split with one"),
        ("semicolons", "line 1 is 'class 00;train', not a class and a split with one comma betw"),
        ("key twice", "it has 'train' twice; put these classes into one list"),
        ("no test", "the test split has 0 of 17 classes"),
    ],
)
def test_what_cannot_be_packed_is_said_and_leaves_no_pack(
    root: Path, tmp_path: Path, cache: Path, what: str, said: str
) -> None:
    context, selection = spoiled(root, tmp_path, what)
    with pytest.raises(ReproError, match=said) as caught:
        prepare("folder", context, selection=selection)
    assert "\n" not in str(caught.value)
    assert list(cache.glob("packs/*")) == []
    assert list(cache.glob("sources/*")) == []


@pytest.mark.filterwarnings("ignore:::PIL")
def test_damaged_images_and_split_files_are_read_or_refused_never_a_traceback(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    noise = np.random.default_rng(0).integers(0, 255, (12, 12, 4), np.uint8)
    kinds = {"PNG": noise, "GIF": noise[..., 0], "JPEG": noise[..., :3], "TIFF": noise,
             "WEBP": noise, "BMP": noise[..., :3]}  # fmt: skip
    refused = 0
    for kind, pixels in kinds.items():
        content = encoded(Image.fromarray(pixels), kind)
        for _ in range(60):
            try:
                assert decode(mutated(content, rng), "x", 16).shape == (16, 16, 3)
            except DataError:
                refused += 1
    path = tmp_path / "split.json"
    whole = {"train": CLASSES[:5], "val": CLASSES[5:10], "test": CLASSES[10:]}
    for _ in range(150):
        path.write_bytes(mutated(json.dumps(whole).encode(), rng))
        try:
            by_file(CLASSES, path)
        except DataError:
            refused += 1
    assert refused > 150


def test_an_option_that_means_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="--image-size does not apply to glyphs"):
        prepare("glyphs", None, selection=Selection(image_size=32))


def test_the_command_says_it_in_one_sentence_and_lists_what_is_prepared(root: Path) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli, words)
        assert "Traceback" not in result.output
        return result.exit_code, result.output

    prepared = ("data", "prepare", "folder", "--data", str(root), "--image-size", "16")
    code, said = run(*prepared, "--split", "13/1/3")
    assert (code, said.count("error: ")) == (1, 1)
    assert "the val split has 1 of 17 classes" in said
    code, said = run(*prepared, "--split", "7/5/5")
    assert code == 0, said
    code, said = run("data", "list")
    assert "(7 train, 5 val, 5 test classes, 476 images of 16 px)" in said


def test_a_cell_runs_on_unequal_classes_and_names_their_pack(root: Path, tmp_path: Path) -> None:
    pack = prepare("folder", root, selection=CHOICE)
    recipe = config.recipe("authors-code,neighbor_features=pixels")
    (cell,) = plan("folder", pack, ["nearest_neighbor"], [5], [0], recipe, TINY, "fp32", "cpu")
    here = RunContext(tmp_path / "runs", pack, 1, "cpu")
    record = run_cell(cell, here, Silent(), StopRequest(), "repro test")
    assert record.config["data_digest"] == open_pack(pack, "test").digest
    assert record.accuracy.mean() > 0.5  # colours of classes are apart
