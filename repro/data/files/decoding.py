"""Image files of any kind to square RGB pixels, several at a time."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from repro.data.files.resizing import resize
from repro.data.files.sources import html_error, is_html
from repro.data.pack import Pixels, release
from repro.system.errors import DataError

MAX_PIXELS = 50_000_000
LARGE_PIXELS = 8_000_000  # images of more are decoded one at a time
# What Pillow decodes in this process. Its others may start a program (EPS: Ghostscript), call the
# system (WMF) or are of no use here.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_JPEG_2000 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
# How files begin; the type in an ISO base media file stands at byte 4.
_BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"GIF87a": "GIF", b"GIF89a": "GIF",
    b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
    b"P1": "PPM", b"P2": "PPM", b"P3": "PPM", b"P4": "PPM", b"P5": "PPM", b"P6": "PPM",
    b"Pf": "PPM", b"PF": "PPM", _JPEG_2000: "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000",
    b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"%PDF": "PDF", b"8BPS": "Photoshop",
    b"\xd7\xcd\xc6\x9a": "WMF", b"DanM": "MSP", b"LinS": "MSP",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "FPX or MIC", b"SIMPLE  =": "FITS",
    b"\0\0\1\0": "icon", b"icns": "icon", b"\x76\x2f\x31\x01": "OpenEXR",
    b"gimp xcf": "GIMP", b"<svg": "SVG", b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\x89HDF": "HDF5", b"DDS ": "DDS", b"\x0a\x05\x01": "PCX",
}  # fmt: skip
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC",
           b"mif1": "HEIC", b"msf1": "HEIC", b"heim": "HEIC", b"heis": "HEIC"}  # fmt: skip
NO_PICTURES = ("PDF", "SVG", "icon", "HDF5", "FITS", "FPX or MIC")  # Thumbs.db is of the last
HEAD_BYTES = 32
# What Pillow raises for files that are no image, cut short, or bombs.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError),
    *(struct.error, zlib.error, KeyError, IndexError, TypeError, OverflowError, EOFError),
)
_CHUNK = 256  # files read ahead of the two decoders

T = TypeVar("T")


def format_of(head: bytes) -> str:
    """The image format that a file's first bytes name; empty when none that is known."""
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, len(head) - 3, 4))]
        return next((_BRANDS[brand] for brand in brands if brand in _BRANDS), "")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            # "P6" and "BM" begin texts too.
            fits = {"PPM": head[2:3].isspace(), "BMP": head[6:10] == bytes(4)}.get(kind, True)
            return kind if fits else ""
    return ""


@dataclass(frozen=True)
class Scale:
    """What values of more than eight bits become: ``[0, top]`` is ``[0, 255]``.

    Attributes:
        integer, real: the top of images of whole numbers, and of real ones; None: not known.
    """

    integer: int | None = None
    real: float | None = None

    def of(self, image: Image.Image) -> float | None:
        """The top for this image."""
        return self.real if image.mode == "F" else self.integer


class DeepImage(DataError):
    """An image of more than eight bits a channel whose range is not known."""


def decode(content: bytes, name: str, size: int, scale: Scale | None = None) -> Pixels:
    """An image file as uint8 ``[size, size, 3]``, upright, resized as in Torch7 if need be.

    Grey becomes three equal channels; what is transparent becomes white; of an animation the
    first frame counts. Only :data:`FORMATS` are decoded, by content; no program is started.

    Args:
        scale: what grey values of more than eight bits are taken to be.
    Raises:
        DeepImage: there are such values, and ``scale`` does not say what they are.
        DataError: not an image, truncated, or of more than 50 megapixels; the file is named.
    """
    return decode_sized(content, name, size, scale=scale)[0]


def decode_sized(
    content: bytes | Pixels,
    name: str,
    size: int,
    as_stored: bool = False,
    scale: Scale | None = None,
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
        with _opened(content, name) as image, _room(image):
            upright = image if as_stored else ImageOps.exif_transpose(image)
            if _is_deep(image):
                rgb = _shallow(upright, name, scale).convert("RGB")
            else:
                rgb = image.convert("RGB") if as_stored else _rgb(upright)
            return _stretched(rgb, size), image.size
    except _UNREADABLE as error:
        if isinstance(content, bytes) and is_html(content):
            raise html_error(name) from error
        raise DataError(f"{name} is not a readable image ({error}); get the file again") from error


@contextlib.contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    kind = format_of(content[:HEAD_BYTES])
    if kind and kind not in FORMATS:
        raise refused_format(name, kind)
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise DataError(
                f"{name} has {image.width}×{image.height} pixels, more than the "
                f"{MAX_PIXELS:,} accepted; replace or shrink it"
            )
        yield image


def refused_format(name: str, kind: str) -> DataError:
    """The refusal of a file in a format that is not decoded here."""
    return DataError(
        f"{name} is an image in the format {kind}, which is not read here; convert it to PNG or "
        f"JPEG (read are {', '.join(FORMATS)})"
    )


_large = threading.Lock()


def _room(image: Image.Image) -> contextlib.AbstractContextManager[object]:
    """Large images one at a time: one takes up to 15 bytes a pixel while it is decoded."""
    large = image.width * image.height > LARGE_PIXELS
    return _large if large else contextlib.nullcontext()


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def deep_top(content: bytes, name: str) -> tuple[str, float, float] | None:
    """Mode, smallest and largest value of an image of more than eight bits; None of others.

    Raises:
        DataError: as :func:`decode`.
    """
    try:
        with _opened(content, name) as image, _room(image):
            if not _is_deep(image):
                return None
            values = np.asarray(image)
            return image.mode, float(values.min()), float(values.max())
    except _UNREADABLE as error:
        raise DataError(f"{name} is not a readable image ({error}); get the file again") from error


def _shallow(image: Image.Image, name: str, scale: Scale | None) -> Image.Image:
    top = scale.of(image) if scale else None
    if top is None:
        raise DeepImage(
            f"{name} has grey values of more than eight bits, whose range is not known; save it "
            "with eight bits"
        )
    grey = np.asarray(image).astype(np.float32)
    if image.mode == "F" or top == 1:
        grey *= 255 / top
        np.rint(grey, out=grey)
    else:
        grey *= 256 / (top + 1)  # exact: 16 bits lose the lower 8
        np.floor(grey, out=grey)
    return Image.fromarray(grey.clip(0, 255, out=grey).astype(np.uint8))


def _stretched(rgb: Image.Image, size: int) -> Pixels:
    return resize(np.asarray(rgb, dtype=np.uint8), size)


def _rgb(image: Image.Image) -> Image.Image:
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
