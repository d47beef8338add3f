"""The results of an ablation: each switch's effect, its interval, and the spread of the seeds.

Everything is a fraction. An effect is a switch minus the base, compared in pairs on the same
episodes under the same training seeds. An ablation is found among records: a base, and those that
differ from it in one switch and in nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.analysis.compare.pairs import compare
from repro.analysis.compare.sides import Side
from repro.analysis.seeds import block_size
from repro.analysis.statistics.paired import holm, quantile
from repro.papers.config import RECIPES
from repro.papers.switches import BASE, changes, trained_as
from repro.records import config_of, other_revision
from repro.system import storage

if TYPE_CHECKING:
    from repro.records import Record

SCHEMA = 1
# Of a record's config: what a switch or a seed changes.
_MOVED = ("seed", "training", "recipe", "recipe_name")


@dataclass(frozen=True)
class Effect:
    """One switch against the base.

    Attributes:
        seeds: that both have. effect_by_seed: mean difference under each.
        accuracy: mean of the switch over its seeds and episodes.
        half_width: of the 95% interval; it covers what ``covers`` says.
        p, p_holm: of the t test that belongs to the interval; Holm's over all rows.
        seed_sd: standard deviation of the switch's mean accuracy between its seeds; None of one.
        reached_step, n_step: training steps made and asked for, by seed.
    """

    label: str
    retrained: bool
    seeds: tuple[int, ...]
    accuracy: float
    effect: float
    half_width: float | None
    covers: str
    p: float
    p_holm: float
    effect_by_seed: tuple[float, ...]
    seed_sd: float | None
    reached_step: tuple[int, ...]
    n_step: tuple[int, ...]

    @property
    def unfinished(self) -> bool:
        """Whether a training of it had not come to its end."""
        return self.reached_step != self.n_step


@dataclass(frozen=True)
class Ablation:
    """A base and its switches.

    Attributes:
        base_by_seed: the base's mean accuracy under each seed.
        base_seed_sd: their standard deviation; None of one seed.
        seed_sd: pooled over base and switches, ``seed_df`` degrees of freedom; None of one seed.
        reached_step, n_step: training steps made and asked for by the base, by seed.
        records: of the base and of all switches.
    """

    dataset: str
    method: str
    k_shot: int
    base: str
    base_recipe: dict[str, Any]
    budget: str
    precision: str
    n_episode: int
    block: int
    seeds: tuple[int, ...]
    base_by_seed: tuple[float, ...]
    base_seed_sd: float | None
    seed_sd: float | None
    seed_df: int
    reached_step: tuple[int, ...]
    n_step: tuple[int, ...]
    effects: tuple[Effect, ...]
    digests: dict[str, str]
    numerics_revision: int
    commits: tuple[str, ...]
    dirty: bool
    records: tuple[Record, ...]

    @property
    def unfinished(self) -> bool:
        """Whether a training of the base had not come to its end."""
        return self.reached_step != self.n_step

    @property
    def between_seeds(self) -> float | None:
        """95% of the differences of two seeds of one recipe are smaller, by the pooled SD."""
        if self.seed_sd is None:
            return None
        return quantile(self.seed_df) * math.sqrt(2) * self.seed_sd

    @property
    def seed_pairs(self) -> tuple[float, ...]:
        """Differences of the base's seeds: what changing nothing but the seed does."""
        by_seed = self.base_by_seed
        return tuple(a - b for i, a in enumerate(by_seed) for b in by_seed[:i])

    @property
    def name(self) -> str:
        """For files."""
        return f"ablation-{self.method}-{self.k_shot}-shot-{self.base}-{self.budget}"

    def content(self) -> dict[str, Any]:
        """As JSON."""
        plain: dict[str, Any] = {"schema": SCHEMA, **_plain(self)}
        plain["effects"] = [_plain(effect) for effect in self.effects]
        del plain["records"]
        return plain


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}


def ablations(records: Iterable[Record], of: Callable[[Record], bool]) -> list[Ablation]:
    """The ablations that have a base among the records; bases without a switch are among them.

    Records of other images, episodes, budget or precision belong to another ablation; those of
    another numerics revision to none.

    Args:
        records: on meta-validation. of: whether a record is of a base that is wanted.
    """
    groups: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda r: r.when):
        if not other_revision(record):
            groups.setdefault(_all_but_switches(record), []).append(record)
    found = []
    for group in groups.values():
        bases = {config_of(record).recipe: record for record in group if of(record)}
        found += [_ablation(base, group) for base in bases.values()]
    return found


def of_presets(records: Iterable[Record]) -> list[Ablation]:
    """The ablations of presets, where a switch was tested."""
    found = ablations(records, lambda record: record.recipe_name in RECIPES)
    return [ablation for ablation in found if ablation.effects]


def _all_but_switches(record: Record) -> str:
    kept = {k: v for k, v in record.config.items() if k not in _MOVED}
    return storage.digest([kept, record.digests.get("data"), record.digests.get("episodes")])


def _ablation(first: Record, group: Sequence[Record]) -> Ablation:
    base = config_of(first)
    by_label: dict[str, dict[int, Record]] = {}
    for record in group:
        label = changes(base.recipe, config_of(record).recipe)
        if "," not in label:
            by_label.setdefault(label, {})[record.seed] = record
    own = by_label.pop(BASE)
    retrained = {label: _retrained(own, tested) for label, tested in by_label.items()}
    made = [
        _effect(label, own, tested, retrained[label])
        for label, tested in by_label.items()
        if own.keys() & tested.keys()
    ]
    adjusted = holm([effect.p for effect in made])
    effects = [replace(e, p_holm=p) for e, p in zip(made, adjusted, strict=True)]
    # What costs no training first, then by size.
    effects.sort(key=lambda e: (e.retrained, -e.effect, e.label))
    # A test of the base's training says nothing new about the spread between trainings.
    groups = [own, *(tested for label, tested in by_label.items() if retrained[label])]
    pooled, df = _pooled(groups)
    shown = [*own.values(), *(r for tested in by_label.values() for r in tested.values())]
    return Ablation(
        dataset=first.dataset,
        method=first.method,
        k_shot=first.k_shot,
        base=first.recipe_name,
        base_recipe=base.recipe.describe(),
        budget=first.budget_name,
        precision=base.precision,
        n_episode=first.n_episode,
        block=block_size(first),
        seeds=tuple(sorted(own)),
        base_by_seed=tuple(_means(own)),
        base_seed_sd=_sd(_means(own)),
        seed_sd=pooled,
        seed_df=df,
        reached_step=tuple(own[seed].n_step for seed in sorted(own)),
        n_step=tuple(_asked(own[seed]) for seed in sorted(own)),
        effects=tuple(effects),
        digests={name: first.digests.get(name, "") for name in ("data", "episodes")},
        numerics_revision=first.numerics_revision,
        commits=tuple(sorted({record.commit for record in shown})),
        dirty=any(record.dirty for record in shown),
        records=tuple(shown),
    )


def _retrained(base: dict[int, Record], tested: dict[int, Record]) -> bool:
    """Whether a switch needed a training that the base does not have."""
    record = next(iter(tested.values()))
    if "retrained" in record.training:
        return bool(record.training["retrained"])
    ours, cell = config_of(next(iter(base.values()))), config_of(record)
    ours = replace(ours, seed=cell.seed)
    return trained_as(ours, cell) is not ours and cell.training() is not None


def _asked(record: Record) -> int:
    """Training steps asked for."""
    return int(record.training.get("n_step", 0))


def _means(tested: dict[int, Record]) -> list[float]:
    return [float(tested[seed].accuracy.mean()) for seed in sorted(tested)]


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _pooled(groups: Sequence[dict[int, Record]]) -> tuple[float | None, int]:
    """Standard deviation between seeds within trainings, and its degrees of freedom.

    Without a training there is no seed.
    """
    squares, df = 0.0, 0
    for tested in groups:
        if len(tested) > 1 and all(record.training.get("digest") for record in tested.values()):
            means = np.array(_means(tested))
            squares += float(((means - means.mean()) ** 2).sum())
            df += len(means) - 1
    return (math.sqrt(squares / df), df) if df else (None, 0)


def _effect(
    label: str, base: dict[int, Record], tested: dict[int, Record], retrained: bool
) -> Effect:
    seeds = sorted(base.keys() & tested.keys())
    ours, theirs = (
        Side(name, tuple(side[seed] for seed in seeds))
        for name, side in ((label, tested), (BASE, base))
    )
    pair = compare(ours, theirs)
    means = [float(record.accuracy.mean()) for record in ours.records]
    paired = zip(ours.records, theirs.records, strict=True)
    interval = pair.interval
    return Effect(
        label=label,
        retrained=retrained,
        seeds=tuple(seeds),
        accuracy=float(np.mean(means)),
        effect=interval.mean,
        half_width=interval.half_width if math.isfinite(interval.half_width) else None,
        covers=pair.covers,
        p=pair.p,
        p_holm=pair.p,
        effect_by_seed=tuple(float((a.accuracy - b.accuracy).mean()) for a, b in paired),
        seed_sd=_sd(means),
        reached_step=tuple(record.n_step for record in ours.records),
        n_step=tuple(_asked(record) for record in ours.records),
    )
