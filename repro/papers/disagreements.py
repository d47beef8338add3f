"""Cells that publications print differently: papers against papers, and public re-runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from repro.papers.catalogue import BUILT_IN, order
from repro.papers.pack import Paper, Row
from repro.papers.reported import Reported


@dataclass(frozen=True)
class Printed:
    """A number in a publication.

    Attributes:
        source: the publication and the place in it.
        told: what is known of the number: copied, of another row or protocol; may be empty.
        rerun: whether it is a public re-run, and not the paper's own.
    """

    reported: Reported
    source: str
    told: str = ""
    rerun: bool = False


@dataclass(frozen=True)
class Disagreement:
    """One cell and every number that is printed for it."""

    dataset: str
    n_way: int
    k_shot: int
    method: str  # as the row is called
    printed: tuple[Printed, ...]

    @property
    def title(self) -> str:
        """The row's name; that of the paper where no method is the row's."""
        if self.method in BUILT_IN:
            return BUILT_IN[self.method].title
        return self.printed[0].source.rpartition(": ")[2]


def disagreements(papers: Iterable[Paper]) -> list[Disagreement]:
    """The cells of one data set, way, shot and row of which more than one number is printed.

    A row counts as what its paper calls it (``printed_as``), so that a copy under another row's
    name is seen.
    """
    found: dict[tuple[str, int, str, int], list[Printed]] = {}
    for paper in papers:
        for table in paper.tables:
            for row in table.rows:
                for name, k_shot, printed in _numbers(table.source, row):
                    key = (table.dataset, table.n_way, name, k_shot)
                    found.setdefault(key, []).append(printed)
    return [
        Disagreement(dataset, n_way, k_shot, name, _ordered(printed))
        for (dataset, n_way, name, k_shot), printed in sorted(
            found.items(), key=lambda item: (*item[0][:2], *order(item[0][2]), item[0][3])
        )
        if len({(p.reported.mean, p.reported.half_width) for p in printed}) > 1
    ]


def _ordered(printed: list[Printed]) -> tuple[Printed, ...]:
    """Papers first; a re-run that one of these papers prints itself is left out."""
    own = [p for p in printed if not p.rerun]

    def is_copy(rerun: Printed) -> bool:
        return any(
            p.source.startswith(f"{rerun.source}, ") and p.reported.mean == rerun.reported.mean
            for p in own
        )

    return (*own, *(p for p in printed if p.rerun and not is_copy(p)))


def _numbers(source: str, row: Row) -> Iterator[tuple[str, int, Printed]]:
    """What a row and its re-runs print: the name, the shot and the number."""
    copied = [f"copied from {row.copied_from}"] if row.copied_from else []
    told = "; ".join([*copied, *filter(None, [row.note])])
    for k_shot in row.shots:
        reported = row.cell(k_shot, source)
        if reported is not None:
            printed = Printed(reported, f"{source}: {row.title}", told)
            yield row.printed_as or row.key, k_shot, printed
    for rerun in row.reruns:
        for k_shot in row.shots:
            reported = rerun.cell(k_shot)
            if reported is not None:
                told = reported.other_protocol or f"recipe {reported.recipe}"
                printed = Printed(reported, reported.source, told, rerun=True)
                yield rerun.printed_as or row.key, k_shot, printed
