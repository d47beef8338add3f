"""Image files of any kind to square RGB pixels, several at a time."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from repro.data.images import Pixels, release
from repro.data.resizing import resize
from repro.data.sources import html_error, is_html
from repro.errors import DataError

MAX_PIXELS = 50_000_000
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# What Pillow raises for files that are no image, cut short, or bombs.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError),
    *(struct.error, zlib.error, KeyError, IndexError, TypeError, OverflowError, EOFError),
)
_CHUNK = 256  # files read ahead of the two decoders

T = TypeVar("T")


def decode(content: bytes, name: str, size: int) -> Pixels:
    """An image file as uint8 ``[size, size, 3]``, upright, resized as in Torch7 if need be.

    Grey becomes three equal channels (16 bits lose the lower 8); what is transparent becomes
    white; of an animation the first frame counts.

    Raises:
        DataError: not an image, truncated, or of more than 50 megapixels; the file is named.
    """
    return decode_sized(content, name, size)[0]


def decode_sized(
    content: bytes | Pixels, name: str, size: int, as_stored: bool = False
) -> tuple[Pixels, tuple[int, int]]:
    """The same, also of pixels ``[height, width, 3]``, with the width and height it had, px.

    Args:
        as_stored: neither turned upright nor laid on white: the three channels as the file has
            them, which is how the published copies of mini-ImageNet were made.

    Raises:
        DataError: as :func:`decode`.
    """
    try:
        if isinstance(content, np.ndarray):
            height, width = content.shape[:2]
            return resize(content, size), (width, height)
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name} has {image.width}×{image.height} pixels, more than the "
                    f"{MAX_PIXELS:,} accepted; replace or shrink it"
                )
            stored = image.size
            rgb = image.convert("RGB") if as_stored else _rgb(ImageOps.exif_transpose(image))
            return _stretched(rgb, size), stored
    except _UNREADABLE as error:
        if isinstance(content, bytes) and is_html(content):
            raise html_error(name) from error
        raise DataError(f"{name} is not a readable image ({error}); get the file again") from error


def _stretched(rgb: Image.Image, size: int) -> Pixels:
    return resize(np.asarray(rgb, dtype=np.uint8), size)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        grey = np.asarray(image) >> 8  # Pillow would cut everything above 255
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    return image.convert("RGB")


def fill_by_threads(
    array: Pixels,
    items: Sequence[T],
    read: Callable[[T], Pixels],
    tick: Callable[[int], None],
) -> None:
    """Fill ``array[i]`` with ``read(items[i])``, two at a time; decoding releases the GIL.

    Args:
        tick: called with the number of images that were added.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor(2) as pool:
        # Pillow warns, without a name, of damaged metadata in images that it can read.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        for first in range(0, len(items), _CHUNK):
            part = items[first : first + _CHUNK]
            for row, image in enumerate(pool.map(read, part), first):
                array[row] = image
            release(array)
            tick(len(part))


class Counter:
    """Adds up what several splits report."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self.done, self.total, self._progress = 0, total, progress

    def __call__(self, n: int) -> None:
        self.done += n
        self._progress(self.done, self.total)


def first_few(names: Sequence[str], n: int = 3) -> Iterator[str]:
    """The first names, then how many more."""
    yield from names[:n]
    if len(names) > n:
        yield f"and {len(names) - n} more"
