"""What more episodes and seeds would show, in plain words: a paragraph per cell or pair."""

from __future__ import annotations

from collections.abc import Sequence

from repro import paper
from repro.analysis import power
from repro.analysis.formats import percent, percent_interval, points
from repro.analysis.power_answers import ASSUMED, MEASURED, CellPower, PairPower
from repro.analysis.stats import Interval


def against_paper(cells: Sequence[CellPower]) -> list[str]:
    """A line for each cell, and one for all."""
    return [
        *map(_cell, cells),
        "One trained model on each side: these are the errors of episodes alone, the best case. "
        "Training seeds add to them; the paper's is one seed, whose share more seeds of ours "
        "cannot take away.",
    ]


def _cell(cell: CellPower) -> str:
    source = "measured" if cell.episode_sd_from == MEASURED else "the paper's"
    told = (
        f"{paper.ROW_TITLES[cell.method]} {cell.k_shot}-shot (spread of episodes "
        f"{percent(cell.episode_sd, digits=1)} points, {source}): with {cell.n_episode:,} "
        f"episodes a true tie with the paper is called equivalent within {points(cell.margin)} "
        f"points {power.in_words(cell.chance_of_equivalence)} ({cell.chance_of_equivalence:.1%})"
    )
    if cell.episodes_for_margin is None:
        half_width = paper.TABLE_1[cell.method, cell.k_shot].half_width
        told += (
            f"; no number of episodes brings that to 80% power, because the paper's own "
            f"± {percent(half_width)} alone allows {points(cell.margin_of_paper)} points"
        )
    else:
        told += f"; {cell.episodes_for_margin:,} episodes bring that to 80% power"
    return (
        f"{told}. A true difference of {points(cell.separable)} points is detected with 80% power."
    )


def of_pair(pair: PairPower) -> list[str]:
    """A heading and lines."""
    difference = Interval(pair.difference_mean, pair.difference_half_width)
    told = [
        f"{pair.first} − {pair.second} {pair.k_shot}-shot: "
        f"{percent_interval(difference, signed=True)} points over {pair.covers} "
        f"({pair.n_episode:,} episodes). Each of these has 80% power:"
    ]
    margin = f"{points(pair.margin)} points"
    what = {MEASURED: "a difference as large as measured", "margin": f"a difference of {margin}"}
    for size in pair.sizes:
        needed = _episodes(size.episodes)
        told.append(f"  between these checkpoints, {what[size.kind]} is detected with {needed}")
    told.append(
        f"  between these checkpoints, a true tie is called equivalent within {margin} with "
        f"{_episodes(pair.episodes_for_margin)}"
    )
    source = _source(pair)
    for size in pair.sizes:
        count = f"{size.seeds} seeds a side" if size.seeds else "no number of seeds"
        told.append(
            f"  between the methods ({source}), {what[size.kind]} is detected with {count} on "
            f"{pair.n_episode:,} episodes"
        )
    return told


def _source(pair: PairPower) -> str:
    spread = percent(pair.seed_sd)
    if pair.seed_sd_from == ASSUMED:
        return f"if seeds of either spread {spread} points, assumed"
    if pair.seed_sd_from == MEASURED:
        return f"their seeds' differences spread {spread} points, from {pair.n_seed} seeds"
    return f"if seeds of either spread {spread} points, as the {pair.n_seed} of {pair.seed_sd_from}"


def _episodes(needed: int | None) -> str:
    return f"{needed:,} episodes" if needed else "no number of episodes"
