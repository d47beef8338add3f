"""Paired comparisons as text and Markdown, with notes on what their p-values cover."""

from __future__ import annotations

from collections.abc import Sequence

from repro.analysis.compare.pairs import Comparison, as_json
from repro.analysis.compare.sides import Side
from repro.analysis.statistics.classes import n_class
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.seeds import COVERAGE, TWO_SEEDS
from repro.analysis.statistics.strays import stray_note
from repro.analysis.table.formats import aligned, markdown_table, wrapped
from repro.analysis.table.notes import CLASSES, left_out_note
from repro.analysis.table.row_notes import outside_note
from repro.analysis.text import (
    class_text,
    fixed,
    p_text,
    percent_interval,
    seeds_text,
    share,
    spread_text,
)
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
        pair.label,
        percent_interval(pair.interval, signed=True),
        class_text(pair.class_half_width),
        p_text(pair.p),
        p_text(paired.p_sign_flip),
        p_text(pair.p_holm),
        "" if pair.holds_to_seed_sd is None else spread_text(pair.holds_to_seed_sd),
        share(paired.won),
        share(paired.lost),
        fixed(paired.effect_size, 2, "+"),
        share(paired.narrower),
    )


def notes(pairs: Sequence[Comparison]) -> list[str]:
    """What is said below the pairs: the unit, what ± covers, what p-values are about."""
    blocks = sorted({pair.paired.block for pair in pairs})
    unit = " or ".join(f"blocks of {b} episodes" if b > 1 else "single episodes" for b in blocks)
    sides = _sides(pairs)
    whole = all(n_class(r) % r.task.n_way == 0 for side in sides for r in side.records)
    uses = "each block uses all test classes once" if whole else "no block uses a class twice"
    shared = f"; {uses}" if max(blocks, default=1) > 1 else ""
    told = [
        f"First − second on the same episodes. Errors are computed over {unit}{shared}. "
        "p t: paired t test; p flip: seeded sign-flip "
        f"permutation test; p Holm: of p t over the {_count(len(pairs))} shown. won, lost: shares "
        "of episodes; d: mean over standard deviation of the differences per episode; narrower: "
        "the paired 95% interval against the unpaired one."
    ]
    told += _seed_notes(pairs)
    told.append(CLASSES)
    if len(pairs) > 1:
        told.append(counted(pairs))
    short = [pair for pair in pairs if pair.paired.n_episode < 2 * pair.paired.block]
    if short:
        told.append(
            "Fewer than two blocks of episodes say nothing of their spread, so ± is unknown: "
            f"{_listed(short)}."
        )
    for side in sides:
        means = [float(record.accuracy.mean()) for record in side.records]
        told += stray_note(f"{side.label} {side.k_shot}-shot", side.seeds, means)
    titles = {r.method: r.title for side in sides for r in side.records if r.outside}
    told += outside_note([f"{method} ({title})" for method, title in titles.items()])
    left_out = {str(x): x for p in pairs for s in (p.first, p.second) for x in s.left_out}
    told += left_out_note(list(left_out.values()))
    apart = dict.fromkeys(
        f"{side.label} {r.k_shot}-shot {seeds_text(set(side.seeds))} ({r.apart}, {r.steps} steps)"
        for side in sides
        for r in side.records
        if r.apart
    )
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


def counted(pairs: Sequence[Comparison]) -> str:
    """How many of the differences hold, over what is drawn anew."""
    clear = [pair for pair in pairs if pair.interval.excludes_zero]
    classes = [
        pair
        for pair in clear
        if pair.class_half_width is not None
        and Interval(pair.interval.mean, pair.class_half_width).excludes_zero
    ]
    return (
        f"± excludes 0 in {len(clear)} of {_count(len(pairs))}, and in {len(classes)} of these "
        "± classes does, too."
    )


def _seed_notes(pairs: Sequence[Comparison]) -> list[str]:
    """What ± and the p-values cover, by the number of seeds of the sides."""
    told = []
    seeded = [pair for pair in pairs if pair.crossed is not None]
    alike = [pair for pair in pairs if pair.same_training and pair.crossed is None]
    seedless = [side for side in _sides(pairs) if not side.trained]
    if len(seeded) < len(pairs):
        where = "Where both sides have one training seed, " if seeded else ""
        one = "one training seed or none" if seedless else "one training seed"
        why = "" if seeded else f": each side has {one}"
        told.append(
            f"{where}± covers episodes alone, and every p-value is about these two checkpoints, "
            f"not about the methods{why}. holds to: the interval excludes 0 while the standard "
            "deviation between seeds is less than so many points."
        )
    if alike:
        told.append(
            f"Two tests of one trained model, of which no other seed is compared: {_listed(alike)}."
        )
    if seedless:
        told.append(f"Without training, so without seeds: {_named(seedless)}.")
    if seeded:
        sides = _sides(seeded)
        several = [side for side in sides if len(side.seeds) > 1]
        where = f"Where a side has several ({_named(several)}), " if len(told) else ""
        told.append(
            f"{where}± and p t cover training seeds and episodes, crossed (two-way random effects, "
            "Satterthwaite); p flip, won, lost, d and narrower are "
            "of the accuracies averaged over these seeds, so about these checkpoints."
        )
        borrowing = _sides([pair for pair in seeded if pair.borrowed])
        single = [side for side in borrowing if len(side.seeds) == 1]
        if single:
            whose = _named(several) if len(several) == 1 else "the other side of the pair"
            told.append(
                f"One seed only: {_named(single)}. The variance between its seeds is unknown and "
                f"assumed to be that of {whose}; more seeds would test this. If it holds, the "
                f"interval covers {COVERAGE}."
            )
        if any(len(side.seeds) == 2 for side in several):
            told.append(f"{TWO_SEEDS}; a narrow interval means that the two happened to agree.")
    return told


def _sides(pairs: Sequence[Comparison]) -> list[Side]:
    """Each side once; with fewer seeds in another pair, once more."""
    found = {(s.label, s.k_shot, s.seeds): s for p in pairs for s in (p.first, p.second)}
    return list(found.values())


def _listed(pairs: Sequence[Comparison]) -> str:
    return ", ".join(f"{pair.label} {pair.k_shot}-shot" for pair in pairs)


def _count(n: int) -> str:
    return "one pair" if n == 1 else f"{n} pairs"


def _named(sides: Sequence[Side]) -> str:
    """Each row with its number of seeds, if there are several, and its shots."""
    shots: dict[str, list[str]] = {}
    for side in sides:
        seeds = f"{len(side.seeds)} seeds of " if len(side.seeds) > 1 else ""
        shots.setdefault(f"{seeds}{side.label}", []).append(f"{side.k_shot}-shot")
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in shots.items())
