"""Power of a cell against the paper and of a pair of methods, as values."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from repro.analysis.compare.pairs import Comparison
from repro.analysis.seeds import stacked
from repro.analysis.statistics import power
from repro.analysis.statistics.classes import n_class
from repro.analysis.statistics.paired import quantile
from repro.analysis.statistics.seeds import layout
from repro.analysis.table.cell import Cell
from repro.papers import paper
from repro.papers.paper import Z_95
from repro.system.errors import RecordError

MEASURED, PAPERS, ASSUMED, EACH_SIDE = "measured", "paper", "assumed", "each side"


@dataclass(frozen=True)
class CellPower:
    """A cell held against the paper, one trained model on each side; fractions.

    Attributes:
        episode_sd: spread of episodes; ``episode_sd_from`` is ``measured`` or the ``paper``'s own.
        chance_of_equivalence: that ``n_episode`` episodes call a true tie equivalent within the
            margin.
        episodes_for_margin: that bring this chance to ``power``; None: no number does.
        margin_of_paper: that a true tie reaches with this chance and episodes without end.
        separable: the true difference that ``n_episode`` episodes separate with this power.
        class_half_width: of the measured accuracy's 95% interval over the choice of test classes.
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
    class_half_width: float | None


@dataclass(frozen=True)
class Size:
    """A true difference, and what separates it with the power asked for; None: no number does.

    Attributes:
        kind: ``measured`` or ``margin``.
        episodes: between these checkpoints.
        seeds: a side, between the methods, where all noise of episodes is of seed × episode.
        seeds_most: where none of it is. Both are the same where the records separate the two.
    """

    kind: str
    difference: float
    episodes: int | None
    seeds: int | None
    seeds_most: int | None


@dataclass(frozen=True)
class PairPower:
    """Two rows held against each other; fractions.

    Attributes:
        sizes: the difference as large as measured (left out at 0) and the margin.
        episodes_for_margin: for a true tie to be called equivalent, between these checkpoints.
        seed_sd: between seeds: of the paired differences where both sides ran the same number of
            seeds, else of one side's accuracies.
        seed_sd_from: where that is from: ``measured`` (the paired differences), ``each side`` (the
            root mean square of the two sides', which ran several seeds but not as many) or
            ``assumed``, else the label of the one side with several seeds.
        n_seed: seeds it was measured on, of ``each side`` together; 0 where it was assumed.
        class_half_width: of the 95% interval over the choice of test classes; None: not known.
        separable_classes: the true difference that these classes separate over other classes.
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
    class_half_width: float | None
    separable_classes: float | None


def of_cell(
    cell: Cell, reported: paper.Reported, dataset: str, margin: float, n_episode: int,
    of_paper: int = paper.N_TEST_EPISODE,
) -> CellPower:  # fmt: skip
    """What ``n_episode`` episodes show of a cell, and what would.

    The spread of episodes is the measured one where the cell was run (one seed's, as the paper's
    interval has it), else the paper's own, which is of ``of_paper`` episodes.
    """
    error = reported.half_width / Z_95
    if cell.estimate is not None and cell.n_episode and cell.episode_sd is not None:
        spread, source = cell.episode_sd, MEASURED
    else:
        spread, source = error * math.sqrt(of_paper), PAPERS
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
        chance_of_equivalence=power.chance_of_equivalence(noise.checkpoints(n_episode), margin),
        episodes_for_margin=power.episodes_for_margin(noise, margin, known=True),
        margin_of_paper=power.smallest_reachable_margin(noise.fixed),
        separable=power.smallest_separable(noise.checkpoints(n_episode)),
        class_half_width=cell.class_half_width,
    )


def of_pair(pair: Comparison, margin: float, seed_sd: float) -> PairPower:
    """What separates two rows as far apart as measured, or ``margin`` apart.

    Args:
        seed_sd: standard deviation between training seeds of one method's accuracy, assumed where
            neither side has several.
    """
    paired, difference = pair.paired, abs(pair.interval.mean)
    found = _noises(pair, seed_sd)
    block = paired.block

    def size(kind: str, wanted: float) -> Size:
        seeds = [
            power.seeds_to_separate(noise, wanted, paired.n_episode, block=block)
            for noise in (found.least, found.most)
        ]
        return Size(
            kind, wanted, power.episodes_to_separate(found.checkpoints, wanted, block=block), *seeds
        )

    sizes = [size("margin", margin)]
    if difference > 1e-9:
        sizes.insert(0, size(MEASURED, difference))
    separable = None
    if pair.class_half_width is not None:
        df = n_class(pair.first.records[0]) - 1
        separable = power.smallest_separable(pair.class_half_width / quantile(df), df=df)
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
        episodes_for_margin=power.episodes_for_margin(found.checkpoints, margin, block=block),
        seed_sd=found.seed_sd,
        seed_sd_from=found.source,
        n_seed=found.n_seed,
        class_half_width=pair.class_half_width,
        separable_classes=separable,
    )


@dataclass(frozen=True)
class _Noises:
    """Noise between two checkpoints, and between the methods at the least and most that the
    records allow."""

    checkpoints: power.Noise
    least: power.Noise
    most: power.Noise
    seed_sd: float
    source: str
    n_seed: int


def _noises(pair: Comparison, assumed: float) -> _Noises:
    """Where the noise of a pair is from.

    With several seeds on a side the noise of seed × episode is measured; a side of one seed is
    taken to have as much. With one seed a side it cannot be separated from that of the episodes
    alone: all of it is of seed × episode (least) or none (most).
    """
    paired, block = pair.paired, pair.paired.block
    per_block = paired.standard_error**2 * paired.n_unit  # variance of a block's mean
    if paired.n_episode < 2 * block:
        raise RecordError(
            f"{pair.first.label} and {pair.second.label} have {paired.n_episode} episodes, fewer "
            f"than two blocks of {block}: their noise is unknown; test more episodes"
        )

    def noise(unit: float, rest: float, seed_variance: float) -> power.Noise:
        unit, rest = max(0.0, unit) * block, rest * block
        return power.Noise(math.sqrt(unit), math.sqrt(seed_variance), math.sqrt(rest))

    crossed = pair.crossed.layout if pair.crossed else None
    if crossed is not None:
        unit = (crossed.unit - crossed.rest) / crossed.n_seed
        both = noise(unit, crossed.rest, crossed.seed_variance)
        spread, n_seed = math.sqrt(crossed.seed_variance), crossed.n_seed
        return _Noises(both, both, both, spread, MEASURED, n_seed)
    sides = [
        layout(stacked(side.records), block) if len(side.seeds) > 1 else None
        for side in (pair.first, pair.second)
    ]
    known = [side for side in sides if side is not None]
    if not known:
        variance = len(pair.trained) * assumed**2
        least, most = noise(0.0, per_block, variance), noise(per_block, 0.0, variance)
        return _Noises(most, least, most, assumed, ASSUMED, 0)
    filled = [side or known[0] for side in sides]
    counts = [len(pair.first.seeds), len(pair.second.seeds)]
    shared = per_block - sum(x.rest / n for x, n in zip(filled, counts, strict=True))
    rest, variance = (
        sum(x.rest for x in filled), sum(x.seed_variance for x in filled),
    )  # fmt: skip
    both = noise(shared, rest, variance)
    source = pair.borrowed.label if pair.borrowed is not None else EACH_SIDE
    spread = math.sqrt(variance / 2)
    return _Noises(both, both, both, spread, source, sum(x.n_seed for x in known))


def as_json(found: Sequence[CellPower | PairPower]) -> str:
    """Answers as a JSON list; accuracies and chances are fractions, infinite is null."""
    rows = [
        {key: None if value == math.inf else value for key, value in asdict(item).items()}
        for item in found
    ]
    return json.dumps(rows, indent=1, allow_nan=False) + "\n"
