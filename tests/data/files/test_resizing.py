"""Resizing against areas and interpolations written out in float64."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from repro.data.files.decoding import decode
from repro.data.files.resizing import resize
from repro.system.seeding import Stream, rng


def pixels(height: int, width: int) -> npt.NDArray[np.uint8]:
    n = height * width * 3
    return rng(0, Stream.GLYPHS).raw(n).astype(np.uint8).reshape(height, width, 3)


def weights(n_old: int, n_new: int) -> npt.NDArray[np.float64]:
    """Of each old pixel in each new one, ``[n_new, n_old]``."""
    found = np.zeros((n_new, n_old))
    for i in range(n_new):
        if n_old > n_new:
            start, end = i * n_old / n_new, (i + 1) * n_old / n_new
            for j in range(n_old):
                overlap = min(end, j + 1) - max(start, j)
                found[i, j] = max(0.0, overlap) / (end - start)
        else:
            place = i * (n_old - 1) / max(1, n_new - 1)
            for j in range(n_old):
                found[i, j] = max(0.0, 1 - abs(place - j))
    return found


@pytest.mark.parametrize(
    ("height", "width"),
    [(375, 500), (168, 84), (105, 105), (85, 300), (84, 83), (32, 32), (50, 200), (1, 90), (2, 1)],
)
def test_shrinking_averages_the_area_and_enlarging_interpolates(height: int, width: int) -> None:
    image, size = pixels(height, width), 84
    rows, columns = weights(height, size), weights(width, size)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-12)
    expected = np.einsum("yi,xj,ijc->yxc", rows, columns, image.astype(np.float64), optimize=True)
    found = resize(image, size)
    assert found.dtype == np.uint8
    assert np.abs(found - expected).max() <= 0.5 + 1e-9  # rounded once, to the nearest


def test_halving_averages_blocks_of_four() -> None:
    image = pixels(168, 168)
    blocks = image.reshape(84, 2, 84, 2, 3).astype(np.float64).mean((1, 3))
    assert (resize(image, 84) == np.floor(blocks + 0.5)).all()


def test_an_image_of_the_right_size_keeps_its_bytes() -> None:
    image = pixels(84, 84)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    assert (decode(buffer.getvalue(), "a.png", 84) == image).all()


def test_image_files_of_another_size_are_resized_this_way() -> None:
    image = pixels(120, 90)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    assert (decode(buffer.getvalue(), "a.png", 84) == resize(image, 84)).all()
