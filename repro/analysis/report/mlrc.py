"""The report's facts as Markdown, in the sections of the ML Reproducibility Challenge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.analysis.compare.formats import format_pairs
from repro.analysis.gates import figure as gates
from repro.analysis.gates import numbers as gate_numbers
from repro.analysis.report import differences_section as report_differences
from repro.analysis.selection import LeftOut, measured_here
from repro.analysis.statistics.strays import stray_note
from repro.analysis.table import table1
from repro.analysis.table.check import sentence
from repro.analysis.text import fixed
from repro.papers import paper
from repro.papers.pack import Paper
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.analysis.table.cell import Cell
    from repro.records import Record


def render_mlrc(
    records: Sequence[Record],
    dataset: str,
    left_out: Sequence[LeftOut] = (),
    apart: Sequence[Record] = (),
    of: Paper = paper.PACK,
) -> str:
    """The facts of :func:`repro.analysis.report.page.render`, from the same selected records.

    Raises:
        RecordError: nothing was run, or a file of gates is damaged.
    """
    if not records:
        raise RecordError(f"no record of {dataset} to report; run `repro reproduce` first")
    shown = of.table(dataset)
    table = table1.build(records, dataset, left_out=left_out, apart=apart, of=shown)
    sections = {
        "Scope of reproducibility": _scope(table),
        "Methodology": _methodology(records, dataset),
        "Results": _results(table, records, of),
        "What was easy": _easy(table),
        "What was difficult": _difficult(table, left_out),
    }
    lines = [
        f"# [Re] {of.title}",
        "",
        f"{of.published}, run again with `repro` on {dataset}. Every number is "
        "computed from the records of the runs.",
    ]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines).rstrip("\n") + "\n"


def _name(cell: Cell) -> str:
    return f"{cell.title} {cell.k_shot}-shot"


def _listed(items: Sequence[str]) -> list[str]:
    return [f"- {item}" for item in items]


def _scope(table: table1.Table) -> list[str]:
    known = [cell for cell in table.cells if cell.in_paper]
    run = [cell for cell in known if cell.measured is not None]
    missing = [_name(cell) for cell in known if cell.measured is None]
    others = dict.fromkeys(cell.title for cell in table.cells if not cell.in_paper)
    told = [
        f"The claim that is tested is the paper's {table.of.name}: accuracies of "
        f"{len(table.of.rows)} methods at {len(table.of.shots)} shots. "
        f"{len(run)} of its {len(known)} cells were run."
    ]
    if missing:
        told.append(f"Not run: {', '.join(missing)}.")
    if others:
        told.append(f"Beside them, not in the paper: {', '.join(others)}.")
    return told


def _hours(seconds: float) -> str:
    return f"{fixed(seconds / 3600, 1)} h"


def _methodology(records: Sequence[Record], dataset: str) -> list[str]:
    def named(values: set[str]) -> str:
        return ", ".join(sorted(values))

    records = measured_here(records)
    # Cells that share a training name its digest; its time counts once.
    spent = {
        (str(r.config.get("training") or r.path), r.seed): float(r.training.get("wall_s", 0.0))
        for r in records
    }
    return _listed(
        [
            f"Data: {dataset}, pack digest "
            f"{named({str(r.digests.get('data'))[:16] for r in records})}.",
            f"Recipe {named({r.recipe_name for r in records})}, budget "
            f"{named({r.budget_name for r in records})}, training seeds "
            f"{named({str(r.seed) for r in records})}; "
            f"{named({f'{r.n_episode:,}' for r in records})} test episodes a cell, the same for "
            "all methods.",
            f"Hardware: {named({r.device for r in records})}; precision "
            f"{named({str(r.config.get('precision')) for r in records})}.",
            f"Time: {_hours(sum(spent.values()))} of training, "
            f"{_hours(sum(r.wall_s for r in records))} of testing.",
            f"Code: commit {named({r.commit[:10] + ' with changes' * r.dirty for r in records})}; "
            + named({f"{k} {v}" for r in records for k, v in r.versions.items()})
            + ".",
        ]
    )


def _results(table: table1.Table, records: Sequence[Record], of: Paper) -> list[str]:
    told = [table.format("markdown")]
    pairs = list(report_differences.compared(report_differences.by_shot(records)).values())
    if pairs:
        told += ["### Paired differences", "", format_pairs(pairs, "markdown")]
    traced = [r for r in records if r.method == "meta_lstm" and (r.path / gates.FILE).exists()]
    if traced and of.key == paper.PACK.key:  # no other paper has the figure
        numbers = gate_numbers.numbers(gates.read_gates(traced))
        readings = gate_numbers.readings(numbers, gates.background(traced))
        told += ["### Figure 3", ""]
        told += _listed([f"{r.claim} **{r.verdict.capitalize()}.** {r.because}" for r in readings])
    return told


def _easy(table: table1.Table) -> list[str]:
    told = []
    for verdict, heading in (
        (table1.EQUIVALENT, "These cells came out as the paper has them, within the margin:"),
        (table1.SAME, "These cells could not be told apart from the paper's, which is less:"),
    ):
        found = [
            f"{_name(cell)}: {sentence(cell.judged, cell.same_images)}"
            for cell in table.cells
            if cell.judged and cell.verdict == verdict
        ]
        told += [heading, "", *_listed(found)] if found else []
    return told or ["No cell came out as the paper has it."]


def _difficult(table: table1.Table, left_out: Sequence[LeftOut]) -> list[str]:
    hard = []
    for cell in table.cells:
        if cell.judged and cell.verdict in (table1.HIGHER, table1.LOWER, table1.NOT_COMPARABLE):
            hard.append(f"{_name(cell)}: {sentence(cell.judged, cell.same_images)}")
        hard += stray_note(_name(cell), cell.seeds, cell.seed_means)
    hard += [f"Left out: {item}" for item in left_out]
    return _listed(hard) if hard else ["Nothing: every cell that was run came out as reported."]
