"""Marks that identify an image after another kind of shrinking, and distinguish cropped ones.

A mark says, on a 16×16 raster of grey means, whether the right neighbour is brighter: 256 bits, of
which shrinking by another filter changes at most 20 or so, a crop 40 to 120, and another image 90.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from repro.data.pack import Pixels

N_BYTE = 32
SAME = 25  # bits of 256
VARIANTS = ("whole", "4:3", "3:4", "3:2", "4:3 of 1.15", "3:4 of 1.15")
Marks = npt.NDArray[np.uint8]
_IMAGES = Path(__file__).with_name("ravi_images.npz")


def mark(image: Pixels) -> Marks:
    """The mark of pixels ``[height, width, 3]``: uint8 ``[32]``."""
    grey = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    values = np.asarray(grey, dtype=np.int16)
    return np.packbits(values[:, 1:] > values[:, :-1])


def variants(image: Pixels) -> Marks:
    """Marks of a stretched square image and of what central crops of its original would show.

    Returns:
        uint8 ``[6, 32]``: the whole, then crops of originals of 4:3, 3:4 and 3:2, then crops of
        the first two after enlarging the shorter side by 1.15, as some published scripts do.
    """
    found = [mark(image)]
    for aspect, enlarged in ((4 / 3, 1), (3 / 4, 1), (3 / 2, 1), (4 / 3, 1.15), (3 / 4, 1.15)):
        size, short = image.shape[0], round(image.shape[0] * enlarged)
        width, height = round(short * max(1, aspect)), round(short * max(1, 1 / aspect))
        whole = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        found.append(mark(np.asarray(whole.crop((left, top, left + size, top + size)))))
    return np.stack(found)


@functools.cache
def published() -> Mapping[str, Marks]:
    """Class to the marks of its first images: uint8 ``[n_reference, 6, 32]``."""
    with np.load(_IMAGES) as content:
        return dict(zip(map(str, content["class_ids"]), content["marks"], strict=True))


def shares(found: Mapping[str, Marks], references: Mapping[str, Marks]) -> tuple[float, float]:
    """How many of the reference images are there whole, and how many only cropped (fractions).

    Args:
        found: class to the marks of all of its images, uint8 ``[n_image, 32]``.
    """
    whole = cropped = n = 0
    for class_id, marks in references.items():
        n += len(marks)
        if class_id in found:
            # [n_reference, 6, n_image]: bits that differ
            bits = np.bitwise_count(marks[:, :, None] ^ found[class_id][None, None]).sum(-1)
            near = bits.min(-1) <= SAME
            whole += int(near[:, 0].sum())
            cropped += int((near[:, 1:].any(1) & ~near[:, 0]).sum())
    return (whole / n, cropped / n) if n else (0.0, 0.0)
