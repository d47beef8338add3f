"""Title and notes of a table: what ± covers, and why cells are not comparable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.analysis.selection import measured_here
from repro.analysis.statistics.seeds import EPISODES
from repro.analysis.statistics.strays import stray_note
from repro.analysis.table.cell import NOT_IN_PAPER, NOT_RUN, Cell
from repro.analysis.table.verdicts import NOT_COMPARABLE
from repro.analysis.text import margin_text, p_text, percent
from repro.papers import shelf
from repro.papers.catalogue import order
from repro.records.task import PAPERS, Task

if TYPE_CHECKING:
    from repro.analysis.selection import LeftOut
    from repro.papers.pack import Table
    from repro.records import Record


def title(
    cells: Sequence[Cell], records: Sequence[Record], dataset: str, of: Table, task: Task = PAPERS
) -> str:
    """What the table is of, and whether any of it can be held against the paper."""

    def named(word: str, values: set[str]) -> str:
        return f"{word}{'s' if len(values) > 1 else ''} {', '.join(sorted(values))}"

    parts = [f"{of.heading} on {dataset}" + (f", {task.told}" if task.told else "")]
    if not records:
        return f"{parts[0]}: {NOT_RUN}"
    here = measured_here(records)
    parts.append(named("recipe", {record.recipe_name for record in here}))
    parts.append(named("budget", {record.budget_name for record in here}))
    parts.append(_seeds({record.seed for record in records}))
    measured = [cell for cell in cells if cell.measured is not None and cell.in_paper]
    n_apart = sum(cell.verdict in (NOT_COMPARABLE, "") for cell in measured)
    told = ", ".join(parts)
    if not n_apart:
        return told
    which = "" if n_apart == len(measured) else "in part "
    return f"{told}: {which}{NOT_COMPARABLE} with the paper"


def _seeds(seeds: set[int]) -> str:
    """``seed 3``, ``seeds 0, 1, 2`` or ``seeds 0 to 99``."""
    listed = sorted(seeds)
    if len(listed) > 5 and listed[-1] - listed[0] == len(listed) - 1:
        return f"seeds {listed[0]} to {listed[-1]}"
    return f"seed{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"


def _named(cells: Sequence[Cell]) -> str:
    return ", ".join(f"{cell.title} {cell.k_shot}-shot" for cell in cells)


CLASSES = (
    "± classes is a 95% interval over the choice of the test classes (delete-one-class jackknife; "
    "wide where classes differ little). ± is for other episodes of the same classes, ± classes for "
    "other classes. Neither covers another training seed where only one was run."
)


def covering(cells: Sequence[Cell]) -> list[str]:
    """What the ± of measured cells covers: one sentence for those of one seed, one for others."""
    one = [c for c in cells if c.estimate and c.estimate.covers == EPISODES]
    more = [c for c in cells if c.estimate and c.estimate.covers != EPISODES]
    told = []
    if one or not more:
        which = f" ({_named(one)})" if more else ""
        told.append(
            f"±{which} is a 95% interval (1.96 s/√n) over the draw of episodes from "
            "these classes with this one trained model; verdicts rest on it and are about these "
            "checkpoints."
        )
    if more:
        counts = sorted({len(cell.seeds) for cell in more})
        which = f" ({_named(more)})" if one else ""
        few = " With two seeds it may cover as little as 87% instead of 95%." if 2 in counts else ""
        told.append(
            f"±{which} is a 95% interval over training seeds ({', '.join(map(str, counts))}) and "
            f"test episodes, crossed (two-way random effects, Satterthwaite).{few}"
        )
    told.append(CLASSES)
    return told


def _others(records: Sequence[Record], of: Table) -> list[str]:
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
        found = shelf.elsewhere(of, record.method, record.k_shot)
        if not record.task.has_reported:
            found = None
        if record.outside:
            pass
        elif found is None:
            unknown.append(f"{record.title} ({where})")
        else:
            published.append(f"{record.title} ({found[0].source})")
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


def _of_the_paper(of: Table, cells: Sequence[Cell]) -> list[str]:
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
        f"{c.title} {c.k_shot}-shot {percent(c.judged.holds_to_seed_sd, digits=1)}"
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
            "as ours. If this holds, intervals of a difference cover 90 to 98% with two seeds of "
            "ours, 93 to 97% with three, 94 to 97% with five."
        )
    return told


def unreported(cells: Sequence[Cell]) -> list[str]:
    """Rows of the paper at a size of which it has no number, and so nothing to be held against."""
    found = [c for c in cells if c.measured is not None and c.in_paper and c.reported is None]
    if not found:
        return []
    task = found[0].task
    what = f" ({task.told})" if not task.has_reported else ""
    return [
        f"No number is reported for {_named(found)}{what}, so there is neither a difference nor a "
        "verdict; numbers of other shots, ways or data sets are not compared."
    ]


def left_out_note(left_out: Sequence[LeftOut]) -> list[str]:
    """Which records of the cells shown are not shown, each with its reason."""
    return [f"Left out: {'; '.join(map(str, left_out))}."] if left_out else []


def known(cell: Cell, records: Sequence[Record]) -> str:
    """What is known of a cell whose re-runs differ by how queries are normalised; else empty."""
    transductive = [rerun.published for rerun in cell.reruns if rerun.published.transductive]
    if cell.reported is None or not transductive:
        return ""
    told = [f"reported {percent(cell.reported.mean)}"]
    here = [] if cell.reason else [r for r in records if r.method == cell.method and
                                   r.k_shot == cell.k_shot]  # fmt: skip
    ours = [float(r.accuracy.mean()) for r in here]
    earlier = [float(test["accuracy"]) for r in here for test in r.earlier_tests]
    theirs = [r.published.mean for r in cell.reruns if not r.published.transductive]
    inductive = [*ours, *earlier, *theirs]
    if inductive:
        sources = ["measured here"] if ours else []
        sources += ["earlier steps of that training"] if earlier else []
        sources += ["public re-runs"] if theirs else []
        span = " to ".join(dict.fromkeys(map(percent, (min(inductive), max(inductive)))))
        told.append(f"inductive {span} ({', '.join(sources)})")
    told += [
        f"transductive {percent(published.mean)} ({published.source}: {published.other_protocol})"
        for published in transductive
    ]
    return f"Known results of {cell.title} {cell.k_shot}-shot: {'; '.join(told)}."


def notes(
    cells: Sequence[Cell],
    records: Sequence[Record],
    margin: float,
    left_out: Sequence[LeftOut],
    of: Table,
) -> tuple[str, ...]:
    """What ± covers, how verdicts are made, and why cells are not comparable."""
    seeded = any(len(cell.seeds) > 1 for cell in cells)
    added = (
        ", and for several seeds of ours their variance, for the paper's one seed too"
        if seeded
        else ""
    )
    told = [
        *covering(cells),
        "The interval of a difference (measured − reported) adds both errors in quadrature"
        f"{added}. within: the smallest margin, in points, at which two one-sided tests (5%) call "
        "the two equivalent. Each cell gets the first verdict that applies: not comparable; higher "
        f"or lower (the interval excludes 0 and the margin of {margin_text(margin)} is not met); "
        "equivalent within that margin; not distinguishable.",
    ]
    judged = [(c, c.judged) for c in cells if c.judged]
    checks = [
        f"{c.title} {c.k_shot}-shot {percent(low)} to {percent(high)}"
        for c in cells
        if c.estimate and c.estimate.bootstrap
        for low, high in [c.estimate.bootstrap]
    ]
    if checks:
        told.append(f"As a check, the pigeonhole bootstrap's 95% bounds: {'; '.join(checks)}.")
    told += seed_notes(cells)
    p_values = [
        f"{c.title} {c.k_shot}-shot {p_text(j.p_holm)}" for c, j in judged if j.p_holm is not None
    ]
    if p_values:
        told.append(f"p after Holm over the comparable cells: {'; '.join(p_values)}.")
    told += left_out_note(left_out)
    by_reason: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.reason:
            by_reason.setdefault(cell.reason, []).append(cell)
    for reason, found in by_reason.items():
        which = "" if len(by_reason) == 1 else f" ({_named(found)})"
        told.append(f"Not comparable{which}: {reason}.")
    apart = [line for cell in cells for line in (cell, *cell.further) if line.apart]
    told += [
        f"Shown apart, not as the row's own number: {c.title} {c.k_shot}-shot, {c.apart}, "
        f"{c.steps} steps" + (f" ({c.reason})." if c.reason else ".")
        for c in apart
    ]
    told += [sentence for cell in cells if (sentence := known(cell, records))]
    told += unreported(cells)
    told += _others(records, of)
    told += _of_the_paper(of, cells)
    here = measured_here(records)
    recipes = {json.dumps(r.config.get("recipe"), sort_keys=True) for r in here}
    if len(recipes) > len({record.recipe_name for record in here}):
        told.append("The records differ in switches of the recipe although its name is the same.")
    return tuple(told)
