"""Paired comparisons as text and Markdown, with notes on what their p-values cover."""

from __future__ import annotations

from collections.abc import Sequence

from repro.analysis.compare.pairs import Comparison, as_json
from repro.analysis.statistics.strays import stray_note
from repro.analysis.table.formats import aligned, markdown_table, wrapped
from repro.analysis.table.notes import CLASSES, left_out_note
from repro.analysis.table.row_notes import outside_note
from repro.analysis.text import class_text, fixed, p_text, percent, percent_interval, share
from repro.system.errors import unknown

FORMATS = ("text", "markdown", "json")
HEADER = ("first − second", "difference", "± classes", "p t", "p flip", "p Holm",
           "holds to", "won", "lost", "d", "narrower")  # fmt: skip


def format_pairs(pairs: Sequence[Comparison], style: str) -> str:
    """Pairs as ``text``, ``markdown`` or ``json``.

    Raises:
        UsageError: another format.
    """
    if style == "json":
        return as_json(pairs)
    if style not in FORMATS:
        raise unknown("format", style, FORMATS)
    lines: list[str] = []
    for place in dict.fromkeys((pair.dataset, pair.k_shot) for pair in pairs):
        title = f"{place[0]}, {place[1]}-shot (difference in points)"
        rows = [HEADER, *(row(p) for p in pairs if (p.dataset, p.k_shot) == place)]
        if style == "text":
            lines += [title, *aligned(rows), ""]
        else:
            lines += [f"**{title}**", "", *markdown_table(rows), ""]
    for note in notes(pairs):
        lines += wrapped([note]) if style == "text" else [note, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def row(pair: Comparison) -> tuple[str, ...]:
    """A pair as the cells below :data:`HEADER`."""
    paired = pair.paired
    return (
        f"{pair.first.label} − {pair.second.label}",
        percent_interval(pair.interval, signed=True),
        class_text(pair.class_half_width),
        p_text(pair.p),
        p_text(paired.p_sign_flip),
        p_text(pair.p_holm),
        "" if pair.holds_to_seed_sd is None else percent(pair.holds_to_seed_sd, digits=1),
        share(paired.won),
        share(paired.lost),
        fixed(paired.effect_size, 2, "+"),
        share(paired.narrower),
    )


def notes(pairs: Sequence[Comparison]) -> list[str]:
    """What is said below the pairs: the unit, what ± covers, what p-values are about."""
    blocks = sorted({pair.paired.block for pair in pairs})
    unit = " or ".join(f"blocks of {b} episodes" if b > 1 else "single episodes" for b in blocks)
    shared = "; each block uses all test classes once" if max(blocks, default=1) > 1 else ""
    told = [
        f"First − second on the same episodes. Errors are computed over {unit}{shared}. "
        "p t: paired t test; p flip: seeded sign-flip "
        f"permutation test; p Holm: of p t over the {_count(len(pairs))} shown. won, lost: shares "
        "of episodes; d: mean over standard deviation of the differences per episode; narrower: "
        "the paired 95% interval against the unpaired one."
    ]
    one = [pair for pair in pairs if pair.crossed is None]
    if one:
        which = "" if len(one) == len(pairs) else f" ({_named(one)})"
        told.append(
            f"±{which} covers episodes alone, and every p-value is about these two checkpoints, "
            "not about the methods: each side has one training seed. holds to: the interval "
            "excludes 0 while the standard deviation between seeds is less than so many points."
        )
    if len(one) < len(pairs):
        seeded = [pair for pair in pairs if pair.crossed is not None]
        which = f" ({_named(seeded)})" if one else ""
        told.append(
            f"±{which} and p t cover training seeds and episodes, crossed (two-way random effects, "
            "Satterthwaite); p flip, won, lost, d and narrower are "
            "of the accuracies averaged over these seeds, so about these checkpoints."
        )
        for pair in seeded:
            if pair.borrowed is not None:
                single = pair.second if pair.borrowed is pair.first else pair.first
                told.append(
                    f"{single.label} {pair.k_shot}-shot has one seed, so the variance between its "
                    f"seeds is unknown. It is assumed to be that of the {len(pair.borrowed.seeds)} "
                    f"seeds of {pair.borrowed.label}; more seeds of {single.label} would test "
                    "this. If it holds, the interval covers 90 to 98% with 2 seeds, 93 to 97% "
                    "with 3, 94 to 97% with 5."
                )
        if any(2 in (len(p.first.seeds), len(p.second.seeds)) for p in seeded):
            told.append(
                "With two seeds the interval may cover as little as 87% instead of 95%; a narrow "
                "one means that the two happened to agree."
            )
    told.append(CLASSES)
    sides = {(s.label, s.k_shot): s for p in pairs for s in (p.first, p.second)}
    for side in sides.values():
        means = [float(record.accuracy.mean()) for record in side.records]
        told += stray_note(f"{side.label} {side.k_shot}-shot", side.seeds, means)
    titles = {r.method: r.title for side in sides.values() for r in side.records if r.outside}
    told += outside_note([f"{method} ({title})" for method, title in titles.items()])
    left_out = {str(x): x for p in pairs for s in (p.first, p.second) for x in s.left_out}
    told += left_out_note(list(left_out.values()))
    apart = {
        f"{side.label} {r.k_shot}-shot seed {r.seed} ({r.apart}, {r.steps} steps)"
        for pair in pairs
        for side in (pair.first, pair.second)
        for r in side.records
        if r.apart
    }
    if apart:
        told.append(
            "Shown apart, not as the row's own number (transductive: queries normalised by their "
            f"own batch, which is another protocol): {', '.join(sorted(apart))}."
        )
    unfinished = {
        f"{r.method} {r.k_shot}-shot seed {r.seed} ({r.n_step:,} of {r.training['n_step']:,})"
        for pair in pairs
        for r in (*pair.first.records, *pair.second.records)
        if r.unfinished
    }
    if unfinished:
        told.append(f"Unfinished trainings (steps): {', '.join(sorted(unfinished))}.")
    return told


def _count(n: int) -> str:
    return "one pair" if n == 1 else f"{n} pairs"


def _named(pairs: Sequence[Comparison]) -> str:
    return "; ".join(f"{p.first.label} − {p.second.label} {p.k_shot}-shot" for p in pairs)
