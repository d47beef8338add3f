"""The sides of a comparison: how a user names them, and the records they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from repro.analysis.selection import LeftOut, select
from repro.papers import recipes
from repro.papers.catalogue import BUILT_IN, order
from repro.records import check_revision
from repro.system.errors import RecordError, UsageError, unknown

if TYPE_CHECKING:
    from repro.records import Record

FIELDS = ("dataset", "recipe", "budget", "seed", "k_shot", "at_step", "n_way", "n_query",
          "test_dataset")  # fmt: skip
SWITCHES = tuple(f.name for f in dataclasses.fields(recipes.Recipe) if f.name != "name")
DEFAULT = "authors-code"  # the preset of switches without one
_NUMBERS = ("seed", "k_shot", "at_step", "n_way", "n_query")


@dataclass(frozen=True)
class Selector:
    """What a user calls a side: a method with fields to choose its records by, or a folder.

    Attributes:
        switches: by which the recipe of the records differs from the preset, as a recipe spells
            them, ``query_batch_norm=query``.
    """

    text: str
    method: str | None
    folder: Path | None
    fields: dict[str, str]
    switches: tuple[str, ...] = ()

    def recipe(self, preset: str | None) -> str | None:
        """The recipe asked for: that of the fields, else the preset, with the switches."""
        name = self.fields.get("recipe", preset)
        return ",".join((name or DEFAULT, *self.switches)) if self.switches else name

    def has_recipe(self, record: Record, preset: str | None = None) -> bool:
        """Whether a record has :meth:`recipe`; with switches, whatever its recipe is called."""
        name = self.recipe(preset)
        if not self.switches or name is None:
            return name in (None, record.recipe_name)
        wanted, own = recipes.recipe(name), dict(record.config.get("recipe") or {})
        return bool(own) and recipes.recorded({**own, "name": wanted.name}) == wanted

    def names(self, record: Record) -> bool:
        """Whether a record is the one of the folder, or has the method and the fields."""
        if self.folder is not None:
            return record.path.resolve() == self.folder.resolve()
        values = {
            "dataset": record.dataset,
            "budget": record.budget_name,
            "seed": str(record.seed),
            "k_shot": str(record.k_shot),
            "at_step": str(record.at_step),
            **task_values(record),
        }
        fields = {name: value for name, value in self.fields.items() if name != "recipe"}
        same = all(values[name] == value for name, value in fields.items())
        return record.method == self.method and same and self.has_recipe(record)


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

    @property
    def trained(self) -> bool:
        """Whether there is a training, or may be one: that of imported predictions is unknown."""
        return any(
            r.outside or r.config.get("training") or r.training.get("n_step") for r in self.records
        )


def parse(text: str, known: Iterable[str] = ()) -> Selector:
    """A side from ``meta_lstm``, ``meta_lstm@recipe=paper,seed=1`` or the folder of a record.

    Args:
        known: methods that have records, beside those that are built in.
    Raises:
        UsageError: no such method, field, switch or folder.
    """
    if (Path(text) / "record.json").exists():
        return Selector(text, None, Path(text), {})
    name, _, rest = text.partition("@")
    if "/" in text:
        raise UsageError(f"{text} holds no record.json; give the folder of a cell or a method")
    if name not in (names := {*BUILT_IN, *known}):
        raise unknown("method", name, names)
    chosen, switches = {}, []
    for part in filter(None, rest.split(",")):
        key, equals, value = (p.strip() for p in part.partition("="))
        if equals and key in SWITCHES:
            recipes.recipe(f"{DEFAULT},{key}={value}")  # says what is wrong with it
            switches.append(f"{key}={value}")
            continue
        if not equals or key not in FIELDS:
            raise unknown("field or switch", key, (*FIELDS, *SWITCHES))
        if key in _NUMBERS and not value.isdecimal():
            raise UsageError(f"{key} is a whole number, not {value!r}, in {text!r}")
        chosen[key] = value
    return Selector(text, name, None, chosen, tuple(switches))


def sides(
    selector: Selector,
    records: Sequence[Record],
    preset: str | None,
    budget: str | None,
    task: Mapping[str, Any] = MappingProxyType({}),
) -> list[Side]:
    """The sides a selector names among records of one data set, one per shot.

    All seeds of a config are one side unless a seed is asked for. A milestone has to be asked for.

    Raises:
        RecordError: there is none, or it is of another numerics revision.
    """
    fields = selector.fields
    wanted_seed = int(fields["seed"]) if "seed" in fields else None
    named: dict[str, Any] = {n: int(fields[n]) for n in ("n_way", "n_query") if n in fields}
    named |= {n: fields[n] for n in ("test_dataset",) if n in fields}
    own = [r for r in records if r.method == selector.method]
    found = select(
        [r for r in own if selector.has_recipe(r, preset)] if selector.switches else own,
        None if selector.switches else selector.recipe(preset),
        fields.get("budget", budget),
        wanted_seed,
        {**task, **named},
        int(fields["at_step"]) if "at_step" in fields else None,
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
            f"no record matches {selector.text!r} (recipe {selector.recipe(preset)}"
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
