"""``repro data check``: what a path holds and what is wrong; reads every image, writes nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repro.data.files.opening import open_source
from repro.data.files.sources import WebPage
from repro.data.mini_imagenet import colours, marks
from repro.data.mini_imagenet.copy import Copy, Groups
from repro.data.mini_imagenet.dataset import IMAGE_SIZE, decode_sized, in_threads
from repro.data.mini_imagenet.judging import Finding, Judgement, judge, some
from repro.data.mini_imagenet.known_copies import CONTENTS, known_files, pixels_digest
from repro.data.mini_imagenet.layouts import detect
from repro.data.mini_imagenet.ravi import Target, ravi
from repro.data.pack import SPLITS, Pixels
from repro.system.errors import DataError

# The published images hold eight pairs of equal ones: ImageNet has them under two names.
PUBLISHED_PAIRS = 8
_SHARE = 0.5  # of the reference images, to call a copy the published images or cropped ones


@dataclass(frozen=True)
class Report:
    """What was found at a path.

    Attributes:
        layout: in words; None when it could not even be listed.
        split: the copy's own split in words.
        counts: the copy's own split to class to number of images.
        image_sizes: "width×height" to number of images.
        known: what the copy is known to be, if it is.
    """

    path: Path
    layout: str | None = None
    split: str | None = None
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    image_sizes: Mapping[str, int] = field(default_factory=dict)
    known: tuple[str, ...] = ()
    pixels_digest: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether a pack can be made of it."""
        return self.layout is not None and not any(item.refused for item in self.findings)

    def describe(self) -> dict[str, Any]:
        """For machines."""
        return {
            "path": str(self.path),
            "accepted": self.accepted,
            "layout": self.layout,
            "split": self.split,
            "counts": {split: dict(classes) for split, classes in self.counts.items()},
            "image_sizes": dict(self.image_sizes),
            "known": list(self.known),
            "pixels_digest": self.pixels_digest,
            "findings": [vars(item) for item in self.findings],
        }

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{self.path}: {self.layout or 'nothing that can be read'}"]
        for split, classes in self.counts.items():
            sizes = sorted(set(classes.values()))
            per_class = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
            told.append(
                f"  {split or 'without a split'}: {len(classes)} classes, "
                f"{sum(classes.values()):,} images ({per_class} a class)"
            )
        if self.split is not None:
            told.append(f"  split: {self.split}")
        if self.image_sizes:
            common = Counter(self.image_sizes).most_common(3)
            more = f", {len(self.image_sizes) - 3} other sizes" * (len(self.image_sizes) > 3)
            shown = ", ".join(f"{size} ({n:,})" for size, n in common)
            told.append(f"  image sizes, px: {shown}{more}")
        told += [f"  known: {what}" for what in self.known]
        for item in sorted(self.findings, key=lambda item: not item.refused):
            told.append(f"  {'wrong' if item.refused else 'note'}: {item.text}")
        told.append(
            "accepted: `repro data prepare mini-imagenet --data "
            f"{self.path}` packs it in Ravi's split"
            if self.accepted
            else "refused: no pack can be made of it"
        )
        return told


def examine(
    root: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
    target: Target | None = None,
    references: Mapping[str, marks.Marks] | None = None,
    of_colours: Mapping[str, colours.Colour] | None = None,
) -> Report:
    """Read a copy whole and say what it is; a copy that is wrong is a report too.

    Args:
        progress: called with images done and in all.
        target: what it should be; Ravi's split by default.
        references: marks of images that it should hold; those of the published ones by default.
        of_colours: mean colours that its classes should have; the published ones by default.
    """
    if references is None:
        references = marks.published() if target is None else {}
    if of_colours is None:
        of_colours = colours.published() if target is None else {}
    target = target or ravi()
    try:
        with open_source(root, target.classes) as source:
            copy = detect(source, target)
            judged = judge(copy, target)
            seen = _look(copy, judged, progress)
        known = [f"{name} is {what}" for name, what in known_files(root).items()]
    except DataError as error:
        code = "html" if isinstance(error, WebPage) else "unreadable-copy"
        return Report(root, findings=(Finding(code, f"{error}.", True),))
    found = [*judged.findings, *_image_findings(judged, seen, references)]
    if seen.means.exchanged(of_colours):
        text = colours.EXCHANGED[0].upper() + colours.EXCHANGED[1:]
        found.append(Finding("exchanged-colours", f"{text}.", True))
    digest = None
    if not judged.refusals and not seen.broken:
        digest = pixels_digest(seen.digests[name] for name in _order(judged))
        known += [CONTENTS[digest]] if digest in CONTENTS else []
    return Report(
        root, copy.layout, judged.split, _counts(copy.groups),
        {f"{w}×{h}": n for (w, h), n in seen.sizes.most_common()},
        tuple(known), digest, tuple(found),
    )  # fmt: skip


def _counts(groups: Groups) -> dict[str, dict[str, int]]:
    order = [*(split for split in SPLITS if split in groups), *sorted(groups.keys() - set(SPLITS))]
    return {
        split: {class_id: len(names) for class_id, names in groups[split].items()}
        for split in order
    }


def _order(judged: Judgement) -> list[str]:
    return [
        name for classes in judged.plan.values() for names in classes.values() for name in names
    ]


@dataclass
class _Seen:
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    digests: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, marks.Marks] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)
    means: colours.Means = field(default_factory=colours.Means)


def _look(copy: Copy, judged: Judgement, progress: Callable[[int, int], None]) -> _Seen:
    def work(
        content: bytes | Pixels, name: str
    ) -> tuple[bytes, marks.Marks, colours.Colour, tuple[int, int]] | str:
        try:
            pixels, size = decode_sized(content, name)
        except DataError as error:
            return str(error)
        digest = hashlib.sha256(pixels.tobytes()).digest()
        return digest, marks.mark(pixels), colours.mean(pixels), size

    seen, names = _Seen(), _order(judged)
    class_of = {
        name: class_id
        for classes in judged.plan.values()
        for class_id, its in classes.items()
        for name in its
    }
    for done, (name, result) in enumerate(in_threads(copy, names, work), 1):
        if isinstance(result, str):
            seen.broken[name] = result
        else:
            seen.digests[name], seen.marks[name], colour, size = result
            seen.means.add(class_of[name], colour)
            seen.sizes[size] += 1
        if done % 600 == 0 or done == len(names):
            progress(done, len(names))
    return seen


def _image_findings(
    judged: Judgement, seen: _Seen, references: Mapping[str, marks.Marks]
) -> list[Finding]:
    found = []
    if seen.broken:
        first = next(iter(seen.broken.values()))
        text = f"{len(seen.broken):,} images cannot be read ({some(sorted(seen.broken))}): {first}."
        found.append(Finding("unreadable-images", text, True))
    same: dict[bytes, list[str]] = {}
    for name, digest in seen.digests.items():
        same.setdefault(digest, []).append(name)
    twice = [names for names in same.values() if len(names) > 1]
    if twice:
        shown = some([" = ".join(names[:3]) for names in twice])
        text = f"{len(twice):,} images are there more than once ({shown})"
        if len(twice) == PUBLISHED_PAIRS and all(len(names) == 2 for names in twice):
            text += "; ImageNet itself has these eight pairs under two names"
        found.append(Finding("duplicated-images", f"{text}.", False))
    by_class = {
        class_id: np.stack([seen.marks[name] for name in names if name in seen.marks])
        for classes in judged.plan.values()
        for class_id, names in classes.items()
        if any(name in seen.marks for name in names)
    }
    found += _cropping(seen.sizes, *marks.shares(by_class, references), bool(references))
    return found


def _cropping(
    sizes: Counter[tuple[int, int]], whole: float, cropped: float, compared: bool
) -> list[Finding]:
    if not sizes:
        return []
    if compared and whole < _SHARE:
        if whole + cropped >= _SHARE:
            text = (
                f"The images are already cropped: of the published images that were looked for, "
                f"{100 * whole:.0f}% are there whole and {100 * cropped:.0f}% only their middle; "
                "numbers will differ from those of the whole, stretched images."
            )
            return [Finding("cropped-images", text, False)]
        text = (
            f"Of the published images that were looked for, only {100 * whole:.0f}% are there "
            "(shrunk in whatever way): these are other images of the same classes."
        )
        return [Finding("other-images", text, False)]
    (width, height), n = sizes.most_common(1)[0]
    if n == sizes.total() and width == height != IMAGE_SIZE:
        text = (
            f"All images are {width}×{height}: cropped or stretched already; they are shrunk "
            f"once more to {IMAGE_SIZE}×{IMAGE_SIZE}."
        )
        return [Finding("resized-images", text, False)]
    return []
