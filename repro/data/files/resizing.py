"""Resizing as Torch7's ``image.scale`` in its mode "bilinear" does it, each axis on its own.

Where an axis shrinks, a new pixel is the mean of the area that it covers; where it grows, a new
pixel is interpolated linearly, the corners held in place. All sums are of integers and rounded
once, so the same image becomes the same bytes on every machine.

Source: torch/image, generic/image.c, ``scaleLinear_rowcol`` (which computes in float32).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from repro.data.pack import Pixels

_LARGE = 2**22  # values: of more, numpy's ``reduceat`` would make eight times larger copies
Sums = npt.NDArray[np.int64]


def resize(pixels: Pixels, size: int) -> Pixels:
    """uint8 ``[height, width, 3]`` to ``[size, size, 3]``; of this size already: the same bytes."""
    if pixels.shape[:2] == (size, size):
        return pixels
    if pixels.shape[1] > pixels.shape[0]:  # the longer axis first: what is between stays small
        return np.ascontiguousarray(resize(pixels.swapaxes(0, 1), size).swapaxes(0, 1))
    rows, over_rows = _resize_rows(pixels, size)
    columns, over_columns = _resize_rows(rows.swapaxes(0, 1), size)
    over = over_rows * over_columns
    rounded = (2 * columns + over) // (2 * over)
    return np.ascontiguousarray(rounded.swapaxes(0, 1).astype(np.uint8))


def _resize_rows(values: npt.NDArray[np.integer], n_new: int) -> tuple[Sums, int]:
    """Sums ``[n_new, ...]`` for ``values`` ``[n_old, ...]``, and what they are to be divided by."""
    n_old = len(values)
    if n_old >= n_new:
        # In units of 1/n_new of an old row, a new row covers n_old: whole rows and two parts.
        first, part = np.divmod(np.arange(n_new + 1) * n_old, n_new)
        if values.size < _LARGE:
            whole = np.add.reduceat(values, first[:-1], axis=0, dtype=np.int64)
        else:
            parts = (values[a:b] for a, b in pairwise(first))
            whole = np.stack([part.sum(axis=0, dtype=np.int64) for part in parts])
        edge = _scaled(values[first.clip(max=n_old - 1)], part)
        return n_new * whole + edge[1:] - edge[:-1], n_old
    if n_old == 1:
        return np.repeat(values.astype(np.int64), n_new, axis=0), 1
    first, part = np.divmod(np.arange(n_new) * (n_old - 1), n_new - 1)
    second = (first + 1).clip(max=n_old - 1)
    sums = _scaled(values[first], n_new - 1 - part) + _scaled(values[second], part)
    return sums, n_new - 1


def _scaled(values: npt.NDArray[np.integer], factors: Sums) -> Sums:
    shape = (-1, *(1,) * (values.ndim - 1))
    return values.astype(np.int64) * factors.reshape(shape)
