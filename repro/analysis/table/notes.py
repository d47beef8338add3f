"""Title and notes of a table: what ± covers, and why cells are not comparable."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.analysis.selection import measured_here
from repro.analysis.statistics.seeds import EPISODES, TWO_SEEDS
from repro.analysis.table.cell import NOT_RUN, Cell
from repro.analysis.table.row_notes import (
    known,
    named,
    of_the_paper,
    other_rows,
    seed_notes,
    unreported,
)
from repro.analysis.table.verdicts import NOT_COMPARABLE
from repro.analysis.text import margin_text, p_text, percent, seeds_text
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
    parts.append(seeds_text({record.seed for record in records}))
    measured = [cell for cell in cells if cell.measured is not None and cell.in_paper]
    n_apart = sum(cell.verdict in (NOT_COMPARABLE, "") for cell in measured)
    told = ", ".join(parts)
    if not n_apart:
        return told
    which = "" if n_apart == len(measured) else "in part "
    return f"{told}: {which}{NOT_COMPARABLE} with the paper"


CLASSES = (
    "± classes is a 95% interval over the choice of the test classes (delete-one-class jackknife; "
    "wide where classes differ little). ± is for other episodes of the same classes, ± classes for "
    "other classes. Where one training seed was run, ± covers no other; ± classes never does."
)


def covering(cells: Sequence[Cell]) -> list[str]:
    """What the ± of measured cells covers: one sentence for those of one seed, one for others."""
    one = [c for c in cells if c.estimate and c.estimate.covers == EPISODES]
    more = [c for c in cells if c.estimate and c.estimate.covers != EPISODES]
    told = []
    if one or not more:
        told.append(
            f"{'With one seed ± is' if more else '± is'} a 95% interval (1.96 s/√n) over the draw "
            "of episodes from these classes with this one trained model; verdicts rest on it and "
            "are about these checkpoints."
        )
    if more:
        few = any(len(cell.seeds) == 2 for cell in more)
        told.append(
            f"{'With several ± is' if one else '± is'} a 95% interval over training seeds and test "
            "episodes, crossed (two-way random effects, Satterthwaite)."
            + (f" {TWO_SEEDS}." if few else "")
        )
    told.append(CLASSES)
    return told


def left_out_note(left_out: Sequence[LeftOut]) -> list[str]:
    """Which records of the cells shown are not shown, each with its reason."""
    return [f"Left out: {'; '.join(map(str, left_out))}."] if left_out else []


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
        "; where we ran several seeds, it adds their variance, and once more for the paper's one "
        "seed"
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
        which = "" if len(by_reason) == 1 else f" ({named(found)})"
        told.append(f"Not comparable{which}: {reason}.")
    apart = [line for cell in cells for line in (cell, *cell.further) if line.apart]
    told += [
        f"Shown apart, not as the row's own number: {c.title} {c.k_shot}-shot, {c.apart}, "
        f"{c.steps} steps" + (f" ({c.reason})." if c.reason else ".")
        for c in apart
    ]
    told += [sentence for cell in cells if (sentence := known(cell, records))]
    told += unreported(cells, of)
    told += other_rows(records, of)
    told += of_the_paper(of, cells)
    here = measured_here(records)
    recipes = {json.dumps(r.config.get("recipe"), sort_keys=True) for r in here}
    if len(recipes) > len({record.recipe_name for record in here}):
        told.append("The records differ in switches of the recipe although its name is the same.")
    return tuple(told)
