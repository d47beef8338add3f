"""Notes on rows: where they are from, what is known of them, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.analysis.statistics.seeds import COVERAGE
from repro.analysis.statistics.strays import stray_note
from repro.analysis.table.cell import NOT_IN_PAPER, NOT_RUN, Cell
from repro.analysis.text import percent, spread_text
from repro.papers import shelf
from repro.papers.catalogue import order

if TYPE_CHECKING:
    from repro.papers.pack import Table
    from repro.records import Record


def other_rows(records: Sequence[Record], of: Table) -> list[str]:
    """Where rows that the paper does not have are from, and which of them are transductive."""
    published: list[str] = []
    unknown: list[str] = []
    outside: list[str] = []
    transductive: list[str] = []
    backbones: dict[str, None] = {}  # that were not trained here
    seen: set[str] = set()
    for record in sorted(records, key=lambda record: order(record.method)):
        row = dict(record.config.get("row") or {})
        source = dict(row.get("source") or {})
        if record.method in of.keys or record.method in seen:
            continue
        where = "built in"
        frozen = dict(row.get("features") or {})
        if frozen:
            backbone = str(frozen.get("backbone"))
            where += f", on frozen features of {backbone}"
            if not backbone.startswith(("pixels of ", "pretrain, ")):
                backbones[str(frozen.get("name"))] = None
        if source:
            package = source.get("package") or "a file"
            where = f"{source.get('target')} of {package}, source {str(source.get('digest'))[:8]}"
        seen.add(record.method)
        if record.outside:
            origin = source.get("target")
            outside.append(f"{record.title}{f' ({origin})' if origin else ''}")
        sources = [
            found[0].source
            for shown in records
            if shown.method == record.method and shown.task.reported_in(of)
            if (found := shelf.elsewhere(of, shown.method, shown.k_shot))
        ]
        if record.outside:
            pass
        elif sources:
            published.append(f"{record.title} ({sources[0]})")
        else:
            unknown.append(f"{record.title} ({where})")
        if row.get("transductive"):
            transductive.append(record.title)
    told = []
    if published:
        told.append(
            f"{NOT_IN_PAPER.capitalize()}, so reported is what their own authors published: "
            f"{'; '.join(published)}."
        )
    if unknown:
        told.append(
            f"{NOT_IN_PAPER.capitalize()}, so with neither a reported number nor a verdict: "
            f"{'; '.join(unknown)}."
        )
    told += outside_note(outside)
    if backbones:
        told.append(
            "What these backbones were trained on is not known here; the test classes may have "
            f"been among it: {', '.join(backbones)}."
        )
    if transductive:
        told.append(
            "Transductive (predictions read all queries of an episode together, which helps): "
            f"{', '.join(transductive)}."
        )
    return told


def of_the_paper(of: Table, cells: Sequence[Cell]) -> list[str]:
    """Which rows the paper copied, which cannot be run here, and what the missing ones cost."""

    def listed(what: str, rows: Sequence[tuple[str, str]]) -> list[str]:
        return [f"{what}: {'; '.join(f'{name} ({why})' for name, why in rows)}."] if rows else []

    copied = [
        (row.title, f"{row.copied_from}{'; ' if row.note else ''}{row.note}")
        for row in of.rows
        if row.copied_from
    ]
    missing = {cell.method for cell in cells if cell.verdict == NOT_RUN}
    costs = [(row.title, row.cost) for row in of.rows if row.cost and row.key in missing]
    return [
        *listed("Copied by the paper from others", copied),
        *listed("Not run; at the paper's length, in hours of one thread", costs),
        *listed("Cannot be run here", [(row.title, row.why) for row in of.rows if row.why]),
    ]


def outside_note(named: Sequence[str]) -> list[str]:
    """What imported rows are; nothing where there are none."""
    if not named:
        return []
    return [
        "Outside: predictions made elsewhere and imported. Accuracies are counted from them; "
        f"nothing was measured here, and their training is unknown: {'; '.join(named)}."
    ]


def seed_notes(cells: Sequence[Cell]) -> list[str]:
    """What verdicts rest on that are from few seeds."""
    told = []
    one = [
        f"{c.title} {c.k_shot}-shot {spread_text(c.judged.holds_to_seed_sd)}"
        for c in cells
        if c.judged and c.judged.holds_to_seed_sd is not None
    ]
    if one:
        told.append(
            "One seed each: higher or lower is about these checkpoints. It holds while the "
            "standard deviation between seeds is less than, in points: " + "; ".join(one) + "."
        )
    for c in cells:
        told += stray_note(f"{c.title} {c.k_shot}-shot", c.seeds, c.seed_means)
    if any(len(c.seeds) == 2 for c in cells):
        told.append("Two seeds: a narrow interval means that the two happened to agree.")
    if any(len(c.seeds) > 1 and c.judged for c in cells):
        told.append(
            "The published number is from one training seed. Its seeds are assumed to vary as much "
            f"as ours. If this holds, intervals of a difference cover {COVERAGE} of ours."
        )
    return told


def unreported(cells: Sequence[Cell], of: Table) -> list[str]:
    """Rows of the paper at a size of which it has no number, and so nothing to be held against."""
    found = [c for c in cells if c.measured is not None and c.in_paper and c.reported is None]
    if not found:
        return []
    task = found[0].task
    what = f" ({task.told or f'{task.n_way}-way'})" if not task.reported_in(of) else ""
    return [
        f"No number is reported for {named(found)}{what}, so there is neither a difference nor a "
        "verdict; numbers of other shots, ways or data sets are not compared."
    ]


def known(cell: Cell, records: Sequence[Record]) -> str:
    """What is known of a cell whose re-runs differ by how queries are normalised; else empty."""
    transductive = [rerun.published for rerun in cell.reruns if rerun.published.transductive]
    if cell.reported is None or not transductive:
        return ""
    told = [f"reported {percent(cell.reported.mean)}"]
    here = [] if cell.reason else [r for r in records if r.method == cell.method and
                                   r.k_shot == cell.k_shot]  # fmt: skip
    ours = [float(r.accuracy.mean()) for r in here]
    theirs = [r.published.mean for r in cell.reruns if not r.published.transductive]
    inductive = [*ours, *theirs]
    if inductive:
        sources = ["measured here"] if ours else []
        sources += ["public re-runs"] if theirs else []
        span = " to ".join(dict.fromkeys(map(percent, (min(inductive), max(inductive)))))
        told.append(f"inductive {span} ({', '.join(sources)})")
    told += [
        f"transductive {percent(line.measured.mean)} (measured here)"
        for line in cell.further
        if line.apart == "transductive" and line.measured
    ]
    told += [
        f"transductive {percent(published.mean)} ({published.source}: {published.other_protocol})"
        for published in transductive
    ]
    return f"Known results of {cell.title} {cell.k_shot}-shot: {'; '.join(told)}."


def named(cells: Sequence[Cell]) -> str:
    return ", ".join(f"{cell.title} {cell.k_shot}-shot" for cell in cells)
