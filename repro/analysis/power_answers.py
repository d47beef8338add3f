"""What more episodes and seeds would show, as values: of a cell against the paper, of a pair."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from repro import paper
from repro.analysis import power
from repro.analysis.compare import Comparison
from repro.analysis.seeds import layout
from repro.analysis.selection import stacked
from repro.analysis.table1 import Cell
from repro.paper import Z_95

MEASURED, PAPERS, ASSUMED = "measured", "paper", "assumed"


@dataclass(frozen=True)
class CellPower:
    """A cell held against the paper, one trained model on each side; fractions.

    Attributes:
        episode_sd: spread of episodes; ``episode_sd_from`` is ``measured`` or the ``paper``'s own.
        chance_of_equivalence: that ``n_episode`` episodes call a true tie equivalent within the
            margin.
        episodes_for_margin: that bring this chance to ``power``; None: no number does.
        margin_of_paper: that a true tie reaches with this chance and episodes without end.
        separable: the true difference that ``n_episode`` episodes tell with this chance.
    """

    dataset: str
    method: str
    k_shot: int
    n_episode: int
    margin: float
    power: float
    episode_sd: float
    episode_sd_from: str
    chance_of_equivalence: float
    episodes_for_margin: int | None
    margin_of_paper: float
    separable: float


@dataclass(frozen=True)
class Size:
    """A true difference, and what tells it with the chance asked for; None: no number does.

    Attributes:
        kind: ``measured`` or ``margin``.
        episodes: between these checkpoints. seeds: a side, between the methods.
    """

    kind: str
    difference: float
    episodes: int | None
    seeds: int | None


@dataclass(frozen=True)
class PairPower:
    """Two rows held against each other; fractions.

    Attributes:
        sizes: the difference as large as measured (left out at 0) and the margin.
        episodes_for_margin: for a true tie to be called equivalent, between these checkpoints.
        seed_sd: between seeds: of the paired differences where both sides ran the same number of
            seeds, else of one side's accuracies.
        seed_sd_from: where that is from: ``measured`` (both sides) or ``assumed``, else the label
            of the one side with several seeds.
        n_seed: seeds it was measured on; 0 where it was assumed.
    """

    dataset: str
    k_shot: int
    first: str
    second: str
    difference_mean: float
    difference_half_width: float
    covers: str
    n_episode: int
    margin: float
    power: float
    sizes: tuple[Size, ...]
    episodes_for_margin: int | None
    seed_sd: float
    seed_sd_from: str
    n_seed: int


def of_cell(
    cell: Cell, reported: paper.Reported, dataset: str, margin: float, n_episode: int
) -> CellPower:
    """What ``n_episode`` episodes show of a cell, and what would.

    The spread of episodes is the measured one where the cell was run (one seed's, as the paper's
    interval has it), else the paper's own.
    """
    error = reported.half_width / Z_95
    if cell.estimate is not None and cell.n_episode and cell.episode_sd is not None:
        spread, source = cell.episode_sd, MEASURED
    else:
        spread, source = error * math.sqrt(paper.N_TEST_EPISODE), PAPERS
    noise = power.Noise(spread, fixed=error)
    return CellPower(
        dataset=dataset,
        method=cell.method,
        k_shot=cell.k_shot,
        n_episode=n_episode,
        margin=margin,
        power=power.POWER,
        episode_sd=spread,
        episode_sd_from=source,
        chance_of_equivalence=power.chance_of_equivalence(noise.error(n_episode), margin),
        episodes_for_margin=power.episodes_for_margin(noise, margin),
        margin_of_paper=power.smallest_reachable_margin(noise.fixed),
        separable=power.smallest_separable(noise.error(n_episode)),
    )


def of_pair(pair: Comparison, margin: float, seed_sd: float) -> PairPower:
    """What separates two rows as far apart as measured, or ``margin`` apart.

    Args:
        seed_sd: standard deviation between training seeds of one method's accuracy, assumed where
            neither side has several.
    """
    paired, difference = pair.paired, abs(pair.interval.mean)
    noise = power.Noise(paired.standard_error * math.sqrt(paired.n_episode))
    both, spread, source, n_seed = _with_seeds(pair, noise, seed_sd)

    def size(kind: str, wanted: float) -> Size:
        episodes = power.episodes_to_separate(noise, wanted)
        n = power.seeds_to_separate(both, wanted, paired.n_episode, block=paired.block)
        return Size(kind, wanted, episodes, n)

    sizes = [size("margin", margin)]
    if difference > 1e-9:
        sizes.insert(0, size(MEASURED, difference))
    return PairPower(
        dataset=pair.dataset,
        k_shot=pair.k_shot,
        first=pair.first.label,
        second=pair.second.label,
        difference_mean=pair.interval.mean,
        difference_half_width=pair.interval.half_width,
        covers=pair.covers,
        n_episode=paired.n_episode,
        margin=margin,
        power=power.POWER,
        sizes=tuple(sizes),
        episodes_for_margin=power.episodes_for_margin(noise, margin),
        seed_sd=spread,
        seed_sd_from=source,
        n_seed=n_seed,
    )


def _with_seeds(
    pair: Comparison, noise: power.Noise, assumed: float
) -> tuple[power.Noise, float, str, int]:
    """The noise of a difference of methods; its seeds' spread, where that is from, their number.

    Each seed brings its own noise on the same episodes too: that part shrinks with seeds.
    """
    found = pair.crossed.layout if pair.crossed else None
    if found is not None:
        per_episode = pair.paired.n_episode / found.n_unit
        units = max(0.0, (found.unit - found.rest) / found.n_seed)
        seeds = found.seed_variance + found.rest / found.n_unit
        both = power.Noise(math.sqrt(units * per_episode), math.sqrt(seeds))
        return both, math.sqrt(found.seed_variance), MEASURED, found.n_seed
    spread, source, n_seed = assumed, ASSUMED, 0
    if pair.lent is not None:
        lent = layout(stacked(pair.lent.records), pair.paired.block)
        spread, source, n_seed = math.sqrt(lent.seed_variance), pair.lent.label, lent.n_seed
    return power.Noise(noise.episode_sd, math.sqrt(2) * spread), spread, source, n_seed


def as_json(found: Sequence[CellPower | PairPower]) -> str:
    """Answers as a JSON list; accuracies and chances are fractions, infinite is null."""
    rows = [
        {key: None if value == math.inf else value for key, value in asdict(item).items()}
        for item in found
    ]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"
