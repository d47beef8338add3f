"""Power for people: a row per cell of a paper's table, a paragraph per pair."""

from __future__ import annotations

from collections.abc import Sequence

from repro.analysis.compare.power_answers import (
    ASSUMED,
    EACH_SIDE,
    MEASURED,
    CellPower,
    PairPower,
)
from repro.analysis.statistics.intervals import Interval
from repro.analysis.table.formats import aligned, wrapped
from repro.analysis.text import class_text, margin_text, percent, percent_interval, points, share
from repro.papers import paper
from repro.papers.pack import Table

AGAIN = (
    "More than 600 episodes use the same test images ever more often: ± shrinks although hardly a "
    "new image is seen, so it covers other images of the same classes less often. By the query "
    "images of the published mini-ImageNet records, it covers them in 92 to 95% of cases with 600 "
    "episodes and in 59 to 88% with 10,000."
)


def _again(numbers: Sequence[int | None]) -> list[str]:
    """The warning, where an answer has more episodes than the paper's."""
    return [AGAIN] if any(n and n > paper.N_TEST_EPISODE for n in numbers) else []


def against_paper(cells: Sequence[CellPower], of: Table | None = None) -> list[str]:
    """A row for each cell of a paper's table, and what holds for all.

    Args:
        cells: of one margin and power, one at least.
    """
    table = of or paper.PACK.table()
    within, power = _margin(cells[0].margin), share(cells[0].power)
    header = ("", "episodes", "spread", "tie seen", f"for {power}", "least margin", "separable",
              "± classes")  # fmt: skip
    notes = [
        "spread: standard deviation of the accuracies of episodes, in points (*: the paper's; the "
        "others are measured). tie seen: probability that these episodes call a true tie with the "
        f"paper equivalent within {within}. for {power}: episodes that bring it to {power}; none: "
        "the paper's own ± alone needs the least margin, in points. separable: the true "
        f"difference, in points, that these episodes detect with {power} power.",
        "These errors are of episodes only, with one trained model on each side: the best case. "
        "Training seeds add to them. The paper's number is from one seed, and more seeds of ours "
        "do not reduce its part.",
        *_again([n for cell in cells for n in (cell.n_episode, cell.episodes_for_margin)]),
    ]
    return [*aligned([header, *(_row(cell, table) for cell in cells)]), "", *wrapped(notes)]


def _row(cell: CellPower, of: Table) -> tuple[str, ...]:
    row = of.row(cell.method)
    assert row is not None
    needed = cell.episodes_for_margin
    return (
        f"{row.title} {cell.k_shot}-shot",
        f"{cell.n_episode:,}",
        percent(cell.episode_sd, digits=1) + ("" if cell.episode_sd_from == MEASURED else "*"),
        _probability(cell.chance_of_equivalence),
        "none" if needed is None else f"{needed:,}",
        points(cell.margin_of_paper),
        points(cell.separable),
        class_text(cell.class_half_width),
    )


def _probability(chance: float) -> str:
    return f"{percent(chance, digits=1)}%"


def _margin(margin: float) -> str:
    told = margin_text(margin)
    return f"{told} point" if told == "1" else f"{told} points"


def of_pair(pair: PairPower) -> list[str]:
    """A heading and lines."""
    difference = Interval(pair.difference_mean, pair.difference_half_width)
    power, margin = share(pair.power), _margin(pair.margin)
    told = [
        f"{pair.first} − {pair.second} {pair.k_shot}-shot: "
        f"{percent_interval(difference, signed=True)} points over {pair.covers} "
        f"({pair.n_episode:,} episodes)"
    ]
    what = {MEASURED: "a difference as large as measured", "margin": f"a difference of {margin}"}
    for size in pair.sizes:
        needed = _episodes(size.episodes)
        told.append(
            f"  between these checkpoints, {what[size.kind]} is detected with {power} power with "
            f"{needed}"
        )
    told.append(
        f"  between these checkpoints, a true tie is called equivalent within {margin} with "
        f"{power} power with {_episodes(pair.episodes_for_margin)}"
    )
    source = _source(pair)
    for size in pair.sizes:
        told.append(
            f"  between the methods ({source}), {what[size.kind]} is detected with {power} power "
            f"with {_seeds(size.seeds, size.seeds_most)} on {pair.n_episode:,} episodes"
        )
    if any(size.seeds != size.seeds_most for size in pair.sizes):
        told.append(
            "  (the smaller number if all noise of episodes differs from seed to seed, the larger "
            "one if none does; several seeds of a side tell the two apart)"
        )
    if pair.class_half_width is not None and pair.separable_classes is not None:
        told.append(
            f"  over other test classes the difference is {class_text(pair.class_half_width)}; "
            f"with so many classes one of {points(pair.separable_classes)} points is detected with "
            f"{power} power, whatever the number of episodes and seeds"
        )
    numbers = [*(size.episodes for size in pair.sizes), pair.episodes_for_margin, pair.n_episode]
    return [*told, *(f"  {line}" for line in _again(numbers))]


def _seeds(least: int | None, most: int | None) -> str:
    if least == most:
        return f"{least} seeds a side" if least else "no number of seeds"
    if most is None:
        return f"{least} seeds a side or more (at the worst no number of seeds)"
    return f"{least} to {most} seeds a side"


def _source(pair: PairPower) -> str:
    spread = percent(pair.seed_sd)
    if pair.seed_sd_from == ASSUMED:
        return f"if the SD between seeds of either side is {spread} points, which is assumed"
    if pair.seed_sd_from == MEASURED:
        return f"SD of the differences between seeds: {spread} points, from {pair.n_seed} seeds"
    if pair.seed_sd_from == EACH_SIDE:
        return (
            f"SD between seeds of either side: {spread} points, the root mean square of the two, "
            f"from {pair.n_seed} seeds"
        )
    return (
        f"if the SD between seeds of either side is {spread} points, as for the {pair.n_seed} "
        f"seeds of {pair.seed_sd_from}"
    )


def _episodes(needed: int | None) -> str:
    return f"{needed:,} episodes" if needed else "no number of episodes"
