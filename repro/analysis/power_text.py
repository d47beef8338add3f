"""What more episodes and seeds would show, in plain words: a paragraph per cell or pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

from repro import paper
from repro.analysis import power
from repro.analysis.compare import Comparison
from repro.analysis.formats import percent, percent_interval, points
from repro.analysis.table1 import Cell
from repro.paper import Z_95


def against_paper(cells: Sequence[Cell], margin: float, n_episode: int) -> list[str]:
    """For each cell: how often ``n_episode`` episodes show a true tie, and what would.

    The spread of episodes is the measured one where the cell was run (one seed's, as the paper's
    interval has it), else the paper's own.
    """
    found = [
        _cell(cell, cell.reported, margin, n_episode)
        for cell in cells
        if cell.reported and cell.in_paper
    ]
    return [
        *found,
        "One trained model on each side: these are the errors of episodes alone, the best case. "
        "Training seeds add to them; the paper's is one seed, whose share more seeds of ours "
        "cannot take away.",
    ]


def _cell(cell: Cell, reported: paper.Reported, margin: float, n_episode: int) -> str:
    error = reported.half_width / Z_95
    measured = cell.estimate
    if measured is not None and cell.n_episode and cell.episode_sd is not None:
        spread, source = cell.episode_sd, "measured"
    else:
        spread, source = error * math.sqrt(paper.N_TEST_EPISODE), "the paper's"
    noise = power.Noise(spread, fixed=error)
    chance = power.chance_of_equivalence(noise.error(n_episode), margin)
    told = (
        f"{cell.title} {cell.k_shot}-shot (spread of episodes {percent(spread, digits=1)} points, "
        f"{source}): with {n_episode:,} episodes a true tie with the paper is called equivalent "
        f"within {points(margin)} points {power.in_words(chance)} ({chance:.1%})"
    )
    needed = power.episodes_for_margin(noise, margin)
    if needed is None:
        least = power.smallest_reachable_margin(noise.fixed)
        told += (
            f"; no number of episodes brings that to four runs of five, for the paper's own "
            f"± {percent(reported.half_width)} alone allows {points(least)} points"
        )
    else:
        told += f"; {needed:,} episodes bring that to four runs of five"
    apart = power.smallest_separable(noise.error(n_episode))
    return f"{told}. A true difference of {points(apart)} points is told in four runs of five."


def of_pair(pair: Comparison, margin: float, seed_sd: float) -> list[str]:
    """What separates two rows as far apart as measured, or ``margin`` apart: a heading and lines.

    Args:
        seed_sd: standard deviation between training seeds of one method's accuracy, assumed where
            seeds were not run on both sides.
    """
    paired, difference = pair.paired, abs(pair.interval.mean)
    noise = power.Noise(paired.standard_error * math.sqrt(paired.n_episode))
    name = f"{pair.first.label} − {pair.second.label} {pair.k_shot}-shot"
    told = [
        f"{name}: {percent_interval(pair.interval, signed=True)} points over {pair.covers} "
        f"({paired.n_episode:,} episodes). Each of these comes out in four runs of five:"
    ]
    sizes = [(margin, f"a difference of {points(margin)} points")]
    if difference > 1e-9:
        sizes.insert(0, (difference, "a difference as large as measured"))
    for size, what in sizes:
        needed = power.episodes_to_separate(noise, size)
        told.append(f"  between these checkpoints, {what} is told with {_episodes(needed)}")
    told.append(
        f"  between these checkpoints, a true tie is called equivalent within {points(margin)} "
        f"points with {_episodes(power.episodes_for_margin(noise, margin))}"
    )
    both, source = _with_seeds(pair, noise, seed_sd)
    for size, what in sizes:
        n = power.seeds_to_separate(both, size, paired.n_episode, block=paired.block)
        count = f"{n} seeds a side" if n else "no number of seeds"
        told.append(
            f"  between the methods ({source}), {what} is told with {count} on "
            f"{paired.n_episode:,} episodes"
        )
    return told


def _episodes(needed: int | None) -> str:
    return f"{needed:,} episodes" if needed else "no number of episodes"


def _with_seeds(pair: Comparison, noise: power.Noise, assumed: float) -> tuple[power.Noise, str]:
    """The noise of a difference of methods, and where its seeds' part is from.

    Each seed brings its own noise on the same episodes too: that part shrinks with seeds.
    """
    found = pair.crossed.layout if pair.crossed else None
    if found is None:
        told = f"if seeds of either spread {percent(assumed)} points, assumed"
        return power.Noise(noise.episode_sd, math.sqrt(2) * assumed), told
    per_episode = pair.paired.n_episode / found.n_unit
    units = max(0.0, (found.unit - found.rest) / found.n_seed)
    seeds = found.seed_variance + found.rest / found.n_unit
    told = (
        f"their seeds' differences spread {percent(math.sqrt(found.seed_variance))} points, "
        f"from {found.n_seed} seeds"
    )
    return power.Noise(math.sqrt(units * per_episode), math.sqrt(seeds)), told
