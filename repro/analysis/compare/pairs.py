"""Paired comparisons of records: which records are paired, and the results."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from repro.analysis.selection import LeftOut, block_size, select, stacked
from repro.analysis.statistics.classes import class_half_width, episode_classes
from repro.analysis.statistics.intervals import Interval
from repro.analysis.statistics.paired import Paired, compare_paired, holm
from repro.analysis.statistics.seeds import BOTH, EPISODES, Estimate, difference_of_seeds
from repro.analysis.table.verdicts import holds_to_seed_sd
from repro.papers.catalogue import BUILT_IN, order
from repro.records import check_revision
from repro.system.errors import RecordError, UsageError, unknown

if TYPE_CHECKING:
    from repro.records import Record

SCHEMA = 2  # of the JSON
FIELDS = ("dataset", "recipe", "budget", "seed", "k_shot", "n_way", "n_query", "test_dataset")
_NUMBERS = ("seed", "k_shot", "n_way", "n_query")


@dataclass(frozen=True)
class Selector:
    """What a user calls a side: a method with fields to choose its records by, or a folder."""

    text: str
    method: str | None
    folder: Path | None
    fields: dict[str, str]

    def names(self, record: Record) -> bool:
        """Whether a record is the one of the folder, or has the method and the fields."""
        if self.folder is not None:
            return record.path.resolve() == self.folder.resolve()
        values = {
            "dataset": record.dataset,
            "recipe": record.recipe_name,
            "budget": record.budget_name,
            "seed": str(record.seed),
            "k_shot": str(record.k_shot),
            **task_values(record),
        }
        same = all(values[name] == value for name, value in self.fields.items())
        return record.method == self.method and same


def task_values(record: Record) -> dict[str, str]:
    """The fields of a selector that are of a record's task."""
    task = record.task
    return {
        "n_way": str(task.n_way),
        "n_query": str(task.n_query),
        "test_dataset": record.tested_on,
    }


@dataclass(frozen=True)
class Side:
    """Records of one config, one per training seed."""

    label: str
    records: tuple[Record, ...]
    left_out: tuple[LeftOut, ...] = ()  # records of the side that are not compared

    @property
    def k_shot(self) -> int:
        return self.records[0].k_shot

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(record.seed for record in self.records)


@dataclass(frozen=True)
class Comparison:
    """First minus second on the same episodes of one data set at one shot.

    Attributes:
        paired: of the accuracies, averaged over a side's seeds: about these checkpoints.
        crossed: over seeds and episodes; None where both sides have one seed.
        class_half_width: of the 95% interval over the choice of test classes.
        p_holm: Holm's over the pairs shown, of :attr:`p`.
    """

    dataset: str
    k_shot: int
    first: Side
    second: Side
    paired: Paired
    crossed: Estimate | None
    class_half_width: float | None = None
    p_holm: float = 1.0

    @property
    def interval(self) -> Interval:
        """The 95% interval: over seeds and episodes where a side has several seeds."""
        return self.crossed.interval if self.crossed else self.paired.interval

    @property
    def p(self) -> float:
        """Of the t test that belongs to :attr:`interval`."""
        return self.crossed.p if self.crossed else self.paired.p_t

    @property
    def covers(self) -> str:
        return BOTH if self.crossed else EPISODES

    @property
    def holds_to_seed_sd(self) -> float | None:
        """Up to which spread of seeds a difference of one seed a side excludes 0."""
        return None if self.crossed else holds_to_seed_sd(self.interval)

    @property
    def borrowed(self) -> Side | None:
        """The side whose variance between seeds stands for both, the other having one seed."""
        sides = self.first, self.second
        several = [side for side in sides if len(side.seeds) > 1]
        return several[0] if len(several) == 1 else None

    def content(self) -> dict[str, Any]:
        """As JSON: accuracies and shares are fractions, infinite is null."""
        paired = self.paired
        bounds = self.crossed.bootstrap if self.crossed else None
        source = self.borrowed.label if self.borrowed else "each side" if self.crossed else None
        return {
            "schema": SCHEMA,
            "dataset": self.dataset,
            "k_shot": self.k_shot,
            "first": self.first.label,
            "second": self.second.label,
            "first_seeds": list(self.first.seeds),
            "second_seeds": list(self.second.seeds),
            "difference_mean": self.interval.mean,
            "difference_half_width": _finite(self.interval.half_width),
            "difference_half_width_classes": self.class_half_width,
            "covers": self.covers,
            "holds_to_seed_sd": self.holds_to_seed_sd,
            "seed_variance_from": source,
            "bootstrap": list(bounds) if bounds else None,
            "p_about": "seeds and episodes" if self.crossed else "these checkpoints",
            "p_t": self.p,
            "p_sign_flip": paired.p_sign_flip,
            "p_sign_flip_about": "these checkpoints",
            "p_holm": self.p_holm,
            "won": paired.won,
            "tied": paired.tied,
            "lost": paired.lost,
            "effect_size": _finite(paired.effect_size),
            "narrower": paired.narrower,
            "n_episode": paired.n_episode,
            "n_unit": paired.n_unit,
            "block": paired.block,
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def parse(text: str, known: Iterable[str] = ()) -> Selector:
    """A side from ``meta_lstm``, ``meta_lstm@recipe=paper,seed=1`` or the folder of a record.

    Args:
        known: methods that have records, beside those that are built in.
    Raises:
        UsageError: no such method, field or folder.
    """
    if (Path(text) / "record.json").exists():
        return Selector(text, None, Path(text), {})
    name, _, rest = text.partition("@")
    if "/" in text:
        raise UsageError(f"{text} holds no record.json; give the folder of a cell or a method")
    if name not in (names := {*BUILT_IN, *known}):
        raise unknown("method", name, names)
    fields = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = (p.strip() for p in part.partition("="))
        if not equals or key not in FIELDS:
            raise unknown("field", key, FIELDS)
        if key in _NUMBERS and not value.isdecimal():
            raise UsageError(f"{key} is a whole number, not {value!r}, in {text!r}")
        fields[key] = value
    return Selector(text, name, None, fields)


def sides(
    selector: Selector,
    records: Sequence[Record],
    recipe: str | None,
    budget: str | None,
    task: Mapping[str, Any] = MappingProxyType({}),
) -> list[Side]:
    """The sides a selector names among records of one data set, one per shot.

    All seeds of a config are one side unless a seed is asked for.

    Raises:
        RecordError: there is none, or it is of another numerics revision.
    """
    fields = selector.fields
    wanted_seed = int(fields["seed"]) if "seed" in fields else None
    named: dict[str, Any] = {n: int(fields[n]) for n in ("n_way", "n_query") if n in fields}
    named |= {n: fields[n] for n in ("test_dataset",) if n in fields}
    found = select(
        [r for r in records if r.method == selector.method],
        fields.get("recipe", recipe),
        fields.get("budget", budget),
        wanted_seed,
        {**task, **named},
    )
    groups: dict[int, list[Record]] = {}
    for record in found.records:
        if fields.get("k_shot") in (None, str(record.k_shot)):
            groups.setdefault(record.k_shot, []).append(record)
    if not groups:
        for record in records:
            if record.method == selector.method:
                check_revision(record)
        raise RecordError(
            f"no record matches {selector.text!r} (recipe {fields.get('recipe', recipe)}"
            + (f", budget {fields.get('budget', budget)}" if fields.get("budget", budget) else "")
            + "); `repro table` shows what is there"
        )
    return [
        Side(selector.text, tuple(group), tuple(x for x in found.left_out if x.record.k_shot == k))
        for k, group in groups.items()
    ]


def methods_of(
    records: Sequence[Record], recipe: str | None, budget: str | None, task: Mapping[str, Any]
) -> list[Selector]:
    """Selectors of every method that has a record, in the table's order."""
    found = {record.method for record in select(records, recipe, budget, task=task).records}
    return [Selector(method, method, None, {}) for method in sorted(found, key=order)]


def compare(first: Side, second: Side) -> Comparison:
    """Compare two sides, episode by episode.

    Raises:
        RecordError: they have different images or episodes, or are the same record.
    """
    a, b = first.records[0], second.records[0]
    named, others = ({(r.path, r.method) for r in side.records} for side in (first, second))
    if named & others:
        raise RecordError(f"{first.label} and {second.label} are the same record; name two")
    sizes = [(side.k_shot, side.task.n_way, side.task.n_query) for side in (a, b)]
    if sizes[0] != sizes[1]:
        raise RecordError(
            f"{first.label} is {a.k_shot}-shot, {a.task.told or '5-way'}, and {second.label} is "
            f"{b.k_shot}-shot, {b.task.told or '5-way'}; only records of the same task are compared"
        )
    # What is tested has to be the same; what was trained on may be what is compared.
    for name, what, one, other in (
        ("data", "images", a.tested_images, b.tested_images),
        ("episodes", "episodes", *(str(side.digests.get("episodes")) for side in (a, b))),
    ):
        if one != other:
            raise RecordError(
                f"{first.label} and {second.label} have different {what}: {name} digest "
                f"{one[:8]} in {a.path}, {other[:8]} in {b.path}; only records of the same "
                f"{what} are compared"
            )
    for record in (*first.records, *second.records):
        check_revision(record)
    ours, theirs = stacked(first.records), stacked(second.records)
    place = a.where if a.where == b.where else f"tested on {a.tested_on}"
    if ours.shape[1] != theirs.shape[1]:
        raise RecordError(
            f"{first.label} has {ours.shape[1]} episodes and {second.label} {theirs.shape[1]}; "
            "run them with the same budget"
        )
    block = max(block_size(a), block_size(b))
    crossed = None
    if max(len(ours), len(theirs)) > 1:
        crossed = difference_of_seeds(ours, theirs, block)
    paired = compare_paired(ours.mean(0), theirs.mean(0), block)
    classes = class_half_width(ours.mean(0) - theirs.mean(0), episode_classes(a))
    return Comparison(place, a.k_shot, first, second, paired, crossed, classes)


def all_pairs(groups: Sequence[Sequence[Side]]) -> list[Comparison]:
    """All pairs among the sides of each group, Holm's p-values over all of them together."""
    return with_holm(
        [compare(a, b) for group in groups for a, b in itertools.combinations(group, 2)]
    )


def with_holm(pairs: Sequence[Comparison]) -> list[Comparison]:
    """The pairs with Holm's p-values over all of them."""
    adjusted = holm([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True)]


def gather(
    selectors: Sequence[Selector],
    by_dataset: Mapping[str, Sequence[Record]],
    recipe: str | None,
    budget: str | None,
    folders: Mapping[str, Record],
    elsewhere: Mapping[str, Sequence[Record]],
    task: Mapping[str, Any] = MappingProxyType({}),
) -> list[list[Side]]:
    """Groups of sides that are compared: one group per data set and shot.

    Args:
        selectors: none: every method.
        folders: the record of each selector that is a folder, by its text.
        elsewhere: records of data sets that only a selector names.

    Raises:
        RecordError: nothing to compare.
    """
    groups: list[list[Side]] = []
    for dataset, records in by_dataset.items():
        found: list[list[Side]] = []
        for selector in selectors or methods_of(records, recipe, budget, task):
            if selector.folder is not None:
                record = folders[selector.text]
                label = f"{record.method} {record.path.name}"
                label += f" ({record.apart})" if record.apart else ""
                found.append([Side(label, (record,))])
            else:
                name = selector.fields.get("dataset", dataset)
                pool = {**elsewhere, **by_dataset}.get(name, ())
                found.append(sides(selector, pool, recipe, budget, task))
        shots = sorted({side.k_shot for listed in found for side in listed})
        single = [listed[0] for listed in found if len(listed) == 1]
        if selectors and len(single) == len(found):
            groups.append(single)  # as asked for, even when it then must be refused
            continue
        for k_shot in shots:
            group = [side for listed in found for side in listed if side.k_shot == k_shot]
            if len(group) > 1:
                groups.append(group)
    if not groups:
        raise RecordError("there are no two records to compare at the same shot; run more cells")
    return groups


def as_json(pairs: Sequence[Comparison]) -> str:
    """Pairs as a JSON list."""
    return json.dumps([pair.content() for pair in pairs], indent=1, allow_nan=False) + "\n"
