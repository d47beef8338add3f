"""Omniglot in each public layout, with the standard split and whole alphabets."""

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repro.data.dataset import Selection
from repro.data.pack import open_pack
from repro.data.preparing import prepare
from repro.data.sets import omniglot
from repro.system.errors import DataError, UsageError

# A small Omniglot: real names of alphabets, fewer characters and drawings.
BACKGROUND = {"Greek": 4, "Hebrew": 3, "Latin": 2, "Armenian": 2}
EVALUATION = {"Angelic": 3, "Gurmukhi": 45, "Tibetan": 2}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(omniglot, "IMAGES_PER_CLASS", 2)
    small = {omniglot.BACKGROUND: BACKGROUND, omniglot.EVALUATION: EVALUATION}
    monkeypatch.setattr(omniglot, "ALPHABETS", small)
    return tmp_path / "cache"


def drawing(mark: int) -> bytes:
    """Black ink on white in 1 bit, as published: a bar whose place is the mark."""
    pixels = np.ones((105, 105), bool)
    pixels[:, mark % 90 : mark % 90 + 15] = False
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(root: Path, part: str, alphabets: dict[str, int]) -> Path:
    for alphabet, n in alphabets.items():
        for i in range(1, n + 1):
            folder = root / part / alphabet / f"character{i:02}"
            folder.mkdir(parents=True)
            for drawer in (1, 2):
                (folder / f"{i:04}_{drawer:02}.png").write_bytes(drawing(7 * i + drawer))
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "data", omniglot.BACKGROUND, BACKGROUND)
    return write(tmp_path / "data", omniglot.EVALUATION, EVALUATION)


def zipped(root: Path, place: Path) -> Path:
    place.mkdir(parents=True)
    for part in root.iterdir():
        with zipfile.ZipFile(place / f"{part.name}.zip", "w") as archive:
            for path in sorted(part.rglob("*.png")):
                archive.write(path, path.relative_to(root))
    return place


def test_the_published_alphabets_give_the_standard_split_and_that_of_whole_alphabets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    sizes = {}
    for kind in omniglot.SPLIT_NAMES:
        characters = [
            (omniglot.split_of(kind, part, alphabet, i), alphabet)
            for part, alphabets in omniglot.ALPHABETS.items()
            for alphabet, n in alphabets.items()
            for i in range(1, n + 1)
        ]
        assert len(characters) == 1623
        of = {s: [a for split, a in characters if split == s] for s in ("train", "val", "test")}
        sizes[kind] = [len(of[s]) for s in of]
        shared = set(of["train"]) & set(of["test"])
        assert shared == ({"Gurmukhi"} if kind == "vinyals" else set())
    assert sizes == {"vinyals": [1028, 172, 423], "alphabets": [792, 172, 659]}
    assert omniglot.split_of("vinyals", omniglot.EVALUATION, "Gurmukhi", 41) == "train"
    assert omniglot.split_of("vinyals", omniglot.EVALUATION, "Gurmukhi", 42) == "test"


def test_folders_zips_and_torchvisions_layout_are_one_pack(root: Path, tmp_path: Path) -> None:
    pack = prepare("omniglot", root)
    assert prepare("omniglot", zipped(root, tmp_path / "zips")) == pack
    shutil.copytree(root, tmp_path / "torchvision/omniglot-py")
    assert prepare("omniglot", tmp_path / "torchvision") == pack
    train, test = open_pack(pack, "train"), open_pack(pack, "test")
    assert len(train.class_ids) == 4 + 2 + 3 + 41
    assert test.class_ids[:4] == tuple(f"Gurmukhi/character{i}" for i in range(42, 46))
    assert open_pack(pack, "val").class_ids[-1] == "Hebrew/character03"
    # White ink on black; a bar of 15 of 105 pixels is 4 of 28.
    first, n = train.class_rows[train.class_ids.index("Greek/character03")]
    assert n == 2
    image = train.images[first]
    assert image.shape == (28, 28, 3)
    bar = (7 * 3 + 1) * 28 / 105
    assert image[10, int(bar) + 2].tolist() == [255] * 3
    assert image[10, :4].max() == 0
    assert image[10, :, 0].sum() / 255 == pytest.approx(15 * 28 / 105, abs=0.05)


def test_whole_alphabets_are_another_pack_found_again_by_its_options(root: Path) -> None:
    chosen = Selection(split="alphabets")
    pack = prepare("omniglot", root, selection=chosen)
    assert len(open_pack(pack, "test").class_ids) == 50
    assert prepare("omniglot", root) == pack  # as last time
    assert prepare("omniglot", root, afresh=True) != pack
    assert prepare("omniglot", None, selection=chosen) == pack
    with pytest.raises(UsageError, match="did you mean 'alphabets'"):
        prepare("omniglot", root, selection=Selection(split="alphabet"))


def test_the_small_background_sets_do_with_what_they_have(root: Path, cache: Path) -> None:
    shutil.rmtree(root / omniglot.BACKGROUND)
    write(root, omniglot.SMALL[0], {"Greek": 4, "Hebrew": 3})
    with pytest.raises(DataError, match="the val split has 3 characters"):
        prepare("omniglot", root)
    assert list(cache.glob("packs/*")) == []
    write(root, omniglot.SMALL[1], {"Armenian": 2, "Greek": 4})
    pack = prepare("omniglot", root)
    assert len(open_pack(pack, "val").class_ids) == 5
    assert len(open_pack(pack, "train").class_ids) == 4 + 3 + 41
    shutil.rmtree(root / omniglot.SMALL[0] / "Hebrew/character02")
    with pytest.raises(DataError, match=r"1 characters are missing .*Hebrew/character02"):
        prepare("omniglot", root)


def test_wrong_copies_are_said_and_leave_no_pack(root: Path, tmp_path: Path, cache: Path) -> None:
    one = root / "images_evaluation/Tibetan/character01/0001_01.png"
    content = one.read_bytes()
    one.write_bytes(content[:60])
    with pytest.raises(DataError, match=r"0001_01\.png is not a readable image"):
        prepare("omniglot", root)
    one.unlink()
    with pytest.raises(DataError, match="Tibetan/character01 has 1"):
        prepare("omniglot", root)
    one.write_bytes(content)
    shutil.rmtree(root / "images_background/Latin")
    with pytest.raises(DataError, match="2 characters are missing and 0 others"):
        prepare("omniglot", root)
    write(root, omniglot.BACKGROUND, {"Latin": 2, "Klingon": 1})
    with pytest.raises(DataError, match=r"0 characters are missing and 1 others .*Klingon"):
        prepare("omniglot", root)
    shutil.rmtree(root / omniglot.BACKGROUND)
    for place in (root, tmp_path / "gone"):
        with pytest.raises(DataError, match="no Omniglot at"):
            prepare("omniglot", place)
    for content, said in (("<html>", "a web page"), ("P", "not a readable archive")):
        (root / "images_background.zip").write_text(content)
        with pytest.raises(DataError, match=rf"images_background\.zip is {said}"):
            prepare("omniglot", root)
    assert list(cache.glob("packs/*")) == []
