"""mini-ImageNet with Ravi's split, from ``<split>/<WordNet id>/*`` folders or zips of them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from repro.data.images import SPLITS, Pixels, SplitPlan, build_pack
from repro.errors import DataError

IMAGE_SIZE = 84  # px; the authors' loader stretches whatever size it finds
IMAGES_PER_CLASS = 600
MAX_PIXELS = 50_000_000
# What Pillow raises for files that are no image, cut short, or bombs.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
MAX_FILE_BYTES = 64 * 2**20
# What zipfile raises for archives that are none, damaged, encrypted or of unknown compression.
_BAD_ZIP = (
    *(zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError),
    *(EOFError, KeyError, ValueError, UnicodeError, struct.error),
)
SUFFIXES = (".jpg", ".jpeg", ".png")
LAYOUTS = "<split>/<WordNet id>/*.jpg, or <split>.zip files of that, for train, val and test"

# Ravi & Larochelle 2017: 64, 16 and 20 classes.
_TRAIN = """
n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747 n02074367 n02089867
n02091831 n02101006 n02105505 n02108089 n02108551 n02108915 n02111277 n02113712 n02120079
n02165456 n02457408 n02606052 n02687172 n02747177 n02795169 n02823428 n02966193 n03017168
n03047690 n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684 n03527444
n03676483 n03838899 n03854065 n03888605 n03908618 n03924679 n03998194 n04067472 n04243546
n04251144 n04258138 n04275548 n04296562 n04389033 n04435653 n04443257 n04509417 n04515003
n04596742 n04604644 n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
n13133613
"""
_VAL = """
n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356 n02981792 n03075370
n03417042 n03535780 n03584254 n03770439 n03773504 n03980874 n09256479
"""
_TEST = """
n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165 n02219486 n02443484
n02871525 n03127925 n03146219 n03272010 n03544143 n03775546 n04146614 n04149813 n04418357
n04522168 n07613480
"""
RAVI_SPLIT = {
    "train": tuple(_TRAIN.split()),
    "val": tuple(_VAL.split()),
    "test": tuple(_TEST.split()),
}


@dataclass(frozen=True)
class Listing:
    """The images of one split: class id to file names, sorted, and how to read one."""

    files: dict[str, list[str]]
    read: Callable[[str], bytes]
    origin: Path


def _group(names: list[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES and len(path.parts) >= 2:
            files.setdefault(path.parts[-2], []).append(name)
    return {class_id: sorted(found) for class_id, found in sorted(files.items())}


def _list_split(root: Path, split: str) -> Listing:
    for name in (split, "validation") if split == "val" else (split,):
        folder, archive = root / name, root / f"{name}.zip"
        if folder.is_dir():
            found = [path.relative_to(root).as_posix() for path in folder.glob("*/*")]
            return Listing(_group(found), lambda name: (root / name).read_bytes(), folder)
        if archive.is_file():
            try:
                opened = zipfile.ZipFile(archive)
            except _BAD_ZIP as error:
                raise DataError(
                    f"{archive} is not a readable zip file ({error}); get it again"
                ) from error
            return Listing(_group(opened.namelist()), _member_reader(opened, archive), archive)
    raise DataError(
        f"no {split} split under {root}: neither a folder {split}/ nor {split}.zip is there; "
        f"accepted are {LAYOUTS}"
    )


def _member_reader(opened: zipfile.ZipFile, archive: Path) -> Callable[[str], bytes]:
    """Reads one file of an archive into memory; nothing is unpacked to disk."""

    def read(name: str) -> bytes:
        try:
            size = opened.getinfo(name).file_size
            if size <= MAX_FILE_BYTES:
                return opened.read(name)
        except _BAD_ZIP as error:
            raise DataError(f"{archive}: {name} cannot be read ({error}); get it again") from error
        raise DataError(
            f"{archive}: {name} would unpack to {size:,} bytes, more than the "
            f"{MAX_FILE_BYTES:,} accepted for an image; get it again"
        )

    return read


def _check_listing(split: str, listing: Listing) -> None:
    wanted, found = set(RAVI_SPLIT[split]), set(listing.files)
    if wanted != found:
        missing, extra = sorted(wanted - found), sorted(found - wanted)
        raise DataError(
            f"{listing.origin} is not the {split} split of Ravi & Larochelle: of its "
            f"{len(wanted)} classes {len(missing)} are missing{_some(missing)} and {len(extra)} "
            f"others are there{_some(extra)}; bring the copy with that split"
        )
    wrong = [c for c, files in listing.files.items() if len(files) != IMAGES_PER_CLASS]
    if wrong:
        raise DataError(
            f"{listing.origin}: every class has {IMAGES_PER_CLASS} images, but {len(wrong)} of "
            f"{len(wanted)} classes do not (first: {wrong[0]} with {len(listing.files[wrong[0]])})"
            "; unpack or get the copy again"
        )


def _some(names: list[str]) -> str:
    return f" (first: {names[0]})" if names else ""


def decode(content: bytes, name: str) -> Pixels:
    """An image file as uint8 ``[84, 84, 3]``, stretched bilinearly when its size differs.

    Raises:
        DataError: not an image, truncated, or of more than 50 megapixels; the file is named.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(
                    f"{name} has {image.width}×{image.height} pixels, more than the "
                    f"{MAX_PIXELS:,} accepted; replace or shrink it"
                )
            rgb = image.convert("RGB")
            if rgb.size != (IMAGE_SIZE, IMAGE_SIZE):
                rgb = rgb.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
            return np.asarray(rgb, dtype=np.uint8)
    except _UNREADABLE as error:
        raise DataError(f"{name} is not a readable image ({error}); get the file again") from error


def prepare(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Path:
    """Check a copy and build its pack; returns the pack's folder.

    Args:
        progress: called with images done and in all.
    Raises:
        DataError: nothing or the wrong thing is there; named, with counts, and no pack is left.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected one with {LAYOUTS}")
    listings = {split: _list_split(root, split) for split in SPLITS}
    for split, listing in listings.items():
        _check_listing(split, listing)
    total = sum(len(files) for one in listings.values() for files in one.files.values())
    done = 0

    def filler(listing: Listing) -> Callable[[Pixels], None]:
        names = [name for files in listing.files.values() for name in files]

        def fill(array: Pixels) -> None:
            nonlocal done
            with ThreadPoolExecutor(2) as pool:  # decoding releases the interpreter's lock
                for first in range(0, len(names), 600):
                    part = names[first : first + 600]
                    contents = [listing.read(name) for name in part]
                    for row, image in enumerate(pool.map(decode, contents, part), first):
                        array[row] = image
                    done += len(part)
                    progress(done, total)

        return fill

    plans = {
        split: SplitPlan(
            tuple(listing.files), tuple(map(len, listing.files.values())), filler(listing)
        )
        for split, listing in listings.items()
    }
    return build_pack("mini-imagenet", IMAGE_SIZE, plans, str(root.resolve()))


def describe(root: Path) -> list[str]:
    """What a folder holds, in plain words.

    Raises:
        DataError: it is not a copy that can be packed; the first reason is named.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; expected one with {LAYOUTS}")
    lines = []
    for split in SPLITS:
        listing = _list_split(root, split)
        _check_listing(split, listing)
        n_image = sum(map(len, listing.files.values()))
        lines.append(f"{split}: {len(listing.files)} classes, {n_image} images in {listing.origin}")
    return [*lines, "this is mini-ImageNet with Ravi's split; `repro data prepare` packs it"]
