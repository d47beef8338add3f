"""Results compared in pairs, as objects that show themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from repro.analysis.compare.formats import HEADER, format_pairs, notes, row
from repro.analysis.compare.pairs import Comparison, all_pairs
from repro.analysis.compare.power_answers import PairPower, of_pair
from repro.analysis.compare.sides import Side
from repro.analysis.results import Results, html_table
from repro.analysis.selection import Selection, select
from repro.records import Record, check_revision
from repro.system.errors import RecordError, UsageError

if TYPE_CHECKING:
    import pandas as pd


class Comparisons(Sequence[Comparison]):
    """Pairs of results on the same episodes: first minus second.

    ``pairs[0]`` is the first: its ``interval`` (mean and half-width of the difference, fractions,
    95%), its p-values ``p`` and ``p_holm``, and ``paired`` with the rest.
    """

    def __init__(self, pairs: Iterable[Comparison]) -> None:
        self._pairs = list(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> Comparison: ...
    @overload
    def __getitem__(self, index: slice) -> Comparisons: ...
    def __getitem__(self, index: int | slice) -> Comparison | Comparisons:
        return Comparisons(self._pairs[index]) if isinstance(index, slice) else self._pairs[index]

    def format(self, style: str) -> str:
        """As ``text``, ``markdown`` or ``json``.

        Raises:
            UsageError: another style.
        """
        return format_pairs(self._pairs, style)

    def to_frame(self) -> pd.DataFrame:
        """A pandas DataFrame, a row per pair, with the names of ``repro compare --format json``.

        Differences and shares are fractions.
        """
        import pandas as pd

        return pd.DataFrame([pair.content() for pair in self._pairs])

    def power(self, margin: float = 0.01, seed_sd: float = 0.01) -> list[PairPower]:
        """How many episodes and seeds tell each pair apart, as ``repro power``.

        Args:
            margin: a difference that matters, a fraction. seed_sd: standard deviation between
                training seeds, a fraction, assumed where neither side has several.

        >>> import repro
        >>> results = repro.results("results", dataset="mini-imagenet")
        >>> (answer,) = repro.compare(results["meta_lstm", 5], results["finetune", 5]).power()
        >>> answer.n_episode, answer.sizes[0].kind
        (600, 'measured')
        """
        return [of_pair(pair, margin, seed_sd) for pair in self._pairs]

    def __repr__(self) -> str:
        return self.format("text")

    def _repr_html_(self) -> str:
        rows = [
            (f"{pair.dataset}, {pair.k_shot}-shot", *row(pair)) for pair in self._pairs
        ]  # fmt: skip
        return html_table([("", *HEADER), *rows], (0, 1), notes(self._pairs))


def compare(
    *sides: Results | Record, recipe: str | None = None, budget: str | None = None
) -> Comparisons:
    """Compare results episode by episode: every pair, first minus second, as ``repro compare``.

    A side is what one method was measured to be on a data set at a shot; of several records the
    largest budget counts, and all seeds of it together (the interval then covers seeds, too).

    Args:
        sides: results or records; results of several methods are several sides.
        recipe, budget: only these.
    Raises:
        RecordError: there are no two sides, or they have different images or episodes.
        UsageError: a side is neither results nor a record.

    >>> import repro
    >>> results = repro.results("results", dataset="mini-imagenet")
    >>> pairs = repro.compare(results["meta_lstm", 5], results["nearest_neighbor", 5])
    >>> f"{100 * pairs[0].interval.mean:+.2f} points"
    '+5.13 points'
    """
    for one in sides:
        if not isinstance(one, Results | Record):
            raise UsageError(
                f"expected are results or records, not {one!r}; take them from "
                'repro.results("runs"), for instance results["nearest_neighbor", 5]'
            )
    given = [Results([side]) if isinstance(side, Record) else side for side in sides]
    groups: dict[tuple[str, int], list[Side]] = {}
    for results in given:
        for side in _sides(results, recipe, budget):
            record = side.records[0]
            groups.setdefault((record.tested_on, record.k_shot), []).append(side)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        single = [group[0] for group in groups.values()]
        if len(single) < 2 or len(given) < 2:
            raise RecordError(
                "there are no two records to compare at the same shot; give two or more"
            )
        several = [single]  # as asked for, and refused with what differs
    return Comparisons(all_pairs([_distinct(group) for group in several]))


def _sides(results: Results, recipe: str | None, budget: str | None) -> list[Side]:
    """What is shown of each data set, method and shot."""
    found = []
    for dataset in dict.fromkeys(record.dataset for record in results):
        mine = list(results.filter(dataset=dataset))
        steps = {record.at_step for record in mine}  # of one milestone only, that is the side
        at_step = steps.pop() if len(steps) == 1 else None
        several = len(mine) > 1
        chosen = (
            select(mine, recipe, budget, at_step=at_step) if several else Selection(tuple(mine))
        )
        cells: dict[tuple[str, int], list[Record]] = {}
        for record in chosen.records:
            cells.setdefault((record.method, record.k_shot), []).append(record)
        for (method, k_shot), shown in cells.items():
            left_out = [
                x for x in chosen.left_out if (x.record.method, x.record.k_shot) == (method, k_shot)
            ]
            found.append(Side(method, tuple(shown), tuple(left_out)))
    if not found:
        for record in results:
            check_revision(record)
        raise RecordError("one of the sides has no records; filter for less or run more cells")
    return found


def _distinct(group: Sequence[Side]) -> list[Side]:
    """The sides, with their folders in the labels that two of them would share."""
    labels = [side.label for side in group]
    return [
        side
        if labels.count(side.label) == 1
        else replace(side, label=f"{side.label} {side.records[0].path.name}")
        for side in group
    ]
