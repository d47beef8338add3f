"""A table as text, Markdown, CSV, JSON and LaTeX; numbers are shown by :mod:`.text`."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Sequence

from repro.analysis.statistics.intervals import HasInterval
from repro.analysis.statistics.seeds import BOTH, EPISODES
from repro.analysis.table.cell import NOT_IN_PAPER, NOT_RUN, Cell, TableContent
from repro.analysis.text import class_text, percent, percent_interval, points

WIDTH = 112  # columns of the text format


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of columns two spaces apart, flush right but for the columns ``left``."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            value.ljust(width) if i in left else value.rjust(width)
            for i, (value, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return lines


def markdown_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows, the header first, as lines of a Markdown table."""
    bar = "|".join(" --- " if i in left else " ---: " for i in range(len(rows[0])))
    lines = [f"| {' | '.join(v.replace('|', chr(92) + '|') for v in row)} |" for row in rows]
    return [lines[0], f"|{bar}|", *lines[1:]]


def wrapped(notes: Sequence[str], width: int = WIDTH) -> list[str]:
    """Notes in lines of the text format's width; names with hyphens stay whole."""
    return [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]


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
        "<": "$<$",
        ">": "$>$",
        "∞": r"$\infty$",
    }
    return "".join(special.get(character, character) for character in text)


_HEADER = (
    *("", "reported", "measured", "± classes", "difference", "within", "seeds", "episodes"),
    *("steps", "budget", "verdict"),
)
_LEFT = (0, 9, 10)
MARKDOWN_LEFT = (0, 10, 11)  # with a column for the model before them
_VERDICT = 10
# What is shown on ever narrower terminals; the last has the verdict on a line of its own.
_KEPT = (tuple(range(11)), (0, 1, 2, 3, 4, 5, 6, 10), (0, 1, 2, 4, 5, 6, 10), (0, 1, 2, 6, 10),
         (0, 1, 2))  # fmt: skip


def _columns(cell: Cell, brief: bool = False) -> list[str]:
    """The columns of a row; ``brief``: the verdict alone, its grounds are in the notes."""
    reported = percent_interval(cell.reported) if cell.reported else ""
    if cell.measured is None:
        return [f"{cell.k_shot}-shot", reported, cell.verdict, *[""] * 8]
    judged = cell.judged
    return [
        f"{cell.k_shot}-shot {cell.apart}".strip(),
        reported,
        percent_interval(cell.measured),
        class_text(cell.class_half_width),
        percent_interval(cell.difference, signed=True) if cell.difference else "",
        points(judged.smallest_margin) if judged and cell.difference else "",
        f"{len(cell.seeds)}",
        f"{cell.n_episode:,}",
        cell.steps or f"{cell.n_step:,}",
        cell.budget or "",
        cell.verdict if brief else cell.told,
    ]


def _titled(cell: Cell) -> str:
    return cell.title if cell.in_paper or cell.outside else f"{cell.title} ({NOT_IN_PAPER})"


def unit(table: TableContent) -> str:
    """Beside the title: the unit, and what ± covers."""
    covers = {cell.estimate.covers for cell in table.cells if cell.estimate}
    told = {
        frozenset(
            {EPISODES}
        ): "± covers episodes, ± classes covers other classes; neither covers other seeds",
        frozenset({BOTH}): "± covers episodes and seeds, ± classes covers other classes",
    }
    both = "± covers episodes, and seeds where several were run; ± classes covers other classes"
    return f"(accuracy in %; {told.get(frozenset(covers), both) if covers else NOT_RUN})"


def _fitting(
    rows: Sequence[Sequence[str]], terminal: int | None
) -> tuple[tuple[int, ...], list[str]]:
    """The columns that fit into those of a terminal, and the rows with them as lines."""
    for kept in _KEPT:
        left = [place for place, column in enumerate(kept) if column in _LEFT]
        lines = aligned([[row[column] for column in kept] for row in rows], left)
        if terminal is None or max(map(len, lines)) <= terminal:
            break
    return kept, lines


def as_text(table: TableContent, terminal: int | None = None) -> str:
    """The table for a terminal of so many columns: what does not fit is left out, and said."""
    width = min(WIDTH, terminal or WIDTH)
    rows = [_HEADER, *(_columns(cell, brief=True) for cell in table.lines)]
    kept, lines = _fitting(rows, terminal)
    found = [*textwrap.wrap(table.title, width), *textwrap.wrap(unit(table), width), "", lines[0]]
    method = ""
    for cell, row, line in zip(table.lines, rows[1:], lines[1:], strict=True):
        if cell.method != method:
            found += textwrap.wrap(_titled(cell), width)
            method = cell.method
        found.append(line)
        if _VERDICT not in kept and row[_VERDICT]:
            found += textwrap.wrap(row[_VERDICT], width, initial_indent=" " * 4,
                                   subsequent_indent=" " * 4)  # fmt: skip
    absent = [name for column, name in enumerate(_HEADER) if column not in (*kept, _VERDICT)]
    notes = list(table.notes)
    if absent:
        notes.insert(0, f"Left out on {terminal} columns: {', '.join(absent)}.")
    return "\n".join([*found, "", *wrapped(notes, width)]) + "\n"


def markdown_rows(table: TableContent) -> list[Sequence[str]]:
    """Header and lines, each with model and shot."""
    rows: list[Sequence[str]] = [("Model", "Shot", *_HEADER[1:])]
    return rows + [[_titled(cell), *_columns(cell)] for cell in table.lines]


def _as_markdown(table: TableContent) -> str:
    head = f"**{table.title}** {unit(table)}"
    lines = [head, "", *markdown_table(markdown_rows(table), MARKDOWN_LEFT)]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _cell_text(value: object) -> object:
    """A spreadsheet would compute what begins like a formula; a quote before it keeps it text."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if formula else value


def _as_csv(table: TableContent) -> str:
    """Cells as rows; fractions as in JSON, without the lists: seeds are apart by spaces.

    Tests apart from a cell are left out, so that each row stays one method at one shot.
    """
    buffer = io.StringIO()
    rows = []
    for cell in table.cells:
        content = cell.content()
        for name in ("seeds", "seed_means", "stray_seeds"):
            content[name] = " ".join(map(str, content[name]))
        for name in ("bootstrap", "reruns", "further"):
            del content[name]
        rows.append({key: _cell_text(value) for key, value in content.items()})
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _as_json(table: TableContent) -> str:
    return json.dumps([cell.content() for cell in table.cells], indent=1, allow_nan=False) + "\n"


def _as_latex(table: TableContent) -> str:
    """The paper's layout, models by shots, with a reported and a measured column per shot."""

    def number(interval: HasInterval | None, missing: str = NOT_RUN) -> str:
        if interval is None:
            return missing
        if not math.isfinite(interval.half_width):
            return rf"${percent(interval.mean)}\%$"
        mean, half_width = percent_interval(interval).split(" ± ")
        return rf"${mean} \pm {half_width}\%$"

    shots, n_way = table.shots, table.task.n_way
    of = {(cell.method, cell.k_shot): cell for cell in table.cells}
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{\textbf{{{k}-shot}}}}" for k in shots)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{latex_escape(table.title)}. {latex_escape(' '.join(table.notes))}}}",
        rf"\begin{{tabular}}{{l{'cc' * len(shots)}}}",
        r"\hline",
        rf"\textbf{{Model}} & \multicolumn{{{2 * len(shots)}}}{{c}}{{\textbf{{{n_way}-class}}}} \\",
        rf" & {heads} \\",
        rf" & {' & '.join(['reported & measured'] * len(shots))} \\",
        r"\hline",
    ]
    others = False
    for method, title in zip(table.methods, table.row_titles, strict=True):
        if method not in table.of.keys and not others:
            others = True
            lines += [r"\hline", rf"\multicolumn{{{1 + 2 * len(shots)}}}{{l}}{{{NOT_IN_PAPER}}} \\"]
        values = [latex_escape(title)]
        for k_shot in shots:
            cell = of.get((method, k_shot))
            if cell is None:
                values += ["", NOT_RUN]
                continue
            mark = r"\textsuperscript{*}" if cell.progress else ""
            values += [number(cell.reported, ""), number(cell.measured) + mark]
        lines.append(rf"{' & '.join(values)} \\")
        here = [of[method, k_shot] for k_shot in shots if (method, k_shot) in of]
        for line in (line for cell in here for line in cell.further):
            values = [rf"\quad {latex_escape(line.apart)}"]
            for k_shot in shots:
                values += ["", number(line.measured) if k_shot == line.k_shot else ""]
            lines.append(rf"{' & '.join(values)} \\")
    unfinished = [
        f"{cell.title} {cell.k_shot}-shot ({cell.progress})"
        for cell in table.cells
        if cell.progress
    ]
    if unfinished:
        told = latex_escape(f" training not at its end: {', '.join(unfinished)}.")
        lines += [
            r"\hline",
            rf"\multicolumn{{{1 + 2 * len(shots)}}}{{l}}{{\textsuperscript{{*}}{told}}} \\",
        ]
    lines += [r"\hline", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


FORMATS: dict[str, Callable[[TableContent], str]] = {
    "text": as_text,
    "markdown": _as_markdown,
    "csv": _as_csv,
    "json": _as_json,
    "latex": _as_latex,
}
