"""Checks of measured accuracies: against the paper, and against the published records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repro import paper
from repro.analysis import table1
from repro.analysis.stats import paired_interval

if TYPE_CHECKING:
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
) -> tuple[list[str], bool]:
    """One line per cell of Table 1: measured, reported, difference and its interval, verdict.

    Returns:
        The lines, and whether all cells were run under the paper's protocol and none can be told
        from the paper's number.
    """
    table = table1.build(table1.select_records(records, recipe, budget, seed), dataset)
    lines = [table.title]
    for cell in table.cells:
        head = f"{cell.title:25} {cell.k_shot}-shot"
        told = f"reported {table1.percent_interval(cell.reported)}"
        if cell.measured is None or cell.difference is None:
            lines.append(f"{head}  {table1.NOT_RUN}, {told}")
            continue
        reason = f" ({cell.reason})" if cell.reason else ""
        lines.append(
            f"{head}  measured {table1.percent_interval(cell.measured)}, {told}, "
            f"difference {table1.percent_interval(cell.difference, signed=True)}: "
            f"{cell.verdict}{reason}"
        )
    return lines, all(cell.verdict == table1.SAME for cell in table.cells)


def _key(record: Record) -> tuple[Any, ...]:
    return (
        record.dataset,
        record.method,
        record.k_shot,
        record.recipe_name,
        record.budget_name,
        record.seed,
        record.config.get("precision"),
        record.config.get("train_k_shot"),
    )


def _name(record: Record) -> str:
    title = paper.ROW_TITLES.get(record.method, record.method)
    return (
        f"{record.dataset} {title} {record.k_shot}-shot "
        f"({record.recipe_name}, {record.budget_name}, seed {record.seed})"
    )


def _mismatch(run: Record, pinned: Record) -> str:
    """Why two records of one name cannot be compared; empty when they can."""
    if run.numerics_revision != pinned.numerics_revision:
        return (
            f"numerics revision {run.numerics_revision}, published {pinned.numerics_revision}; "
            "publish records of this revision"
        )
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
        found = [record for record in published if _key(record) == _key(run)]
        if not found:
            lines.append(f"{_name(run)}: not among the published records, passed over")
            continue
        n_pair += 1
        other = max(
            found,
            key=lambda r: (r.digests.get("config") == run.digests.get("config"), r.started_at),
        )
        reason = _mismatch(run, other)
        if reason:
            lines.append(f"{_name(run)}: FAILED: {reason}")
            ok = False
            continue
        differing = np.flatnonzero(run.accuracy != other.accuracy)
        difference = paired_interval(run.accuracy, other.accuracy)
        limit = tolerance(run.budget_name)
        agrees = abs(difference.mean) <= limit
        same = _same_place(run, other)
        where = ", ".join(map(str, differing[:5])) + (", …" if len(differing) > 5 else "")
        lines.append(
            f"{_name(run)}: {'ok' if agrees else 'FAILED'}: "
            f"{table1.percent(float(run.accuracy.mean()))}, published "
            f"{table1.percent(float(other.accuracy.mean()))}, difference "
            f"{table1.percent_interval(difference, signed=True)} "
            f"(at most {table1.percent(limit)}; {'same' if same else 'other'} software or device)"
            + f", {len(differing)} of {run.n_episode} episodes differ"
            + (f" ({where})" if where else "")
        )
        ok &= agrees
    if not n_pair:
        lines.append(
            "FAILED: no run has a published record of the same data set, method, shot, recipe, "
            "budget, seed and precision; run a published cell first"
        )
    return lines, ok and n_pair > 0
