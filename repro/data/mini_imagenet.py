"""mini-ImageNet with Ravi's split, from whatever copy a user has."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from repro.data.images import Pixels, SplitPlan, build_pack
from repro.data.judging import judge
from repro.data.layouts import LAYOUTS as LAYOUTS
from repro.data.layouts import Copy, detect
from repro.data.ravi import Target, ravi
from repro.data.sources import html_error, is_html, open_source
from repro.errors import DataError

IMAGE_SIZE = 84  # px; the authors' loader stretches whatever size it finds
MAX_PIXELS = 50_000_000
# What Pillow raises for files that are no image, cut short, or bombs.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError),
    *(struct.error, zlib.error, KeyError, IndexError, TypeError, OverflowError, EOFError),
)
_CHUNK = 256  # images read ahead of the decoders

T = TypeVar("T")
_log = logging.getLogger(__name__)


def decode(content: bytes, name: str) -> Pixels:
    """An image file as uint8 ``[84, 84, 3]``, stretched bilinearly when its size differs.

    Raises:
        DataError: not an image, truncated, or of more than 50 megapixels; the file is named.
    """
    return decode_sized(content, name)[0]


def decode_sized(content: bytes | Pixels, name: str) -> tuple[Pixels, tuple[int, int]]:
    """The same, also of pixels ``[height, width, 3]``, with the width and height it had, px."""
    try:
        if isinstance(content, np.ndarray):
            height, width = content.shape[:2]
            if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
                return content, (width, height)
            return _stretched(Image.fromarray(content)), (width, height)
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name} has {image.width}×{image.height} pixels, more than the "
                    f"{MAX_PIXELS:,} accepted; replace or shrink it"
                )
            return _stretched(image.convert("RGB")), image.size
    except _UNREADABLE as error:
        if isinstance(content, bytes) and is_html(content):
            raise html_error(name) from error
        raise DataError(f"{name} is not a readable image ({error}); get the file again") from error


def _stretched(rgb: Image.Image) -> Pixels:
    if rgb.size != (IMAGE_SIZE, IMAGE_SIZE):
        rgb = rgb.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(rgb, dtype=np.uint8)


def in_threads(
    copy: Copy, names: Collection[str], work: Callable[[bytes | Pixels, str], T]
) -> Iterator[tuple[str, T]]:
    """``work(content, name)`` of every image, in the order in which they are cheap to read."""
    with ThreadPoolExecutor(2) as pool:  # decoding releases the interpreter's lock
        images = copy.images(names)
        while part := list(islice(images, _CHUNK)):
            called = [name for name, _ in part]
            results = pool.map(work, (content for _, content in part), called)
            yield from zip(called, results, strict=True)


def prepare(
    root: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    target: Target | None = None,
) -> Path:
    """Look at a copy and build its pack; returns the pack's folder.

    Args:
        progress: called with images done and in all.
        target: what it should be; Ravi's split by default.
    Raises:
        DataError: nothing or the wrong thing is there; named, with counts, and no pack is left.
    """
    target = target or ravi()
    with open_source(root, target.classes) as source:
        copy = detect(source, target)
        judged = judge(copy, target)
        for refusal in judged.refusals:
            raise DataError(
                f"{root}: {refusal.text.removesuffix('.')} (`repro data check {root}` tells all)"
            )
        for finding in judged.findings:
            _log.warning("%s: %s", root, finding.text)
        done = 0

        def filler(names: list[str]) -> Callable[[Pixels], None]:
            def fill(array: Pixels) -> None:
                nonlocal done
                rows = {name: row for row, name in enumerate(names)}
                for name, (image, _) in in_threads(copy, names, decode_sized):
                    array[rows[name]] = image
                    done += 1
                    if done % 600 == 0 or done == target.n_image:
                        progress(done, target.n_image)

            return fill

        plans = {
            split: SplitPlan(
                tuple(classes),
                tuple(map(len, classes.values())),
                filler([name for names in classes.values() for name in names]),
            )
            for split, classes in judged.plan.items()
        }
        origin = f"{root.resolve()} ({copy.layout}; its own split: {judged.split})"
        return build_pack("mini-imagenet", IMAGE_SIZE, plans, origin)
