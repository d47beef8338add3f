"""A table of a paper beside what was measured, with a verdict per cell.

Numbers and row order are those of the paper's pack. A verdict is given only where the protocol
is the paper's; everything else is printed and called not comparable, with the reason. A cell that
was run with several seeds shows all of them. Rows that the paper does not have come after its own:
held against their own authors' numbers where another pack has them, else without a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from repro.analysis.seeds import ignoring_seed, stacked
from repro.analysis.selection import LeftOut, select_records
from repro.analysis.statistics.classes import class_half_width, episode_classes
from repro.analysis.statistics.seeds import estimate
from repro.analysis.table.cell import NOT_RUN, Cell, Rerun, TableContent
from repro.analysis.table.formats import FORMATS, WIDTH, latex_escape
from repro.analysis.table.notes import notes, title
from repro.analysis.table.verdicts import (
    EQUIVALENT,
    HIGHER,
    LOWER,
    MARGIN,
    NOT_COMPARABLE,
    SAME,
    adjusted,
    judge,
    rerun_reason,
)
from repro.analysis.text import percent_interval
from repro.papers import paper, references, shelf
from repro.papers.catalogue import order
from repro.papers.pack import Plain
from repro.papers.pack import Table as PaperTable
from repro.papers.reported import Reported
from repro.records.task import PAPERS, Task
from repro.system.errors import RecordError, unknown

if TYPE_CHECKING:
    from repro.records import Record


OF = paper.PACK.table()
__all__ = [
    "EQUIVALENT",
    "FORMATS",
    "HIGHER",
    "LOWER",
    "NOT_COMPARABLE",
    "NOT_RUN",
    "SAME",
    "WIDTH",
    "Cell",
    "Rerun",
    "Table",
    "build",
    "latex_escape",
    "not_comparable",
    "select_records",
]


@dataclass(frozen=True)
class Table(TableContent):
    """The table, which can be shown in several formats."""

    def format(self, name: str) -> str:
        """The table as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

        Raises:
            UsageError: another format.
        """
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
        return FORMATS[name](self)


def _published(of: PaperTable, key: str, k_shot: int) -> tuple[Reported | None, dict[str, Plain]]:
    """What is reported of a cell, and the protocol behind it where it is not the table's.

    Of a row that the paper does not have, that is what another pack has of it.
    """
    row = of.row(key)
    if row is not None:
        return of.reported(row, k_shot), row.facts(k_shot)
    return shelf.elsewhere(of, key, k_shot) or (None, {})


def not_comparable(record: Record, dataset: str, of: PaperTable = OF) -> str:
    """Why a record cannot be held against what was published of its row; empty when it can."""
    reasons = []
    if dataset.partition("@")[0] != of.dataset:
        reasons.append(f"{dataset} is not {of.dataset}")
    if record.task.test_dataset:
        reasons.append(f"trained on {record.dataset}, {record.task.told}")
    if record.budget_name != "paper":
        reasons.append(f"budget {record.budget_name} is not the paper's")
    if record.unfinished:
        reasons.append(f"trained for {record.n_step:,} of {record.training['n_step']:,} steps")
    if record.at_step is not None:
        reasons.append(f"a milestone of a training, at {record.steps.partition(' (')[0]} steps")
    n_way, n_query = record.config.get("n_way"), record.config.get("n_query")
    reported, protocol = _published(of, record.method, record.k_shot)
    if reported is not None and not math.isfinite(reported.half_width):
        reasons.append("published without an interval")
    if of.other_protocol:
        reasons.append(of.other_protocol)
    if protocol or of.n_query is None or of.row(record.method) is None:
        if n_way != of.n_way:
            reasons.append(f"episodes of {n_way} classes, not {of.n_way}")
        ours = {**dict(record.config.get("settings") or {}), "n_query": n_query}
        reasons += references.other_protocol(protocol, ours)
        if "n_query" not in protocol and of.n_query not in (None, n_query):
            reasons.append(f"episodes of {n_query} queries, not {of.n_query}")
        if record.transductive and "query_batch_norm" not in protocol:
            reasons.append("transductive: query batch norm is query, not running")
        return "; ".join(reasons)
    if n_way != of.n_way or n_query != of.n_query:
        reasons.append(
            f"episodes of {n_way} classes and {n_query} queries, not {of.n_way} and {of.n_query}"
        )
    batch_norm = dict(record.config.get("recipe") or {}).get("query_batch_norm")
    if batch_norm != "running":
        told = "transductive: " if record.transductive else ""
        reasons.append(f"{told}query batch norm is {batch_norm}, not running")
    return "; ".join(reasons)


def _cell(
    method: str, title: str, k_shot: int, records: Sequence[Record], dataset: str, margin: float,
    of: PaperTable, task: Task,
) -> Cell:  # fmt: skip
    in_paper = method in of.keys
    reported, _ = _published(of, method, k_shot)
    published_reruns = of.reruns(method, k_shot)
    if not task.reported_in(of):
        reported, published_reruns = None, ()
    if not records:
        return Cell(method, k_shot, reported, title=title, in_paper=in_paper, task=task)
    first = records[0]
    accuracy = stacked(records)
    measured = estimate(accuracy)  # single episodes, as the paper has them, however many seeds
    reason = not_comparable(first, dataset, of)
    reruns = tuple(
        Rerun(published, judge(measured, published, why, margin))
        for published in published_reruns
        for why in [rerun_reason(published, first.recipe_name, reason)]
    )
    return Cell(
        method,
        k_shot,
        reported,
        first.n_episode,
        None if first.outside else first.n_step,
        "" if first.outside else first.budget_name,
        tuple(record.seed for record in records),
        measured,
        judge(measured, reported, reason, margin) if reported else None,
        reruns,
        float(accuracy.std(axis=1, ddof=1).mean()) if first.n_episode > 1 else None,
        class_half_width(accuracy, episode_classes(first)),
        tuple(accuracy.mean(1).tolist()),
        title,
        in_paper,
        first.apart,
        first.steps,
        same_images=first.tested_on == of.dataset == dataset.partition("@")[0],
        progress=f"{first.n_step:,} of {int(first.training['n_step']):,} steps"
        if first.unfinished
        else "",
        task=task,
        images=first.digests.get("data", ""),
    )


def result(record: Record) -> str:
    """One record in a line, for people."""
    measured = percent_interval(estimate(stacked([record])).interval)
    if record.outside:
        return (
            f"{record.title} {record.k_shot}-shot, seed {record.seed}, imported: {measured} % over "
            f"{record.n_episode:,} episodes ({record.path})"
        )
    progress = f", trained for {record.n_step:,} steps" if record.unfinished else ""
    return (
        f"{record.told}, seed {record.seed}, budget {record.budget_name}: "
        f"{measured} % over {record.n_episode:,} episodes{progress} ({record.path})"
    )


def _further(
    cell: Cell, apart: Sequence[Record], dataset: str, margin: float, of: PaperTable
) -> tuple[Cell, ...]:
    """The tests that are apart from a cell, all seeds of one config together."""
    groups: dict[str, dict[int, Record]] = {}
    for record in apart:
        if (record.method, record.k_shot) == (cell.method, cell.k_shot):
            group = groups.setdefault(ignoring_seed(record), {})
            if record.seed not in group or record.when > group[record.seed].when:
                group[record.seed] = record
    return tuple(
        replace(
            _cell(
                cell.method,
                cell.title,
                cell.k_shot,
                [group[seed] for seed in sorted(group)],
                dataset,
                margin,
                of,
                cell.task,
            ),
            reruns=(),
        )
        for group in groups.values()
    )


def build(
    records: Sequence[Record],
    dataset: str,
    margin: float = MARGIN,
    left_out: Sequence[LeftOut] = (),
    apart: Sequence[Record] = (),
    of: PaperTable = OF,
    shots: Sequence[int] = (),
) -> Table:
    """The table of records already selected (:func:`repro.analysis.selection.select`).

    Args:
        of: the table of the paper that they are held against.
        left_out: records of its cells that are not shown; they are named below it.
        apart: what stands beside the cells, in lines of its own.
        shots: columns of the table; by default the paper's and those of the records.
    Raises:
        RecordError: two records for one cell that differ in more than the seed, or records of
            several tasks.
    """
    tasks = {record.task: record for record in records}
    if len(tasks) > 1:
        one, other, *_ = tasks.values()
        raise RecordError(
            f"{one.path} and {other.path} are of different tasks ({one.task.told or '5-way'}; "
            f"{other.task.told or '5-way'}); a table is of one"
        )
    task = next(iter(tasks), PAPERS)
    chosen: dict[tuple[str, int], list[Record]] = {}
    for record in records:
        group = chosen.setdefault((record.method, record.k_shot), [])
        if group and (
            ignoring_seed(group[0]) != ignoring_seed(record)
            or record.seed in [r.seed for r in group]
        ):
            raise RecordError(
                f"{group[0].path} and {record.path} are records of the same cell of the table; "
                "choose one by recipe, budget or seed"
            )
        group.append(record)
    # Of what nobody reported, a shot that was not run has nothing to show.
    reportable = task.reported_in(of)
    usual = of.shots if reportable else tuple({record.k_shot for record in records})
    others = {record.method: record.title for record in records if record.method not in of.keys}
    cells = [
        _cell(method, title, k_shot, chosen.get((method, k_shot), ()), dataset, margin, of, task)
        for method, title in (of.titles | {m: others[m] for m in sorted(others, key=order)}).items()
        for k_shot in sorted({*(shots or (*usual, *(r.k_shot for r in records)))})
        if k_shot in (shots or usual) or (method, k_shot) in chosen
    ]
    with_holm = iter(adjusted([cell.judged for cell in cells if cell.judged]))
    shown = tuple(
        replace(
            c,
            judged=next(with_holm) if c.judged else None,
            further=_further(c, apart, dataset, margin, of),
        )
        for c in cells
    )
    told = notes(shown, records, margin, left_out, of)
    return Table(title(shown, records, dataset, of, task), shown, told, of, task)
