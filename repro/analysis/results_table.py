"""The paper's table and the check of verdicts, from results."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
from typing import Any

from repro.analysis.results import Results, html_table, split_of
from repro.analysis.selection import at_shots, select
from repro.analysis.table import check as checks
from repro.analysis.table import table1 as tables
from repro.analysis.table.formats import MARKDOWN_LEFT, markdown_rows, unit
from repro.analysis.table.verdicts import MARGIN
from repro.papers import shelf
from repro.records import Record
from repro.records.task import Task
from repro.system.errors import RecordError, UsageError, unknown


class ShownTable(tables.Table):
    """A table that shows itself, in a terminal as text and in a notebook as HTML."""

    def __repr__(self) -> str:
        return self.format("text")

    def _repr_html_(self) -> str:
        title = f"<p><b>{html.escape(self.title)}</b> {html.escape(unit(self))}</p>"
        return title + html_table(markdown_rows(self), MARKDOWN_LEFT, self.notes)


@dataclass(frozen=True, repr=False)
class Check:
    """Verdicts in words; ``bool(check)`` says whether the paper was reproduced.

    Attributes:
        failures: why it was not, by the rules of ``repro check --strict``.
    """

    lines: tuple[str, ...]
    failures: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.failures

    def __repr__(self) -> str:
        return "\n".join(self.lines)


def table1(
    results: Results | Iterable[Record],
    dataset: str | None = None,
    recipe: str | None = "authors-code",
    budget: str | None = None,
    seed: int | None = None,
    margin: float = 100 * MARGIN,
    paper: str = shelf.DEFAULT,
    shots: Collection[int] = (),
    **task: Any,
) -> ShownTable:
    """Table 1 of the paper beside what was measured, with a verdict per cell.

    It is the table of ``repro table``: of each cell the largest budget, all seeds of it together.
    ``table.cells`` are its cells, ``table.format("latex")`` and others its text.

    Args:
        dataset: which of the results; may be left out where they are of one.
        recipe: None: any. budget, seed: only these.
        margin: of equivalence with the paper, in points.
        paper: its key or file, as after ``--paper``.
        shots: only these; by default all.
        task: ``n_way``, ``n_query`` or ``test_dataset``, where there are records of several;
            without, the paper's sizes on the own data set.
    Raises:
        RecordError: there is no such record. UsageError: several data sets, and none is named; or
        no such paper.

    >>> import repro
    >>> table = repro.table1(repro.results("results"), dataset="mini-imagenet")
    >>> for cell in table.cells[2:4]:
    ...     print(cell.title, cell.k_shot, cell.verdict)
    Baseline-nearest-neighbor 1 not distinguishable
    Baseline-nearest-neighbor 5 higher
    """
    mine, dataset = _of_one(results, dataset)
    chosen = select(mine, recipe, budget, seed, _checked(task))
    if not chosen.records:
        raise RecordError(
            f"no record of {dataset} has recipe {recipe}"
            + (f" and budget {budget}" if budget else "")
            + "; the results' own repr shows what is there"
        )
    of, wanted = shelf.find(paper).table(dataset), sorted(shots)
    chosen = at_shots(chosen, wanted)
    built = tables.build(
        chosen.records, dataset, margin / 100, chosen.left_out, chosen.apart, of, wanted
    )
    return ShownTable(**vars(built))


def check(
    results: Results | Iterable[Record],
    dataset: str | None = None,
    recipe: str | None = "authors-code",
    budget: str | None = None,
    seed: int | None = None,
    margin: float = 100 * MARGIN,
    paper: str = shelf.DEFAULT,
    **task: Any,
) -> Check:
    """Each cell of Table 1 in words, as ``repro check``: measured, reported, difference, verdict.

    Args:
        dataset, recipe, budget, seed, margin, paper, task: as :func:`repro.table1`.
    Raises:
        RecordError, UsageError: as :func:`repro.table1`.
    """
    mine, dataset = _of_one(results, dataset)
    of = shelf.find(paper).table(dataset)
    lines, failures = checks.reported(
        mine, dataset, recipe, budget, seed, margin / 100, of, _checked(task)
    )
    return Check(tuple(lines), tuple(failures))


def _checked(task: dict[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(Task)]
    for name in task:
        if name not in known:
            raise unknown("argument", name, known)
    return {name: value for name, value in task.items() if value is not None}


def _of_one(results: Iterable[Record], dataset: str | None) -> tuple[list[Record], str]:
    """The records of one data set, and its name."""
    if isinstance(results, str):
        raise UsageError(f'expected are results, not {results!r}; take repro.results("runs")')
    found = list(results)
    names = sorted({record.dataset for record in found})
    if not found:
        raise RecordError("there are no records; filter for less or run more cells")
    if dataset is None:
        if len(names) > 1:
            raise UsageError(f"name the data set, one of {', '.join(names)}: dataset=…")
        dataset = names[0]
    if dataset not in names:
        raise unknown("dataset", dataset, names)
    mine = [record for record in found if record.dataset == dataset]
    other = sorted({split_of(r) for r in mine} - {"test"})
    if other:
        raise UsageError(
            f"the table is of meta-test episodes, and there are records of {', '.join(other)}; "
            "leave those out"
        )
    return mine, dataset
