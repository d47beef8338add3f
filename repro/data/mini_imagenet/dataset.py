"""mini-ImageNet with Ravi's split, from whatever copy a user has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

from repro.data.files import decoding
from repro.data.files.opening import open_source
from repro.data.mini_imagenet import colours
from repro.data.mini_imagenet.copy import Copy
from repro.data.mini_imagenet.judging import judge
from repro.data.mini_imagenet.layouts import LAYOUTS as LAYOUTS
from repro.data.mini_imagenet.layouts import detect
from repro.data.mini_imagenet.ravi import Target, ravi
from repro.data.pack import Pixels, release
from repro.data.pack_builder import SplitPlan, build_pack
from repro.system.errors import DataError

IMAGE_SIZE = 84  # px; the authors' loader stretches whatever size it finds
_CHUNK = 256  # images read ahead of the decoders
_AHEAD_BYTES = 2**24  # and what they may take

T = TypeVar("T")
_log = logging.getLogger(__name__)


def decode_sized(content: bytes | Pixels, name: str) -> tuple[Pixels, tuple[int, int]]:
    """An image as uint8 ``[84, 84, 3]``, as the file has it, and its own width and height, px.

    Raises:
        DataError: as :func:`repro.data.files.decoding.decode`.
    """
    return decoding.decode_sized(content, name, IMAGE_SIZE, as_stored=True)


def in_threads(
    copy: Copy, names: Collection[str], work: Callable[[bytes | Pixels, str], T]
) -> Iterator[tuple[str, T]]:
    """``work(content, name)`` of every image, in the order in which they are cheap to read."""
    with ThreadPoolExecutor(2) as pool:  # decoding releases the interpreter's lock
        images = copy.images(names)
        while part := list(_ahead(images)):
            called = [name for name, _ in part]
            results = pool.map(work, (content for _, content in part), called)
            yield from zip(called, results, strict=True)


def _ahead(images: Iterator[tuple[str, bytes | Pixels]]) -> Iterator[tuple[str, bytes | Pixels]]:
    """The next images that are read ahead of the decoders: few where they are large."""
    left = _AHEAD_BYTES
    for name, content in islice(images, _CHUNK):
        yield name, content
        left -= len(content) if isinstance(content, bytes) else content.nbytes
        if left <= 0:
            return


def prepare(
    root: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    target: Target | None = None,
    references: Mapping[str, colours.Colour] | None = None,
) -> Path:
    """Look at a copy and build its pack; returns the pack's folder.

    Args:
        progress: called with images done and in all.
        target: what it should be; Ravi's split by default.
        references: mean colours that its classes should have; the published ones by default.
    Raises:
        DataError: nothing or the wrong thing is there; named, with counts, and no pack is left.
    """
    if references is None:
        references = colours.published()
    target, means = target or ravi(), colours.Means()
    with open_source(root, target.classes) as source:
        copy = detect(source, target)
        judged = judge(copy, target)
        for refusal in judged.refusals:
            raise DataError(
                f"{root}: {refusal.text.removesuffix('.')} (`repro data check {root}` lists "
                f"all problems)"
            )
        for finding in judged.findings:
            _log.warning("%s: %s", root, finding.text)
        done = 0

        def work(content: bytes | Pixels, name: str) -> tuple[Pixels, colours.Colour]:
            image, _ = decode_sized(content, name)
            return image, colours.mean(image)

        def filler(classes: Mapping[str, list[str]]) -> Callable[[Pixels], None]:
            def fill(array: Pixels) -> None:
                nonlocal done
                items = [(name, c) for c, names in classes.items() for name in names]
                rows = {name: (row, c) for row, (name, c) in enumerate(items)}
                for name, (image, colour) in in_threads(copy, list(rows), work):
                    row, class_id = rows[name]
                    array[row] = image
                    means.add(class_id, colour)
                    done += 1
                    if done % 600 == 0 or done == target.n_image:
                        progress(done, target.n_image)
                        release(array)

            return fill

        plans = {
            split: SplitPlan(
                tuple(classes),
                tuple(map(len, classes.values())),
                filler(classes),
            )
            for split, classes in judged.plan.items()
        }
        origin = f"{root.resolve()} ({copy.layout}; its own split: {judged.split})"

        def notes() -> list[str]:
            colours.refuse_exchanged(means, references, root)
            return []

        return build_pack("mini-imagenet", IMAGE_SIZE, plans, origin, notes)
