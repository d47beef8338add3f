"""Warnings about equal images under several names, above all in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from repro.data.files.decoding import first_few
from repro.data.pack import Pixels


class Repeats:
    """Collects the images of a data set as they are packed, from several threads."""

    def __init__(self) -> None:
        self._places: dict[bytes, list[tuple[str, str, str]]] = defaultdict(list)

    def add(self, split: str, class_id: str, file: str, pixels: Pixels) -> None:
        """One more image, as it is packed."""
        digest = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        self._places[digest].append((split, class_id, file))

    def notes(self) -> list[str]:
        """How many images are equal, within a class, across classes and across splits."""
        twice = sorted(sorted(places) for places in self._places.values() if len(places) > 1)
        if not twice:
            return []
        across = [places for places in twice if len({class_id for _, class_id, _ in places}) > 1]
        splits = [places for places in across if len({split for split, _, _ in places}) > 1]
        shown = [
            " = ".join(f"{class_id}/{file}" for _, class_id, file in places[:3])
            for places in (splits or across or twice)
        ]
        return [
            f"{len(twice):,} images are there more than once, {len(across):,} of them in several "
            f"classes and {len(splits):,} in several splits ({', '.join(first_few(shown))})"
        ]
