"""Writes one set of images in every layout that copies of mini-ImageNet come in."""

import csv
import io
import json
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from repro.data.mini_imagenet.ravi import Target

Pixels = npt.NDArray[np.uint8]
Files = Mapping[str, Mapping[str, bytes]]  # class to file name to content

SPLIT = {
    "train": ("n00000001", "n00000004", "n00000005"),
    "val": ("n00000003",),
    "test": ("n00000002",),
}
RANKS = (2, 3, 5, 8)
SMALL = Target(SPLIT, len(RANKS), {c: RANKS for classes in SPLIT.values() for c in classes})


def pixels_of(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def jpeg(seed: int, width: int = 84, height: int = 84) -> bytes:
    """An image of its own for every seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def small_files() -> dict[str, dict[str, bytes]]:
    return {
        class_id: {f"{class_id}{rank:08d}.jpg": jpeg(100 * int(class_id[1:]) + rank) for rank in r}
        for class_id, r in SMALL.ranks.items()
    }


def expected(files: Files, target: Target, split: str) -> Pixels:
    """What the pack of a split must hold."""
    kept = [files[c][name] for c in target.split[split] for name in sorted(files[c])]
    return np.stack([pixels_of(content) for content in kept])


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def by_split(root: Path, files: Files, split: Mapping[str, tuple[str, ...]]) -> Path:
    for name, classes in split.items():
        for class_id in classes:
            for file, content in files[class_id].items():
                write(root / name / class_id / file, content)
    return root


def one_level(root: Path, files: Files, _: Target) -> Path:
    return by_split(root, files, {"": tuple(files)})


def write_csv(root: Path, files: Files, target: Target) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split, classes in target.split.items():
        with (root / f"{split}.csv").open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["filename", "label"])
            rows.writerows((file, class_id) for class_id in classes for file in files[class_id])


def ravi_flat(root: Path, files: Files, target: Target) -> Path:
    write_csv(root, files, target)
    for class_id in files:
        for file, content in files[class_id].items():
            write(root / "images" / file, content)
    return root


class Python2Pickler(pickle._Pickler):  # type: ignore[misc]
    """Writes bytes and text as the str of Python 2, under the names of an old numpy."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_old_text(self, value: Any) -> None:
        raw = value.encode("ascii") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + len(raw).to_bytes(4, "little") + raw)
        self.memoize(value)

    dispatch[bytes] = save_old_text
    dispatch[str] = save_old_text


def dump(path: Path, content: Any, python: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if python == 3:
        path.write_bytes(pickle.dumps(content, 4))
        return
    buffer = io.BytesIO()
    Python2Pickler(buffer, 2).dump(content)
    old = buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(old)


def cache_pickles(
    root: Path, files: Files, target: Target, python: int = 3, val: str = "val"
) -> Path:
    for split, classes in target.split.items():
        starts = np.cumsum([0, *(len(files[c]) for c in classes)])
        rows = {c: list(range(a, b)) for c, a, b in zip(classes, starts, starts[1:], strict=False)}
        rows = {c: [int(row) for row in rows[c]] for c in classes}
        content = {"image_data": expected(files, target, split), "class_dict": rows}
        name = val if split == "val" else split
        dump(root / f"mini-imagenet-cache-{name}.pkl", content, python)
    return root


def cache_pickles_2(root: Path, files: Files, target: Target) -> Path:
    return cache_pickles(root, files, target, 2, "validation")


def category_pickles(root: Path, files: Files, target: Target, python: int = 3) -> Path:
    first = 0
    for split, classes in target.split.items():
        labels = [first + i for i, c in enumerate(classes) for _ in files[c]]
        content = {
            "data": expected(files, target, split),
            "labels": labels,
            "catname2label": {c: first + i for i, c in enumerate(classes)},
        }
        first += len(classes)
        name = "train_phase_train" if split == "train" else split
        dump(root / f"miniImageNet_category_split_{name}.pickle", content, python)
    return root


def nameless_pickles_2(root: Path, files: Files, target: Target) -> Path:
    category_pickles(root, files, target)
    for path in root.glob("*.pickle"):
        content = pickle.loads(path.read_bytes())
        dump(path, {"data": content["data"], "labels": content["labels"]}, 2)
    train = root / "miniImageNet_category_split_train_phase_train.pickle"
    shutil.copy(train, train.with_name("miniImageNet_category_split_train_phase_val.pickle"))
    return root


def parquet(root: Path, files: Files, target: Target, named: bool = True) -> Path:
    import pyarrow as arrow
    import pyarrow.parquet

    root.mkdir(parents=True, exist_ok=True)
    names = sorted(files)
    feature = {"names": names, "_type": "ClassLabel"}
    describe = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    for split, classes in target.split.items():
        items = [(c, file, files[c][file]) for c in classes for file in sorted(files[c])]
        half = (len(items) + 1) // 2
        for shard, part in enumerate((items[:half], items[half:])):
            images = [{"bytes": content, "path": file} for _, file, content in part]
            labels = [names.index(c) for c, _, _ in part]
            table = arrow.table({"image": images, "label": labels})
            if named:
                table = table.replace_schema_metadata({"huggingface": json.dumps(describe)})
            word = "validation" if split == "val" else split
            arrow.parquet.write_table(
                table, root / f"{word}-{shard:05d}-of-00002-0a1b2c.parquet", row_group_size=50
            )
    return root


def ilsvrc(root: Path, files: Files, target: Target, csv_too: bool = True) -> Path:
    """A training set whose images at the published ranks are the files; sorted by number."""
    if csv_too:
        write_csv(root, files, target)
    for seed, class_id in enumerate(files):
        published = {
            int(Path(file).stem[-5:]): content for file, content in files[class_id].items()
        }
        for place in range(max(published) + 3):
            # Numbers of one to four digits: their order is not that of the names as text.
            number = 7 + 211 * place
            content = published.get(place + 1, jpeg(10_000 + 100 * seed + place))
            write(root / "ILSVRC2012_img_train" / class_id / f"{class_id}_{number}.JPEG", content)
    write(root / "ILSVRC2012_img_train" / "n99999999" / "n99999999_1.JPEG", jpeg(1))
    return root


def ilsvrc_tars(root: Path, files: Files, target: Target) -> Path:
    """The same as ILSVRC is published: a tar of one tar a class; without the csv files."""
    ilsvrc(root, files, target, csv_too=False)
    train = root / "ILSVRC2012_img_train"
    for folder in list(train.iterdir()):
        with tarfile.open(train / f"{folder.name}.tar", "w") as archive:
            for path in folder.iterdir():
                archive.add(path, path.name)
        shutil.rmtree(folder)
    return root


def split_folders(root: Path, files: Files, target: Target) -> Path:
    return by_split(root, files, target.split)


def other_split_names(root: Path, files: Files, target: Target) -> Path:
    names = tuple(files)
    return by_split(root, files, {"base": names[:4], "novel": names[4:]})


LAYOUTS = {
    "split folders": split_folders,
    "Ravi's images with csv": ravi_flat,
    "one level": one_level,
    "other split names": other_split_names,
    "cache pickles": cache_pickles,
    "cache pickles of Python 2": cache_pickles_2,
    "category pickles": category_pickles,
    "category pickles of Python 2 without names": nameless_pickles_2,
    "parquet": parquet,
    "ILSVRC with csv": ilsvrc,
    "ILSVRC of tars": ilsvrc_tars,
}
CONTAINERS = ("folder", "zip", "tar", "tar.gz")


def _below(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def contain(folder: Path, container: str) -> Path:
    """The folder itself, or an archive of it beside it."""
    if container == "folder":
        return folder
    archive = folder.with_name(f"{folder.name}.{container}")
    if container == "zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in _below(folder):
                zipped.write(path, path.relative_to(folder.parent))
    else:
        with tarfile.open(archive, "w:gz" if container == "tar.gz" else "w") as tarred:
            for path in _below(folder):
                tarred.add(path, path.relative_to(folder.parent))
    return archive
