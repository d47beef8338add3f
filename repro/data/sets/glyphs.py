"""The embedded data set: 100 characters x 600 images, 28 x 28 RGB, no download.

Shapes come from one small file; everything else is integer arithmetic on seeded random words, so
that the pixels are the same on every machine and library version. The digest is checked when the
pack is built.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.data.pack import Pixels, cache_folder, check_pack, open_pack
from repro.data.pack_builder import SplitPlan, build_pack
from repro.system.errors import DataError
from repro.system.seeding import Stream, rng

IMAGE_SIZE = 28  # px
IMAGES_PER_CLASS = 600
SPLIT_SIZES = {"train": 64, "val": 16, "test": 20}
EXPECTED_DIGEST = "168a73de23d9910e55b8c9e9990d45061b16c2e552510db7abdf9ef38b7587db"

_UNIT = 12  # bits of the fraction of a source coordinate
_FRACTION = 6  # bits of a bilinear weight
_MAX_ROTATION = 30  # degrees
_OWN_COLOUR = 110  # share of the class in the background colour, in 1/256
_N_DRAW = 16  # random words per image besides its noise
Ints = npt.NDArray[np.int64]


def _load_shapes() -> dict[str, npt.NDArray[Any]]:
    source = resources.files("repro.data.sets") / "glyph_shapes.npz"
    with resources.as_file(source) as path, np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def _strokes(shapes: Ints) -> Ints:
    """Each shape thinned, as drawn, and thickened: ``[..., 3, size, size]``, 0..255."""
    grey = shapes.astype(np.int64) * 17
    padded = np.pad(grey, [(0, 0)] * (grey.ndim - 2) + [(1, 1), (1, 1)])
    size = grey.shape[-1]
    near = [padded[..., y : y + size, x : x + size] for y, x in ((0, 1), (1, 0), (1, 2), (2, 1))]
    thin = (np.minimum.reduce(near) + grey) // 2
    thick = np.maximum.reduce([*near, grey])
    return np.stack([thin, grey, thick], axis=-3)


def _between(draws: npt.NDArray[np.uint64], low: int, high: int) -> Ints:
    """Whole numbers uniform in [low, high], from the words' upper 32 bits."""
    span = np.uint64(high - low + 1)
    scaled = ((draws >> np.uint64(32)) * span) >> np.uint64(32)
    numbers: Ints = scaled.astype(np.int64) + low
    return numbers


def _render(strokes: Ints, sine: Ints, class_index: int) -> Pixels:
    """The images of one class, uint8 ``[600, 28, 28, 3]``; strokes ``[n_face, 3, size, size]``."""
    n, size = IMAGES_PER_CLASS, strokes.shape[-1]
    stream = rng(0, Stream.GLYPHS, class_index)
    draws = stream.raw(n * _N_DRAW).reshape(_N_DRAW, n)
    face = _between(draws[0], 0, strokes.shape[0] - 1)
    stroke = _between(draws[1], 0, 2)
    angle = _between(draws[2], -_MAX_ROTATION, _MAX_ROTATION)
    step = (size << _UNIT) // _between(draws[3], 17, 27)  # source units per pixel
    stretch = _between(draws[4], 205, 307)  # of the width, in 1/256
    shear = _between(draws[5], -60, 60)  # in 1/256
    centre_x = _between(draws[6], -1024, 1024) + (27 << 8)  # half pixels in 1/512
    centre_y = _between(draws[7], -1024, 1024) + (27 << 8)

    # Inverse map from a pixel to the shape, in units of 2^-12 source pixels.
    sin, cos = sine[angle + 90], sine[90 - np.abs(angle) + 90]
    column = (np.arange(IMAGE_SIZE)[None, None, :] << 9) - centre_x[:, None, None]
    row = (np.arange(IMAGE_SIZE)[None, :, None] << 9) - centre_y[:, None, None]

    def rotated(first: Ints, second: Ints) -> Ints:
        turned: Ints = (first[:, None, None] * column + second[:, None, None] * row) >> 14
        steps: Ints = (turned * step[:, None, None]) >> 9
        return steps

    along, across = rotated(cos, sin), rotated(-sin, cos)
    middle = (size - 1) << (_UNIT - 1)
    x = (((along + ((across * shear[:, None, None]) >> 8)) * stretch[:, None, None]) >> 8) + middle
    y = across + middle
    ink = _bilinear(strokes[face, stroke], x, y)

    # Colours: a background with a gradient, a foreground away from it in every channel.
    # As in photographs, colour is a weak cue of the class: it pulls the background to its own.
    own = _between(stream.raw(3), 40, 215)
    drawn = np.stack([_between(draws[8 + c], 40, 215) for c in range(3)], axis=-1)
    base = (own * _OWN_COLOUR + drawn * (256 - _OWN_COLOUR)) >> 8
    sign = np.where(base > 127, -1, 1)
    flip = (draws[11][:, None] >> np.arange(60, 63, dtype=np.uint64)[None]) & np.uint64(1)
    away = _between(draws[12], 40, 125)[:, None] * np.where(flip == 1, 1, 2) // 2
    slope_x = _between(draws[13], -12, 12)[:, None, None]
    slope_y = _between(draws[14], -12, 12)[:, None, None]
    centred = np.arange(IMAGE_SIZE) * 2 - (IMAGE_SIZE - 1)
    gradient = (slope_x * centred[None, None, :] + slope_y * centred[None, :, None]) >> 4
    amplitude = _between(draws[15], 20, 80)
    n_value = n * IMAGE_SIZE * IMAGE_SIZE * 3
    octets = stream.raw(-(-n_value // 8)).astype("<u8").view(np.uint8)[:n_value]
    noise = octets.reshape(n, IMAGE_SIZE, IMAGE_SIZE, 3).astype(np.int64) - 128
    image = base[:, None, None, :] + gradient[..., None]
    image = image + ((ink[..., None] * (sign * away)[:, None, None, :]) >> 8)
    image = image + ((noise * amplitude[:, None, None, None]) >> 7)
    pixels: Pixels = np.clip(image, 0, 255).astype(np.uint8)
    return pixels


def _bilinear(shape: Ints, x: Ints, y: Ints) -> Ints:
    """``shape`` ``[n, size, size]`` at source coordinates ``[n, 28, 28]``; 0 outside."""
    n, size = shape.shape[0], shape.shape[-1]
    padded = np.pad(shape, [(0, 0), (1, 2), (1, 2)])
    one = 1 << _FRACTION
    x0, y0 = (np.clip(v >> _UNIT, -1, size) + 1 for v in (x, y))
    fx, fy = ((v >> (_UNIT - _FRACTION)) & (one - 1) for v in (x, y))
    picture = np.arange(n)[:, None, None]

    def tap(dy: int, dx: int) -> Ints:
        found: Ints = padded[picture, y0 + dy, x0 + dx]
        return found

    top = tap(0, 0) * (one - fx) + tap(0, 1) * fx
    bottom = tap(1, 0) * (one - fx) + tap(1, 1) * fx
    value: Ints = (top * (one - fy) + bottom * fy) >> (2 * _FRACTION)
    return value


def prepare(progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """The pack, built when it is not in the cache yet (141 MB, some seconds).

    Raises:
        DataError: the pixels are not the published ones.
    """
    final = cache_folder() / "packs" / f"glyphs-{EXPECTED_DIGEST[:12]}"
    with contextlib.suppress(DataError):
        return check_pack(final)
    stored = _load_shapes()
    strokes, done = _strokes(stored["shapes"]), 0
    plans: dict[str, SplitPlan] = {}
    first = 0

    def filler(start: int, n_class: int) -> Callable[[Pixels], None]:
        def fill(array: Pixels) -> None:
            nonlocal done
            for place in range(n_class):
                rows = slice(place * IMAGES_PER_CLASS, (place + 1) * IMAGES_PER_CLASS)
                array[rows] = _render(strokes[start + place], stored["sine"], start + place)
                done += IMAGES_PER_CLASS
                progress(done, 100 * IMAGES_PER_CLASS)

        return fill

    for split, n_class in SPLIT_SIZES.items():
        points = stored["code_points"][first : first + n_class]
        ids = tuple(f"U+{int(point):04X}" for point in points)
        plans[split] = SplitPlan(ids, (IMAGES_PER_CLASS,) * n_class, filler(first, n_class))
        first += n_class
    pack = build_pack("glyphs", IMAGE_SIZE, plans, "embedded")
    digest = open_pack(pack, "test").digest
    if digest != EXPECTED_DIGEST:
        raise DataError(
            f"the glyphs built here have digest {digest[:12]}, expected {EXPECTED_DIGEST[:12]}; "
            f"the shapes file was changed: install repro again and delete {pack}"
        )
    return pack
