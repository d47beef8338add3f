"""Checks of measured accuracies: against the paper, and against the published records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.analysis.seeds import block_size
from repro.analysis.selection import select
from repro.analysis.statistics.paired import compare_paired
from repro.analysis.table import table1
from repro.analysis.table.cell import NOT_IN_PAPER
from repro.analysis.table.notes import covering, left_out_note
from repro.analysis.table.row_notes import known, seed_notes, unreported
from repro.analysis.table.verdicts import FEWEST_SEEDS, MARGIN, NOT_COMPARABLE, Verdict
from repro.analysis.text import class_text, p_text, percent, percent_interval, points
from repro.records import other_revision

if TYPE_CHECKING:
    from repro.analysis.table.cell import Cell
    from repro.papers.pack import Table
    from repro.records import Record

# Largest |difference of mean accuracies| (fraction) of a re-run and its published record on other
# software or hardware. Training amplifies the last bits of a float, so two runs of one seed end
# in different models; the shorter the training and the test, the wider these scatter.
PINNED_TOLERANCE = {"smoke": 0.06, "quick": 0.03, "paper": 0.015}


def tolerance(budget_name: str) -> float:
    """The tolerance of a budget; ``quick-custom`` has quick's, a budget unknown the widest."""
    return PINNED_TOLERANCE.get(budget_name.removesuffix("-custom"), max(PINNED_TOLERANCE.values()))


def reported(
    records: Sequence[Record],
    dataset: str,
    recipe: str | None = "authors-code",
    budget: str | None = None,
    seed: int | None = None,
    margin: float = MARGIN,
    of: Table = table1.OF,
    task: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[list[str], list[str]]:
    """Per cell of a paper's table its verdict, and below it those against re-runs.

    Returns:
        The lines, and why the paper was not reproduced: its cells that were not run, are not
        comparable, or are higher or lower from three seeds on.
    """
    chosen = select(records, recipe, budget, seed, task)
    table = table1.build(chosen.records, dataset, margin, chosen.left_out, chosen.apart, of)
    lines = [table.title]
    for cell in table.cells:
        head = f"{cell.title:25} {cell.k_shot}-shot"
        head += f" ({cell.apart})" if cell.apart else ""
        told = "no reported number" if cell.in_paper else NOT_IN_PAPER
        if cell.reported:
            told = f"reported {percent_interval(cell.reported)}"
        if cell.reported and not cell.in_paper:
            told += f" by {cell.reported.source}"
        if cell.measured is None:
            lines.append(f"{head}  {cell.verdict}, {told}")
            continue
        seeds = f" ({len(cell.seeds)} seeds)" if len(cell.seeds) > 1 else ""
        if cell.class_half_width is not None:
            seeds += f" ({class_text(cell.class_half_width)} classes)"
        if cell.judged is None:
            what = "imported" if cell.outside else "measured"
            lines.append(f"{head}  {what} {percent_interval(cell.measured)}{seeds}, {told}")
            continue
        lines.append(
            f"{head}  measured {percent_interval(cell.measured)}{seeds}, {told}, "
            f"{sentence(cell.judged, cell.same_images)}"
        )
        lines += [
            f"    re-run ({rerun.published.source}) {percent_interval(rerun.published)}, "
            f"{sentence(rerun.judged, cell.same_images)}"
            for rerun in cell.reruns
        ]
        told_of = known(cell, chosen.records)
        lines += [f"    {told_of}"] if told_of else []
        lines += [
            f"    apart ({line.apart}, {line.steps} steps) measured "
            f"{percent_interval(line.measured)}, {sentence(line.judged, line.same_images)}"
            for line in cell.further
            if line.measured and line.judged
        ]
    lines += covering([cell for cell in table.cells if cell.measured is not None])
    lines += [
        *seed_notes(table.cells),
        *unreported(table.cells, of),
        *left_out_note(chosen.left_out),
    ]
    failures = [failure for cell in table.cells for failure in _strict(cell)]
    if not any(cell.reported for cell in table.cells):
        failures.append("no cell has a reported number")
    return lines, failures


def _strict(cell: Cell) -> list[str]:
    """Why a cell of the paper is not reproduced, for ``--strict``; a difference counts from
    :data:`FEWEST_SEEDS` seeds on."""
    if (
        not cell.in_paper
        or cell.reported is None
        or cell.verdict in (table1.SAME, table1.EQUIVALENT)
    ):
        return []
    if cell.verdict in (table1.HIGHER, table1.LOWER) and len(cell.seeds) < FEWEST_SEEDS:
        return []
    seeds = f" from {len(cell.seeds)} seeds" if len(cell.seeds) >= FEWEST_SEEDS else ""
    return [f"{cell.title} {cell.k_shot}-shot is {cell.verdict}{seeds}"]


def strict_lines(failures: Sequence[str]) -> list[str]:
    """What ``--strict`` says below the verdicts."""
    rule = (
        f"--strict: higher or lower counts from {FEWEST_SEEDS} training seeds on; one or two "
        "seeds say too little about others"
    )
    return [f"{rule}; {'; '.join(failures) if failures else 'nothing failed'}."]


def sentence(judged: Verdict, same_images: bool = True) -> str:
    """A verdict in words: difference, equivalence, p and label."""
    if not same_images:
        return f"{judged.label} ({judged.reason})"
    told = f"difference {percent_interval(judged.difference, signed=True)}"
    equivalent = "" if judged.label == NOT_COMPARABLE else "equivalent "
    told += f", {equivalent}within {points(judged.smallest_margin)} points"
    if judged.p_holm is not None:
        told += f", p {p_text(judged.p)} (Holm {p_text(judged.p_holm)})"
    return f"{told}: {judged.told}" + (f" ({judged.reason})" if judged.reason else "")


def _key(record: Record) -> tuple[Any, ...]:
    return (
        record.dataset,
        record.method,
        record.k_shot,
        record.task,
        record.recipe_name,
        record.budget_name,
        record.seed,
        record.config.get("precision"),
        record.config.get("train_k_shot"),
        record.at_step,
        record.transductive,
    )


def _name(record: Record) -> str:
    return (
        f"{record.dataset} {record.told} "
        f"({record.recipe_name}, {record.budget_name}, seed {record.seed}"
        + (f"; {record.apart}, {record.steps} steps)" if record.apart else ")")
    )


def _mismatch(run: Record, pinned: Record) -> str:
    """Why two records of one name cannot be compared; empty when they can."""
    reason = other_revision(run) or other_revision(pinned)
    if reason:
        return reason
    for name, what in (("data", "images"), ("episodes", "episodes"), ("config", "configuration")):
        ours, theirs = run.digests.get(name), pinned.digests.get(name)
        if ours != theirs:
            return f"other {what}: {name} digest {str(ours)[:8]}, published {str(theirs)[:8]}"
    if run.n_episode != pinned.n_episode:
        return f"{run.n_episode} episodes, published {pinned.n_episode}"
    return ""


def _same_place(run: Record, pinned: Record) -> bool:
    """Whether both ran with the same software, device and threads, so that bits should agree.

    Sums on a GPU are not ordered, so nothing is promised there.
    """
    if "NVIDIA" in run.device:
        return False
    return run.place == pinned.place


def pinned(runs: Sequence[Record], published: Sequence[Record]) -> tuple[list[str], bool]:
    """Hold runs against published records of the same data set, method, shot, recipe, budget,
    seed and precision.

    Numerics revision and the digests of data, episodes and configuration have to be the same.
    The mean may differ by :data:`PINNED_TOLERANCE`; how many episodes differ is told, and with the
    same software, device and threads it should be none. Runs that were never published are named
    and passed over.

    Returns:
        One line per cell, and whether there was a pair and every pair agreed.
    """
    lines, n_pair, ok = [], 0, True
    for run in runs:
        if run.outside:
            lines.append(f"{_name(run)}: imported, not run here, skipped")
            continue
        found = [record for record in published if _key(record) == _key(run)]
        if not found:
            lines.append(f"{_name(run)}: not among the published records, skipped")
            continue
        n_pair += 1
        other = max(
            found,
            key=lambda r: (r.digests.get("config") == run.digests.get("config"), r.when),
        )
        reason = _mismatch(run, other)
        if reason:
            lines.append(f"{_name(run)}: FAILED: {reason}")
            ok = False
            continue
        differing = np.flatnonzero(run.accuracy != other.accuracy)
        difference = compare_paired(run.accuracy, other.accuracy, block_size(run)).interval
        limit = tolerance(run.budget_name)
        agrees = abs(difference.mean) <= limit
        same = _same_place(run, other)
        where = ", ".join(map(str, differing[:5])) + (", …" if len(differing) > 5 else "")
        lines.append(
            f"{_name(run)}: {'ok' if agrees else 'FAILED'}: "
            f"{percent(float(run.accuracy.mean()))}, published "
            f"{percent(float(other.accuracy.mean()))}, difference "
            f"{percent_interval(difference, signed=True)} "
            f"(at most {percent(limit)}; {'same' if same else 'other'} software or device)"
            + f", {len(differing)} of {run.n_episode} episodes differ"
            + (f" ({where})" if where else "")
        )
        ok &= agrees
    if not n_pair:
        lines.append(
            "FAILED: no run has a published record of the same data set, method, task, recipe, "
            "budget, seed and precision; run a published cell first"
        )
    return lines, ok and n_pair > 0
