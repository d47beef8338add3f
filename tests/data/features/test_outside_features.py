"""Features of other programs: what is read, and what is refused, of files of the true kinds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from repro.data.features import store
from repro.data.features.outside import import_features, names_of
from repro.data.pack import SPLITS, open_pack
from repro.system.errors import DataError, UsageError
from repro.system.seeding import Stream, rng


def arrays(pack: Path, n_feature: int = 3) -> dict[str, np.ndarray]:
    found = {}
    for place, split in enumerate(SPLITS):
        n = len(open_pack(pack, split).images)
        drawn = rng(place, Stream.GLYPHS).uniform(n * n_feature, -1, 1)
        found[split] = drawn.reshape(n, n_feature).astype(np.float32)
    return found


def digest(pack: Path) -> str:
    return open_pack(pack, "test").digest


def saved(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "made.npz"
    np.savez(path, **content)
    return path


def test_a_npz_a_safetensors_file_and_a_folder_give_the_same_features(
    tiny_pack: Path, tmp_path: Path
) -> None:
    made = arrays(tiny_pack)
    npz = saved(tmp_path, {**made, "digest": digest(tiny_pack)})
    tensors = tmp_path / "made.safetensors"
    save_file({k: torch.from_numpy(v) for k, v in made.items()}, tensors,
              {"digest": digest(tiny_pack)})  # fmt: skip
    folder = tmp_path / "made"
    folder.mkdir()
    for split, array in made.items():
        np.save(folder / f"{split}.npy", array)
        (folder / f"names_{split}.txt").write_text("\n".join(names_of(open_pack(tiny_pack, split))))
    found = [import_features(path, "mine", tiny_pack) for path in (npz, tensors, folder)]
    assert len({one.digest for one in found}) == 1
    for split in SPLITS:
        np.testing.assert_array_equal(found[0].split(split), made[split])
    assert store.named(tiny_pack, "mine").digest == found[0].digest


def test_half_precision_is_read_and_names_may_stand_in_a_npz(
    tiny_pack: Path, tmp_path: Path
) -> None:
    made = {k: v.astype(np.float16) for k, v in arrays(tiny_pack).items()}
    names = {f"names_{s}": np.array(names_of(open_pack(tiny_pack, s))) for s in SPLITS}
    found = import_features(saved(tmp_path, {**made, **names}), "half", tiny_pack)
    np.testing.assert_array_equal(found.split("val"), made["val"].astype(np.float32))


def wrong(pack: Path, kind: str) -> dict[str, Any]:
    """Content of a file with one mistake."""
    made: dict[str, Any] = {**arrays(pack), "digest": digest(pack)}
    names = {s: names_of(open_pack(pack, s)) for s in SPLITS}
    if kind == "rows":
        made["test"] = made["test"][:-1]
    elif kind == "digest":
        made["digest"] = "0" * 64
    elif kind == "no digest":
        del made["digest"]
    elif kind == "order":
        del made["digest"]
        made |= {f"names_{s}": np.array(names[s]) for s in SPLITS}
        made["names_val"] = np.array([names["val"][1], names["val"][0], *names["val"][2:]])
    elif kind == "nan":
        made["train"][7, 1] = np.nan
    elif kind == "dtype":
        made["train"] = made["train"].astype(np.int64)
    elif kind == "split":
        made["valid"] = made.pop("val")
    elif kind == "missing":
        del made["val"]
    elif kind == "width":
        made["val"] = made["val"][:, :2]
    elif kind == "objects":
        made["val"] = np.array([{}] * len(made["val"]), dtype=object)
    return made


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("rows", r"test has shape \[149, 3\]; expected is one row for each of the 150 images"),
        ("digest", r"is of other images \(digest 000000000000, this pack has"),
        ("no digest", r"does not say which images it is of; add the digest of the pack"),
        ("order", r"row 0 of val is 'c8/1', expected 'c8/0': the order is another"),
        ("nan", r"train has numbers that are NaN or infinite in 1 rows, the first is 7"),
        ("dtype", r"train has numbers of type int64; expected are floats"),
        ("split", r"unknown array of features 'valid'; did you mean 'val'\?"),
        ("missing", r"has no features of val \(its arrays: test, train\)"),
        ("width", r"other numbers of features \(train 3, val 2, test 3\)"),
        ("objects", r"is not a readable file of features"),
    ],
)
def test_a_mistake_gets_a_sentence_and_nothing_is_written(
    tiny_pack: Path, tmp_path: Path, kind: str, sentence: str
) -> None:
    before = sorted(store.home(tiny_pack).glob("*"))
    path = saved(tmp_path, wrong(tiny_pack, kind))
    with pytest.raises(DataError, match=sentence):
        import_features(path, "wrong", tiny_pack)
    assert sorted(store.home(tiny_pack).glob("*")) == before


def test_other_files_and_names_are_refused(tiny_pack: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros((3, 2)))
    for name, sentence in (("one.npy", "is one array"), ("none.npz", "nothing is at")):
        with pytest.raises(DataError, match=sentence):
            import_features(tmp_path / name, "mine", tiny_pack)
    with pytest.raises(UsageError, match="at most 18"):
        import_features(tmp_path / "one.npy", "vit_base_patch16_224", tiny_pack)
    with pytest.raises(UsageError, match="unknown features 'nothing_here'"):
        store.named(tiny_pack, "nothing_here")


def test_features_that_were_changed_are_found_out(tiny_pack: Path, tmp_path: Path) -> None:
    path = saved(tmp_path, {**arrays(tiny_pack, 2), "digest": digest(tiny_pack)})
    found = import_features(path, "changed", tiny_pack)
    file = found.folder / "test.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"are damaged .* embed again"):
        found.split("test")
