"""The two pickled layouts of mini-ImageNet, read by the reader that runs no code."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np

from repro.data.files import safe_pickle
from repro.data.files.sources import Source, html_error, is_html
from repro.data.mini_imagenet.copy import Copy, Groups, Images, split_name
from repro.data.pack import Pixels
from repro.system.errors import DataError

# Images of training classes held out for ordinary classification; not part of mini-ImageNet.
_HELD_OUT = re.compile(r"train_phase_(val|test|trainval)", re.IGNORECASE)
MAX_BYTES = 3 * 2**30  # the largest published pickle has 0.8 GiB
_SPLIT = re.compile(r"train|validation|val|test", re.IGNORECASE)


def find(source: Source, files: list[str]) -> Copy:
    """A copy of pickles, one for each split.

    Raises:
        DataError: one is damaged, asks for code, or holds something else.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    layouts, notes = set(), []
    for file in sorted(files):
        if _HELD_OUT.search(PurePosixPath(file).name):
            notes.append(f"{file} holds other images of the training classes and is left out")
            continue
        words = _SPLIT.findall(PurePosixPath(file).name)
        split = split_name(words[-1].lower()) if words else ""
        layout, classes, named = _classes(_load(source, file), source.called(file))
        layouts.add(layout)
        if not named:
            notes.append(f"{file} does not name its classes; they are taken in sorted order")
        mine = groups.setdefault(split, {})
        for class_id, rows in classes.items():
            mine.setdefault(class_id, []).extend(f"{file}#{row}" for row in rows)
    return Copy(
        f"pickles ({' and '.join(sorted(layouts))})", source.origin, groups, _reader(source),
        tuple(notes),
    )  # fmt: skip


def _load(source: Source, file: str) -> dict[str, Any]:
    with source.open(file) as stream:
        head = stream.read(512)
    if is_html(head):
        raise html_error(source.called(file))
    with source.open(file, MAX_BYTES) as stream:
        content = safe_pickle.load(
            cast(BinaryIO, stream), source.called(file), "bytes", source.size(file)
        )
    if isinstance(content, dict):
        found = {_text(key): value for key, value in content.items()}
        if {"image_data", "class_dict"} <= found.keys() or {"data", "labels"} <= found.keys():
            return found
    raise DataError(
        f"{source.called(file)} holds neither image_data and class_dict nor data and labels; it "
        "is no pickle of mini-ImageNet"
    )


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _pixels(content: dict[str, Any], name: str) -> Pixels:
    pixels: Any = content.get("image_data", content.get("data"))
    if isinstance(pixels, list):
        try:
            if not all(isinstance(image, np.ndarray) for image in pixels):
                raise TypeError("not all are arrays")
            pixels = np.stack(pixels)
        except (ValueError, TypeError) as error:
            raise DataError(f"{name}: its images have several shapes ({error})") from error
    right = isinstance(pixels, np.ndarray) and pixels.ndim == 4 and pixels.shape[3] == 3
    if not right or pixels.dtype != np.uint8:
        what = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels)
        raise DataError(f"{name}: expected uint8 images [n, height, width, 3], found {what}")
    plain: Pixels = pixels.view(np.ndarray)
    return plain


def _classes(content: dict[str, Any], name: str) -> tuple[str, dict[str, list[int]], bool]:
    """The layout, class to rows, and whether the pickle names its classes."""
    n_image = len(_pixels(content, name))
    try:
        if "class_dict" in content:
            if sum(map(len, content["class_dict"].values())) > n_image:
                raise ValueError(f"more rows than the {n_image} images")
            found = {
                _text(key): [int(row) for row in rows]
                for key, rows in sorted(content["class_dict"].items())
            }
            layout, named = "image_data and class_dict", True
        else:
            labels = [int(label) for label in content["labels"]]
            if len(labels) != n_image:
                raise ValueError(f"{len(labels)} labels for {n_image} images")
            naming = {int(v): _text(k) for k, v in content.get("catname2label", {}).items()}
            named = set(labels) <= naming.keys()
            found = {}
            for row, label in enumerate(labels):
                found.setdefault(naming[label] if named else f"label {label:06d}", []).append(row)
            layout, found = "data and labels", dict(sorted(found.items()))
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: its classes cannot be read ({error}); get it again") from error
    rows = sorted(row for rows in found.values() for row in rows)
    if (rows and not 0 <= rows[0] <= rows[-1] < n_image) or len(set(rows)) != len(rows):
        raise DataError(
            f"{name}: its classes name images that are not there, or one image twice (of "
            f"{n_image} images); get it again"
        )
    return layout, found, named


def _reader(source: Source) -> Callable[[Collection[str]], Images]:
    def images(names: Collection[str]) -> Images:
        wanted: dict[str, list[int]] = {}
        for name in names:
            file, _, row = name.rpartition("#")
            wanted.setdefault(file, []).append(int(row))
        for file in source.ordered(wanted):
            pixels = _pixels(_load(source, file), source.called(file))
            for place in wanted[file]:
                yield f"{file}#{place}", pixels[place]

    return images


def name_classes(groups: Groups, split: dict[str, tuple[str, ...]]) -> Groups:
    """Labels without names as the sorted classes of the split they are in."""
    named = {}
    for key, classes in groups.items():
        wanted = split.get(key, ())
        nameless = all(class_id.startswith("label ") for class_id in classes)
        if nameless and len(wanted) == len(classes):
            named[key] = dict(zip(sorted(wanted), classes.values(), strict=True))
        else:
            named[key] = dict(classes)
    return named
