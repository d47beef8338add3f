"""Features that somebody else computed: ``.npz``, safetensors, or a folder of ``.npy``.

Each holds the arrays ``train``, ``val`` and ``test``, float ``[n_image, n_feature]`` in the order
of the pack, and says which images they are of: ``digest``, that of the pack, or ``names_<split>``,
``<class>/<number>`` of every image. In a safetensors file these two are metadata, in a folder
``digest.txt`` and ``names_<split>.txt``.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.data.features import store
from repro.data.pack import SPLITS, ImageSplit, open_pack
from repro.system.errors import DataError, text_of, unknown
from repro.system.regular import read_file

MAX_FEATURES = 65_536  # of an image
_MAX_TEXT = 2**27  # bytes of a file of names
_ORDER = "compute them from the images of repro.data.preparing.load_split, in their order"


@dataclass
class _Found:
    """What a file holds."""

    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    digest: str = ""
    names: dict[str, list[str]] = field(default_factory=dict)


def import_features(path: Path, name: str, pack: Path) -> store.FeatureSet:
    """Check a file of features and put it into the cache.

    Args:
        name: of the backbone, for the names of rows.
    Raises:
        DataError: it is not of these images, in their order, or no usable features; nothing is
            written.
    """
    store.check_name(name)
    splits = {split: open_pack(pack, split) for split in SPLITS}
    found = _read(path, {split: len(images.images) for split, images in splits.items()})
    missing = [split for split in SPLITS if split not in found.arrays]
    if missing:
        there = ", ".join(sorted(found.arrays)) or "none"
        raise DataError(
            f"{path} has no features of {', '.join(missing)} (its arrays: {there}); expected are "
            "train, val and test"
        )
    _check_images(path, found, splits)
    arrays = {s: _checked(f"{path}: {s}", found.arrays[s], splits[s]) for s in SPLITS}
    widths = {split: array.shape[1] for split, array in arrays.items()}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{split} {n}" for split, n in widths.items())
        raise DataError(f"{path} has splits with other numbers of features ({told})")
    told = "a file, digest {digest}"
    return store.save(pack, splits["test"].digest, name, told, "", arrays.items())


def names_of(split: ImageSplit) -> list[str]:
    """``<class>/<number>`` of every image of a split, in the order of the pack."""
    classes = zip(split.class_ids, split.class_rows, strict=True)
    return [f"{class_id}/{n}" for class_id, (_, count) in classes for n in range(count)]


def _check_images(path: Path, found: _Found, splits: dict[str, ImageSplit]) -> None:
    """Refuse features that do not say which images they are of, or are of others."""
    pack_digest = splits["test"].digest
    if found.digest and not (len(found.digest) >= 12 and pack_digest.startswith(found.digest)):
        raise DataError(
            f"{path} is of other images (digest {found.digest[:12]}, this pack has "
            f"{pack_digest[:12]}); {_ORDER}"
        )
    for split, names in found.names.items():
        expected = names_of(splits[split])
        if names == expected:
            continue
        if len(names) != len(expected):
            raise DataError(f"{path} names {len(names):,} images of {split}, not {len(expected):,}")
        row = next(i for i, (a, b) in enumerate(zip(names, expected, strict=True)) if a != b)
        why = "the order is another" if sorted(names) == sorted(expected) else "it is another image"
        raise DataError(
            f"{path}: row {row} of {split} is {names[row]!r}, expected {expected[row]!r}: {why}; "
            f"{_ORDER}"
        )
    if not found.digest and set(found.names) != set(SPLITS):
        raise DataError(
            f"{path} does not say which images it is of; add the digest of the pack "
            f"({pack_digest[:12]}…) as `digest`, or the names of the images as names_<split>"
        )


def _checked(where: str, array: npt.NDArray[Any], split: ImageSplit) -> store.Array:
    """Features as float32, when they are one row of finite numbers for every image."""
    n_image = len(split.images)
    if array.ndim != 2 or array.shape[0] != n_image or not 0 < array.shape[1] <= MAX_FEATURES:
        raise DataError(
            f"{where} has shape {list(array.shape)}; expected is one row for each of the "
            f"{n_image:,} images, [{n_image}, n_feature]"
        )
    if array.dtype.kind != "f":
        raise DataError(f"{where} has numbers of type {array.dtype}; expected are floats")
    with np.errstate(over="ignore"):
        found = np.asarray(array, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise DataError(
            f"{where} has numbers that are NaN or infinite in {len(bad):,} rows, the first is "
            f"{bad[0]}; compute these images again"
        )
    return found


def _read(path: Path, n_image: dict[str, int]) -> _Found:
    try:
        if path.is_dir():
            return _folder(path)
        if path.suffix == ".npz":
            return _npz(path, n_image)
        if path.suffix == ".safetensors":
            return _safetensors(path)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"nothing is at {path}; give the file or folder of features") from None
    except Exception as error:  # numpy, zipfile and safetensors raise many types
        raise DataError(f"{path} is not a readable file of features ({text_of(error)})") from error
    if not path.exists():
        raise DataError(f"nothing is at {path}; give the file or folder of features")
    if path.suffix == ".npy":
        raise DataError(
            f"{path} is one array; give its folder, with train.npy, val.npy, test.npy and "
            "digest.txt"
        )
    raise DataError(f"{path} is neither .npz, .safetensors nor a folder of .npy")


def _add(found: _Found, key: str, value: npt.NDArray[Any]) -> None:
    """One array of a .npz."""
    if key in SPLITS:
        found.arrays[key] = value
    elif key == "digest" and value.ndim == 0 and value.dtype.kind in "US":
        found.digest = _text(value.item())
    elif key.removeprefix("names_") in SPLITS and value.dtype.kind in "US":
        found.names[key.removeprefix("names_")] = [_text(name) for name in value.ravel().tolist()]
    else:
        known = [*SPLITS, "digest", *(f"names_{split}" for split in SPLITS)]
        raise DataError(str(unknown("array of features", key, known)))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _npz(path: Path, n_image: dict[str, int]) -> _Found:
    most = max(n_image.values()) * MAX_FEATURES * 8
    with zipfile.ZipFile(path) as archive:
        if any(item.file_size > most for item in archive.infolist()):
            raise DataError(f"{path} holds an array larger than features of these images can be")
    found = _Found()
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            _add(found, key, archive[key])
    return found


def _safetensors(path: Path) -> _Found:
    from safetensors import safe_open

    found = _Found()
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = file.get_tensor(key)
            # numpy has no bfloat16
            is_half = tensor.is_floating_point() and tensor.element_size() < 4
            _add(found, key, (tensor.float() if is_half else tensor).numpy())
    found.digest = told.get("digest", "")
    for split in SPLITS:
        with contextlib.suppress(KeyError):
            found.names[split] = _names(json.loads(told[f"names_{split}"]))
    return found


def _names(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("names are a list of texts")
    return value


def _folder(path: Path) -> _Found:
    found = _Found()
    for split in SPLITS:
        if (path / f"{split}.npy").exists():
            array = np.load(path / f"{split}.npy", mmap_mode="r", allow_pickle=False)
            found.arrays[split] = array
        if (path / f"names_{split}.txt").exists():
            found.names[split] = _lines(path / f"names_{split}.txt")
    if (path / "digest.txt").exists():
        found.digest = "".join(_lines(path / "digest.txt")).strip()
    return found


def _lines(path: Path) -> list[str]:
    return read_file(path, _MAX_TEXT).decode().splitlines()
