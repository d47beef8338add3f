"""Table 1 of the paper beside what was measured: the only place where fractions become percent.

Numbers and row order are those of :mod:`repro.paper`. A verdict is given only where the protocol
is the paper's; everything else is printed and called not comparable, with the reason.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repro import paper
from repro.analysis.stats import HasInterval, Interval, difference_interval, mean_interval
from repro.errors import RecordError, unknown

if TYPE_CHECKING:
    from repro.records import Record

WIDTH = 110  # columns of the text format
NOT_RUN = "not run"
HIGHER, LOWER, SAME = "higher", "lower", "not distinguishable"
NOT_COMPARABLE = "not comparable"
_BUDGET_RANK = {"smoke": 1, "quick": 2, "paper": 3}
_FOOTNOTE = (
    "± is a 95% interval (1.96 s/√n) over the draw of episodes from these classes with this one "
    "trained model; it covers neither the choice of classes nor the training seed. The interval "
    "of a difference (measured − reported) adds both errors in quadrature."
)


def percent(fraction: float, signed: bool = False, digits: int = 2) -> str:
    """``0.4344`` as ``43.44``, or ``+43.44`` when ``signed``; never ``-0.00``."""
    value = round(100 * fraction, digits) + 0.0
    return f"{value:{'+' if signed else ''}.{digits}f}"


def percent_interval(interval: HasInterval, signed: bool = False) -> str:
    """An interval of fractions in percent: ``43.44 ± 0.77``."""
    return f"{percent(interval.mean, signed)} ± {percent(interval.half_width)}"


def latex_escape(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    special = {
        **{c: "\\" + c for c in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "−": "$-$",
        "√": r"$\surd$",
    }
    return "".join(special.get(character, character) for character in text)


@dataclass(frozen=True)
class Cell:
    """One method at one shot. Intervals are fractions; what was not run is None."""

    method: str
    k_shot: int
    reported: paper.Reported
    measured: Interval | None
    difference: Interval | None  # measured - reported
    n_episode: int | None
    n_step: int | None  # training steps
    budget: str | None
    seed: int | None
    verdict: str
    reason: str  # why a cell is not comparable, else empty

    @property
    def title(self) -> str:
        """The row's name in the paper."""
        return paper.ROW_TITLES[self.method]

    def content(self) -> dict[str, Any]:
        """The cell as JSON; accuracies are fractions, an unknown half-width is null."""
        return {
            "method": self.method,
            "k_shot": self.k_shot,
            "reported_mean": self.reported.mean,
            "reported_half_width": self.reported.half_width,
            "measured_mean": _finite(self.measured, "mean"),
            "measured_half_width": _finite(self.measured, "half_width"),
            "difference_mean": _finite(self.difference, "mean"),
            "difference_half_width": _finite(self.difference, "half_width"),
            "n_episode": self.n_episode,
            "n_step": self.n_step,
            "budget": self.budget,
            "seed": self.seed,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def _finite(interval: Interval | None, field: str) -> float | None:
    value = math.inf if interval is None else float(getattr(interval, field))
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class Table:
    """Five rows at two shots in the paper's order, with a title and notes."""

    title: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...]

    def format(self, name: str) -> str:
        """The table as ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.

        Raises:
            UsageError: another format.
        """
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
        return FORMATS[name](self)


def _rank(record: Record) -> tuple[int, int, int]:
    return (
        _BUDGET_RANK.get(record.budget_name, 0),
        int(record.training.get("n_step", 0)),
        -record.seed,
    )


def select_records(
    records: Iterable[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
) -> list[Record]:
    """One record per method and shot, in the table's order.

    Of those of the recipe (None: any), budget and seed asked for, the one of the largest budget
    (paper, quick, smoke, then others by training steps), then of the lowest seed, then the newest.
    Models tested at another shot than they were trained for are left out, and so are records of
    an older numerics revision than the newest found, or of other images than the newest record's
    (another folder, another split): their numbers are not mixed.
    """
    found = [
        record
        for record in records
        if (recipe is None or record.recipe_name == recipe)
        and (budget is None or record.budget_name == budget)
        and (seed is None or record.seed == seed)
        and record.config.get("train_k_shot") is None
        and record.method in paper.METHODS
    ]
    revision = max((record.numerics_revision for record in found), default=0)
    found = [record for record in found if record.numerics_revision == revision]
    newest = max(found, key=lambda record: record.started_at, default=None)
    best: dict[tuple[int, int], Record] = {}
    for record in found:
        if newest is None or record.digests.get("data") != newest.digests.get("data"):
            continue
        key = paper.METHODS.index(record.method), record.k_shot
        other = best.get(key)
        if other is None or (*_rank(record), record.started_at) > (
            *_rank(other),
            other.started_at,
        ):
            best[key] = record
    return [best[key] for key in sorted(best)]


def not_comparable(record: Record, dataset: str) -> str:
    """Why a record cannot be held against the paper; empty when it can."""
    reasons = []
    if dataset != "mini-imagenet":
        reasons.append(f"{dataset} is not mini-imagenet")
    if record.budget_name != "paper":
        reasons.append(f"budget {record.budget_name} is not the paper's")
    if record.unfinished:
        reasons.append(f"trained for {record.n_step:,} of {record.training['n_step']:,} steps")
    if record.config.get("n_way") != paper.N_WAY or record.config.get("n_query") != paper.N_QUERY:
        reasons.append(
            f"episodes of {record.config.get('n_way')} classes and {record.config.get('n_query')} "
            f"queries, not {paper.N_WAY} and {paper.N_QUERY}"
        )
    batch_norm = dict(record.config.get("recipe") or {}).get("query_batch_norm")
    if batch_norm != "running":
        reasons.append(f"query batch norm is {batch_norm}, not running")
    return "; ".join(reasons)


def _cell(method: str, k_shot: int, record: Record | None, dataset: str) -> Cell:
    reported = paper.TABLE_1[method, k_shot]
    if record is None:
        return Cell(method, k_shot, reported, None, None, None, None, None, None, NOT_RUN, "")
    measured = mean_interval(record.accuracy)
    difference = difference_interval(measured, reported)
    reason = not_comparable(record, dataset)
    if reason:
        verdict = NOT_COMPARABLE
    elif difference.excludes_zero:
        verdict = HIGHER if difference.mean > 0 else LOWER
    else:
        verdict = SAME
    return Cell(
        method,
        k_shot,
        reported,
        measured,
        difference,
        record.n_episode,
        record.n_step,
        record.budget_name,
        record.seed,
        verdict,
        reason,
    )


def build(records: Sequence[Record], dataset: str) -> Table:
    """The table of records already selected, at most one per cell (:func:`select_records`).

    Raises:
        RecordError: two records for one cell.
    """
    chosen: dict[tuple[str, int], Record] = {}
    for record in records:
        key = record.method, record.k_shot
        if key in chosen:
            raise RecordError(
                f"{chosen[key].path} and {record.path} are records of the same cell of the table; "
                "choose one by recipe, budget or seed"
            )
        chosen[key] = record
    cells = tuple(
        _cell(method, k_shot, chosen.get((method, k_shot)), dataset)
        for method in paper.METHODS
        for k_shot in paper.SHOTS
    )
    return Table(_title(cells, list(chosen.values()), dataset), cells, _notes(cells, records))


def _title(cells: Sequence[Cell], records: Sequence[Record], dataset: str) -> str:
    def named(word: str, values: set[str]) -> str:
        return f"{word}{'s' if len(values) > 1 else ''} {', '.join(sorted(values))}"

    parts = [f"Table 1 on {dataset}"]
    if not records:
        return f"{parts[0]}: {NOT_RUN}"
    parts.append(named("recipe", {record.recipe_name for record in records}))
    parts.append(named("budget", {record.budget_name for record in records}))
    parts.append(named("seed", {str(record.seed) for record in records}))
    measured = [cell for cell in cells if cell.measured is not None]
    n_apart = sum(cell.verdict == NOT_COMPARABLE for cell in measured)
    title = ", ".join(parts)
    if not n_apart:
        return title
    which = "" if n_apart == len(measured) else "in part "
    return f"{title}: {which}{NOT_COMPARABLE} with the paper"


def _notes(cells: Sequence[Cell], records: Sequence[Record]) -> tuple[str, ...]:
    notes = [_FOOTNOTE]
    by_reason: dict[str, list[str]] = {}
    for cell in cells:
        if cell.reason:
            by_reason.setdefault(cell.reason, []).append(f"{cell.title} {cell.k_shot}-shot")
    for reason, named in by_reason.items():
        which = "" if len(by_reason) == 1 else f" ({', '.join(named)})"
        notes.append(f"Not comparable{which}: {reason}.")
    recipes = {json.dumps(r.config.get("recipe"), sort_keys=True) for r in records}
    if len(recipes) > len({record.recipe_name for record in records}):
        notes.append("The records differ in switches of the recipe although its name is the same.")
    return tuple(notes)


_HEADER = ("", "reported", "measured", "difference", "episodes", "steps", "budget", "verdict")


def _columns(cell: Cell) -> list[str]:
    reported = percent_interval(cell.reported)
    if cell.measured is None or cell.difference is None:
        return [f"{cell.k_shot}-shot", reported, NOT_RUN, "", "", "", "", ""]
    return [
        f"{cell.k_shot}-shot",
        reported,
        percent_interval(cell.measured),
        percent_interval(cell.difference, signed=True),
        f"{cell.n_episode:,}",
        f"{cell.n_step:,}",
        cell.budget or "",
        cell.verdict,
    ]


def _as_text(table: Table) -> str:
    rows = [list(_HEADER), *(_columns(cell) for cell in table.cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]

    def line(row: Sequence[str]) -> str:
        aligned = [
            value.ljust(width) if i in (0, 6, 7) else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        ]
        return ("  " + "  ".join(aligned)).rstrip()

    lines = [*textwrap.wrap(table.title, WIDTH), "(accuracy in %)", "", line(_HEADER)]
    method = ""
    for cell, row in zip(table.cells, rows[1:], strict=True):
        if cell.method != method:
            lines.append(cell.title)
            method = cell.method
        lines.append(line(row))
    lines.append("")
    for note in table.notes:
        lines += textwrap.wrap(note, WIDTH)
    return "\n".join(lines) + "\n"


def _as_markdown(table: Table) -> str:
    header = ("Model", "Shot", *_HEADER[1:])
    lines = [f"**{table.title}** (accuracy in %)", "", f"| {' | '.join(header)} |"]
    lines.append("|" + "|".join([" --- ", *[" ---: "] * 6, " --- ", " --- "]) + "|")
    for cell in table.cells:
        values = [value.replace("|", r"\|") for value in (cell.title, *_columns(cell))]
        lines.append(f"| {' | '.join(values)} |")
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _as_csv(table: Table) -> str:
    """Cells as rows; accuracies are fractions as in JSON, so the columns are the same."""
    buffer = io.StringIO()
    rows = [cell.content() for cell in table.cells]
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _as_json(table: Table) -> str:
    return json.dumps([cell.content() for cell in table.cells], indent=1, allow_nan=False) + "\n"


def _as_latex(table: Table) -> str:
    """The paper's layout, models by shots, with a reported and a measured column per shot."""

    def number(interval: HasInterval | None) -> str:
        if interval is None:
            return NOT_RUN
        mean, half_width = percent_interval(interval).split(" ± ")
        return rf"${mean} \pm {half_width}\%$"

    shots = paper.SHOTS
    of = {(cell.method, cell.k_shot): cell for cell in table.cells}
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{\textbf{{{k}-shot}}}}" for k in shots)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}. {latex_escape(' '.join(table.notes))}}}",
        rf"\begin{{tabular}}{{l{'cc' * len(shots)}}}",
        r"\hline",
        rf"\textbf{{Model}} & \multicolumn{{{2 * len(shots)}}}{{c}}{{\textbf{{5-class}}}} \\",
        rf" & {heads} \\",
        rf" & {' & '.join(['reported & measured'] * len(shots))} \\",
        r"\hline",
    ]
    for method in paper.METHODS:
        values = [latex_escape(paper.ROW_TITLES[method])]
        for k_shot in shots:
            cell = of[method, k_shot]
            values += [number(cell.reported), number(cell.measured)]
        lines.append(rf"{' & '.join(values)} \\")
    lines += [r"\hline", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[Table], str]] = {
    "text": _as_text,
    "markdown": _as_markdown,
    "csv": _as_csv,
    "json": _as_json,
    "latex": _as_latex,
}
