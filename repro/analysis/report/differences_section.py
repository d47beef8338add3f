"""The report's matrix of paired differences between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from repro.analysis.compare.pairs import Comparison, compare, with_holm
from repro.analysis.compare.sides import Side
from repro.analysis.statistics.intervals import Interval
from repro.analysis.text import class_text, fixed, p_text, percent_interval, share
from repro.papers.catalogue import order
from repro.papers.method_names import OUTSIDE_MARK

if TYPE_CHECKING:
    from repro.records import Record

SHORT = {
    "finetune": "Fine-tune",
    "nearest_neighbor": "Near. neigh.",
    "matching_net": "MN",
    "matching_net_fce": "MN FCE",
    "meta_lstm": "LSTM",
    "proto_net": "ProtoNet",
    "proto_net_wide": "Proto. wide",
    "maml": "MAML",
    "fomaml": "FOMAML",
    "pretrained_cosine": "Cosine",
    "pretrained_logistic": "Logistic",
}
MAX_SHORT = 12  # characters
LEVEL = 0.05
STRONG = 0.15  # a difference of this size has the deepest colour


@dataclass(frozen=True)
class Difference:
    """One field of the matrix; ``depth`` 0 to 1 is the strength of its colour."""

    text: str
    clear: bool
    sign: str
    depth: float

    @property
    def shade(self) -> float:
        """The depth with its sign: -1 to 1."""
        return {"plus": self.depth, "minus": -self.depth}.get(self.sign, 0.0)


@dataclass(frozen=True)
class Matrix:
    """Row minus column on the same episodes, in points; pairs are a row each, in numbers."""

    k_shot: int
    methods: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Difference, ...]], ...]
    pairs: tuple[tuple[str, ...], ...]


def ordered(records: Sequence[Record], k_shot: int) -> list[Record]:
    """The records of one shot in the table's order."""
    found = [record for record in records if record.k_shot == k_shot]
    return sorted(found, key=lambda record: order(record.method))


def short(method: str, title: str) -> str:
    """A row's name for narrow columns; that of an outside row stays marked."""
    if title.endswith(OUTSIDE_MARK):
        return short(method, title.removesuffix(OUTSIDE_MARK)) + OUTSIDE_MARK
    cut = title if len(title) <= MAX_SHORT else f"{title[: MAX_SHORT - 1].rstrip()}…"
    return SHORT.get(method, cut)


def _comparable(one: Record, other: Record) -> bool:
    return (
        one.n_episode == other.n_episode
        and one.digests.get("episodes") == other.digests.get("episodes")
        and one.tested_images == other.tested_images
    )


def _field(interval: Interval | None, p_value: float) -> Difference:
    if interval is None:
        return Difference("other episodes", False, "same", 0.0)
    return Difference(
        percent_interval(interval, signed=True).replace("± ", "±\u00a0"),
        p_value < LEVEL,
        "plus" if interval.mean > 0 else "minus",
        round(min(1.0, abs(interval.mean) / STRONG), 2),
    )


def _in_numbers(pair: Comparison) -> tuple[str, ...]:
    return (
        f"{pair.first.label} minus {pair.second.label}",
        percent_interval(pair.interval, signed=True).replace("± ", "±\u00a0"),
        class_text(pair.class_half_width).replace("± ", "±\u00a0"),
        p_text(pair.p_holm),
        p_text(pair.paired.p_sign_flip),
        share(pair.paired.won),
        fixed(pair.paired.effect_size, 2, "+"),
        share(pair.paired.narrower),
    )


def sides(records: Sequence[Record], k_shot: int) -> list[Side]:
    """All seeds of each method at a shot, in the table's order."""
    found: dict[str, list[Record]] = {}
    for record in ordered(records, k_shot):
        found.setdefault(record.method, []).append(record)
    return [Side(listed[0].title, tuple(listed)) for listed in found.values()]


def by_shot(records: Sequence[Record]) -> dict[int, list[Side]]:
    """The sides at each shot."""
    return {k: sides(records, k) for k in sorted({record.k_shot for record in records})}


def compared(of: Mapping[int, Sequence[Side]]) -> dict[tuple[int, int, int], Comparison]:
    """All pairs of sides that saw the same episodes, by shot and the places of the two.

    Holm's correction is over all of them.
    """
    keys = [
        (shot, i, j)
        for shot, found in of.items()
        for i, j in combinations(range(len(found)), 2)
        if _comparable(found[i].records[0], found[j].records[0])
    ]
    listed = with_holm([compare(of[shot][i], of[shot][j]) for shot, i, j in keys])
    return dict(zip(keys, listed, strict=True))


def matrices(records: Sequence[Record]) -> list[Matrix]:
    """Paired differences of all methods at each shot; none where one method alone was run."""
    sides_of = by_shot(records)
    pairs = compared(sides_of)

    def field(shot: int, i: int, j: int) -> Difference:
        if i == j:
            return Difference("·", False, "same", 0.0)
        found = pairs.get((shot, min(i, j), max(i, j)))
        if found is None:
            return _field(None, 1.0)
        interval = found.interval
        if i > j:
            interval = Interval(-interval.mean, interval.half_width)
        return _field(interval, found.p_holm)

    return [
        Matrix(
            shot,
            tuple(side.records[0].method for side in found),
            tuple(
                (side.records[0].method, tuple(field(shot, i, j) for j in range(len(found))))
                for i, side in enumerate(found)
            ),
            tuple(_in_numbers(pair) for key, pair in pairs.items() if key[0] == shot),
        )
        for shot, found in sides_of.items()
        if len(found) > 1
    ]
