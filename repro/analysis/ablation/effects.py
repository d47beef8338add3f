"""The results of an ablation: each switch's effect, its interval, and the spread of the seeds.

Everything is a fraction. An effect is a switch minus the base on the same meta-validation
episodes, under the same training seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from repro.analysis.statistics.paired import compare_paired, holm, quantile
from repro.analysis.statistics.seeds import BOTH, EPISODES, difference_of_seeds
from repro.records import ablation as variants
from repro.records import check_revision
from repro.records.ablation import BASE
from repro.system import storage
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records.ablation import VariantRecord

SCHEMA = 1
Values = npt.NDArray[np.float64]


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
        return plain


def _plain(value: Any) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in vars(value).items()}


def summarise(records: Sequence[VariantRecord]) -> Ablation:
    """The effects of an ablation from its records; switches without common seeds are left out.

    Raises:
        RecordError: no base, or records of other images, episodes or code.
    """
    by_label: dict[str, dict[int, VariantRecord]] = {}
    for record in records:
        by_label.setdefault(record.label, {})[record.seed] = record
    if BASE not in by_label:
        raise RecordError("the ablation has no test of the base yet; run the same command again")
    base = by_label.pop(BASE)
    first = base[min(base)]
    for record in records:
        for what in ("data", "episodes"):
            if record.digests.get(what) != first.digests.get(what):
                raise RecordError(
                    f"{record.path} was made on other {what} than {first.path} (digests); "
                    f"delete it and "
                    "run the ablation again"
                )
        check_revision(record)
    block = int(first.config["block"])
    made = [_effect(label, base, tested, block) for label, tested in by_label.items()]
    effects = [effect for effect in made if effect is not None]
    adjusted = holm([effect.p for effect in effects])
    effects = [replace(e, p_holm=p) for e, p in zip(effects, adjusted, strict=True)]
    # What costs no training first, then by size.
    effects.sort(key=lambda e: (e.retrained, -e.effect, e.label))
    pooled, df = _pooled([base, *by_label.values()])
    config = first.config
    return Ablation(
        dataset=str(config["dataset"]),
        method=str(config["method"]),
        k_shot=int(config["k_shot"]),
        base=str(config["base_name"]),
        base_recipe=dict(config["base_recipe"]),
        budget=str(config["budget_name"]),
        precision=str(config["precision"]),
        n_episode=len(first.accuracy),
        block=block,
        seeds=tuple(sorted(base)),
        base_by_seed=tuple(_means(base)),
        base_seed_sd=_sd(_means(base)),
        seed_sd=pooled,
        seed_df=df,
        reached_step=tuple(base[seed].reached_step for seed in sorted(base)),
        n_step=tuple(base[seed].n_step for seed in sorted(base)),
        effects=tuple(effects),
        digests={name: first.digests[name] for name in ("data", "episodes")},
        numerics_revision=first.numerics_revision,
        commits=tuple(sorted({record.commit for record in records})),
        dirty=any(record.dirty for record in records),
    )


def _means(tested: dict[int, VariantRecord]) -> list[float]:
    return [float(tested[seed].accuracy.mean()) for seed in sorted(tested)]


def _sd(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _pooled(groups: Sequence[dict[int, VariantRecord]]) -> tuple[float | None, int]:
    """Standard deviation between seeds within variants, and its degrees of freedom.

    Variants that test trainings of another one say nothing new, so the first of them counts, and
    without a training there is no seed.
    """
    squares, df = 0.0, 0
    seen: set[str] = set()
    for tested in groups:
        trained = [str(record.training.get("digest") or "") for record in tested.values()]
        if len(tested) > 1 and all(trained) and seen.isdisjoint(trained):
            seen.update(trained)
            means = np.array(_means(tested))
            squares += float(((means - means.mean()) ** 2).sum())
            df += len(means) - 1
    return (math.sqrt(squares / df), df) if df else (None, 0)


def _effect(
    label: str, base: dict[int, VariantRecord], tested: dict[int, VariantRecord], block: int
) -> Effect | None:
    seeds = sorted(base.keys() & tested.keys())
    if not seeds:
        return None
    ours = np.stack([tested[seed].accuracy for seed in seeds])
    theirs = np.stack([base[seed].accuracy for seed in seeds])
    if len(seeds) > 1:
        crossed = difference_of_seeds(ours, theirs, block)
        interval, p, covers = crossed.interval, crossed.p, BOTH
    else:
        paired = compare_paired(ours[0], theirs[0], block)
        interval, p, covers = paired.interval, paired.p_t, EPISODES
    half_width = interval.half_width if math.isfinite(interval.half_width) else None
    return Effect(
        label=label,
        retrained=any(bool(tested[seed].training.get("retrained")) for seed in seeds),
        seeds=tuple(seeds),
        accuracy=float(ours.mean()),
        effect=float((ours - theirs).mean()),
        half_width=half_width,
        covers=covers,
        p=p,
        p_holm=p,
        effect_by_seed=tuple((ours - theirs).mean(1).tolist()),
        seed_sd=_sd(ours.mean(1).tolist()),
        reached_step=tuple(tested[seed].reached_step for seed in seeds),
        n_step=tuple(tested[seed].n_step for seed in seeds),
    )


def summaries(root: Path, dataset: str) -> list[Ablation]:
    """The finished ablations of a dataset under a folder, computed from their records.

    Their ``ablation.json`` is for other programs; nothing is read from it.
    """
    paths = sorted((root / dataset / "ablation").glob(f"*/*/{variants.SUMMARY}"))
    return [summarise(variants.read_all(path.parent)) for path in paths]


def write_summary(folder: Path) -> Ablation:
    """Summarise an ablation's records and write ``ablation.json`` beside them."""
    found = summarise(variants.read_all(folder))
    storage.write_json(folder / variants.SUMMARY, found.content())
    return found
