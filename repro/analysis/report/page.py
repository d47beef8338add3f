"""The report: one HTML file made from records; it needs no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jinja2

from repro.analysis import text
from repro.analysis.report import ablation_section as report_ablation
from repro.analysis.report import charts as report_charts
from repro.analysis.report import differences_section as differences
from repro.analysis.report import sections as sections
from repro.analysis.selection import LeftOut, one_each
from repro.analysis.table import table1
from repro.analysis.text import class_text, points
from repro.data.pack import ImageSplit
from repro.papers import paper
from repro.papers.pack import Paper
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.analysis.ablation.effects import Ablation
    from repro.records import Record

MAX_BYTES = 3_000_000


def _duration(seconds: float) -> str:
    """``2 h 05 min``, ``3 min 20 s`` or ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {left:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _interval(interval: Any, signed: bool = False) -> str:
    """``43.44 ± 0.77``, which a narrow column may break before the sign only."""
    if interval is None:
        return ""
    return text.percent_interval(interval, signed).replace("± ", "±\u00a0")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("repro", "analysis/report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "interval": _interval,
        "points": points,
        "classes": lambda half_width: class_text(half_width).replace("± ", "±\u00a0"),
        "duration": _duration,
        "short": differences.short,
    }
    return environment


def _summary(table: table1.Table) -> list[str]:
    """The table in two sentences, for who reads no further."""
    known = [cell for cell in table.cells if cell.in_paper]
    run = [cell for cell in known if cell.measured is not None]
    others = [
        title
        for title, method in zip(table.row_titles, table.methods, strict=True)
        if method not in table.of.keys
    ]
    counts: dict[str, int] = {}
    for cell in run:
        few = cell.judged is not None and cell.judged.holds_to_seed_sd is not None
        name = f"{cell.verdict} (one seed each)" if few else cell.verdict
        counts[name] = counts.get(name, 0) + 1
    told = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    return [
        f"{len(run)} of the {len(known)} cells of the paper's {table.of.name} were run.",
        *([f"Against the paper: {told}."] if told else []),
        *([f"Not in the paper: {', '.join(others)}."] if others else []),
    ]


def render(
    records: Sequence[Record],
    dataset: str,
    split: ImageSplit | None = None,
    ablations: Sequence[Ablation] = (),
    left_out: Sequence[LeftOut] = (),
    apart: Sequence[Record] = (),
    of: Paper = paper.PACK,
) -> str:
    """The page, from records already selected (all seeds of a cell); the same records, the same
    bytes. What shows single models shows the lowest seed of each cell.

    Args:
        split: meta-test images; without it no picture of an episode is embedded. Its digest has
            to be the records' own.
        ablations: shown in a section of their own, when there are any.
        left_out: records of these cells that are not shown; they are named.
        apart: milestones and transductive tests, in lines of their own.
        of: the paper that they are held against.
    Raises:
        RecordError: nothing was run, a curve or file of gates is damaged, the images are others
            than the records', or the page would be larger than :data:`MAX_BYTES`.
    """
    if not records:
        raise RecordError(f"no record of {dataset} to report; run `repro reproduce` first")
    for record in records:
        if split is not None and record.tested_images != split.digest:
            raise RecordError(
                f"{record.path} was made from images with digest "
                f"{record.tested_images[:8]}, those at hand have {split.digest[:8]}; "
                "report with --no-images or bring the same images"
            )
    shown = of.table(dataset)
    table = table1.build(records, dataset, left_out=left_out, apart=apart, of=shown)
    models = one_each(records)
    shots = sorted({record.k_shot for record in records})
    confusions, absent = sections.confusions(models)
    page = _environment().get_template("report.html.j2").render(
        table=table,
        publication=of.bibliography,
        dataset=dataset,
        shots=table.shots,
        summary=_summary(table),
        titles=dict(zip(table.methods, table.row_titles, strict=True)),
        bars=[(shot, report_charts.bars(table, shot)) for shot in table.shots],
        distributions=[(shot, report_charts.distribution(differences.ordered(models, shot), shot))
                       for shot in shots],
        matrices=differences.matrices(records),
        curves=sections.training(models),
        gates=sections.figure_3(records) if of.key == paper.PACK.key else None,
        ablations=report_ablation.views(ablations),
        confusions=confusions,
        absent=absent,
        extremes=sections.extremes(models, split),
        records=records,
        single=len(models) < len(records),
    )  # fmt: skip
    if len(page.encode()) > MAX_BYTES:
        raise RecordError(
            f"the report would have {len(page.encode()):,} bytes, more than {MAX_BYTES:,}; leave "
            "the pictures out with --no-images"
        )
    return page
