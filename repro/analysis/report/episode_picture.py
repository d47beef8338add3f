"""An episode as a picture, support beside query, as in the paper's Figure 1."""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from repro.data.pack import ImageSplit, Pixels
from repro.episodes import Episode
from repro.system.errors import UsageError

_GAP = 3  # px between images
_DIVIDER = 18  # px between support and query
_HEADER = 22  # px
IMAGENET = ("mini-imagenet",)


def could_be_committed(path: Path) -> bool:
    """Whether ``path`` is in a git work tree and not ignored there."""
    target = path.absolute().resolve()
    if not any((folder / ".git").exists() for folder in target.parents):
        return False
    git = shutil.which("git")
    if git is None:
        return True
    folder = next(parent for parent in target.parents if parent.is_dir())
    words = [git, "-C", str(folder), "check-ignore", "-q", str(target)]
    return subprocess.run(words, check=False, capture_output=True).returncode != 0


def refuse_committed(path: Path, dataset: str) -> None:
    """Refuse to write images of ImageNet where git would pick them up.

    Raises:
        UsageError: ``path`` is in a git work tree and not ignored there.
    """
    if dataset in IMAGENET and could_be_committed(path):
        raise UsageError(
            f"{path} is in a git repository and not ignored there, and images of ImageNet must "
            "never be committed; choose a file under runs/ or outside the repository"
        )


def _grid(images: Pixels, size: int) -> Image.Image:
    """``[n_row, n_column, height, width, 3]`` as one picture, images ``size`` px wide."""
    rows, columns = images.shape[:2]
    step = size + _GAP
    sheet = Image.new("RGB", (columns * step - _GAP, rows * step - _GAP), "white")
    for row in range(rows):
        for column in range(columns):
            one = Image.fromarray(np.ascontiguousarray(images[row, column]))
            if one.size != (size, size):
                one = one.resize((size, size), Image.Resampling.BICUBIC)
            sheet.paste(one, (column * step, row * step))
    return sheet


def draw(
    episode: Episode, split: ImageSplit, size: int | None = None, n_query: int | None = None
) -> Image.Image:
    """Support (left) and query (right), a row per class, titled.

    Args:
        size: px of an image's side; by default its own, at least 56.
        n_query: queries shown per class; all by default.
    """
    size = size or max(56, split.image_size)
    support = _grid(split.images[episode.support_rows], size)
    query = _grid(split.images[episode.query_rows[:, :n_query]], size)
    width = support.width + _DIVIDER + query.width
    # Room for both titles whatever the number of images.
    sheet = Image.new("RGB", (max(width, 220), support.height + _HEADER + _GAP), "white")
    sheet.paste(support, (0, _HEADER))
    sheet.paste(query, (support.width + _DIVIDER, _HEADER))
    ink = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    ink.text((2, 2), "support", fill="#222222", font=font)
    ink.text((support.width + _DIVIDER + 2, 2), "query", fill="#222222", font=font)
    middle = support.width + _DIVIDER // 2
    ink.line((middle, 4, middle, sheet.height - 2), fill="#767676", width=1)
    return sheet


def png(picture: Image.Image) -> bytes:
    """A PNG file without a date."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def data_uri(picture: Image.Image) -> str:
    """A JPEG as the source of an ``<img>``: small enough for a page with twenty of them."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=72, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
