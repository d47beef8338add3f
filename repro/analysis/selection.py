"""The selection of records to show: which ones, which are seeds of the same cell, in which unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from repro.analysis.apart import select_apart
from repro.analysis.seeds import ignoring_seed, siblings, without_seed
from repro.papers import paper
from repro.papers.budgets import BUDGETS
from repro.papers.catalogue import numerics_revision, order
from repro.system import storage
from repro.system.errors import RecordError

if TYPE_CHECKING:
    from repro.records import Record

_BUDGET_RANK = {"smoke": 1, "quick": 2, "paper": 3}


@dataclass(frozen=True)
class LeftOut:
    """A record of a cell that is not shown, and why."""

    record: Record
    reason: str

    def __str__(self) -> str:
        return f"{self.record.told} seed {self.record.seed}: {self.reason}"


@dataclass(frozen=True)
class Selection:
    """The records shown, all seeds of a cell side by side in the table's order, and the others."""

    records: tuple[Record, ...]
    left_out: tuple[LeftOut, ...] = ()
    apart: tuple[Record, ...] = ()  # milestones and transductive tests, in lines of their own

    @property
    def one_each(self) -> list[Record]:
        """The lowest seed of each cell, for what shows a single model."""
        return one_each(self.records)


def one_each(records: Iterable[Record]) -> list[Record]:
    """The first record of each method and shot; seeds of a cell come by number."""
    first: dict[tuple[str, int], Record] = {}
    for record in records:
        first.setdefault((record.method, record.k_shot), record)
    return list(first.values())


def _rank(record: Record) -> tuple[bool, int, bool, int, int, float]:
    return (
        not record.transductive,  # where any recipe may be shown, the row's own number is
        _BUDGET_RANK.get(record.budget_name, 0),
        not record.unfinished,
        record.n_step,
        -record.seed,
        record.when,
    )


def select(
    records: Sequence[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
    task: Mapping[str, Any] = MappingProxyType({}),
    at_step: int | None = None,
) -> Selection:
    """All seeds of one configuration for each method and shot, in the table's order.

    All are of one task: of those that have what is asked of ``n_way``, ``n_query`` and
    ``test_dataset`` the paper's, else that of the newest record.

    Of the records of the recipe, budget (:func:`asked_for`) and seed asked for, those count that
    have the numerics revision of their row in this code and the images of the newest of them
    (another folder or split is not mixed in). A cell shows the largest budget (paper, quick, smoke,
    then others); in it finished trainings come before unfinished ones, then more steps, then the
    lowest seed, then the newest record; and with it all seeds of the same configuration, finished
    like it or unfinished at the same step. Models tested at another shot than they were trained for
    are no part of the table, and milestones only where one is asked for with ``at_step``. Every
    other record of a cell's recipe and budget is named with the reason.
    """
    found = [
        record
        for record in records
        if asked_for(record, recipe, budget)
        and (seed is None or record.seed == seed)
        and record.config.get("train_k_shot") is None
        and record.at_step == at_step
    ]
    found, elsewhere = _one_task(found, task)
    newest = max(
        (record for record in found if not _outdated(record)),
        key=lambda record: record.when,
        default=None,
    )
    cells: dict[tuple[tuple[int, str], int], list[Record]] = {}
    for record in found:
        cells.setdefault((order(record.method), record.k_shot), []).append(record)
    shown: list[Record] = []
    left_out: list[LeftOut] = []
    for key in sorted(cells):
        able = [r for r in cells[key] if not _outdated(r, newest)]
        best = max(able, key=_rank, default=None)
        chosen = siblings(best, able) if best else []
        shown += chosen
        left_out += [
            LeftOut(record, _outdated(record, newest) or _why(record, chosen))
            for record in cells[key]
            if not any(record is other for other in chosen)
            and (best is None or _group(record) == _group(best))
        ]
    apart = select_apart(records, shown, recipe, budget, seed)
    return Selection(tuple(shown), (*left_out, *elsewhere), tuple(apart))


def _one_task(
    records: Sequence[Record], asked: Mapping[str, Any]
) -> tuple[list[Record], list[LeftOut]]:
    """The records of the task that is shown, and the others, each with how it is chosen."""

    def has(record: Record) -> bool:
        sizes, tested = dict(asked), str(asked.get("test_dataset") or record.tested_on)
        sizes.pop("test_dataset", None)
        name, _, images = tested.partition("@")
        return (
            record.tested_on == name
            and record.tested_images.startswith(images)
            and all(getattr(record.task, field) == value for field, value in sizes.items())
        )

    def rank(record: Record) -> tuple[bool, bool, bool, float]:
        task = record.task
        return (
            not task.test_dataset,
            task.n_way == paper.N_WAY,
            task.n_query == paper.N_QUERY,
            record.when,
        )

    shown = max(filter(has, records), key=rank, default=None)
    if shown is None:
        return [], []
    task = shown.task
    others = [
        LeftOut(r, f"another task, which {r.task.chosen_over(task, r.dataset)} shows")
        for r in records
        if r.task != task
    ]
    return [r for r in records if r.task == task], others


def asked_for(record: Record, recipe: str | None, budget: str | None) -> bool:
    """Whether a record has the recipe and the budget (None: any).

    Imported predictions have neither: they go with every recipe, and with every budget that tests
    as many episodes.
    """
    if record.outside:
        asked = BUDGETS.get(budget or "")
        same = budget in (None, record.budget_name)
        return same or (asked is not None and asked.n_test_episode == record.n_episode)
    return recipe in (None, record.recipe_name) and budget in (None, record.budget_name)


def at_shots(chosen: Selection, shots: Sequence[int]) -> Selection:
    """What was selected, at some shots only; none named: all.

    Raises:
        RecordError: there is nothing at these shots.
    """
    if not shots:
        return chosen
    kept = tuple(record for record in chosen.records if record.k_shot in shots)
    if not kept:
        there = sorted({record.k_shot for record in chosen.records})
        raise RecordError(
            f"no record at {', '.join(map(str, shots))}-shot; --shots can be "
            f"{', '.join(map(str, there))}"
        )
    return Selection(
        kept,
        tuple(x for x in chosen.left_out if x.record.k_shot in shots),
        tuple(record for record in chosen.apart if record.k_shot in shots),
    )


def measured_here(records: Sequence[Record]) -> Sequence[Record]:
    """Those with a recipe, a budget and a training of their own; all, where none has."""
    return [record for record in records if not record.outside] or records


def _group(record: Record) -> tuple[str, str]:
    return record.recipe_name, record.budget_name


def _outdated(record: Record, newest: Record | None = None) -> str:
    expected = numerics_revision(record.method)
    if record.numerics_revision != expected:
        return f"of numerics revision {record.numerics_revision}, not {expected}"
    if newest is not None and record.digests.get("data") != newest.digests.get("data"):
        return f"of other images (data digest {str(record.digests.get('data'))[:8]})"
    return ""


def _why(record: Record, chosen: Sequence[Record]) -> str:
    """Why a record is not beside those chosen of its cell."""
    if record.unfinished:
        return f"trained for {record.n_step:,} of {int(record.training['n_step']):,} steps"
    if ignoring_seed(record) == ignoring_seed(chosen[0]):
        return "an older record of a seed that is shown"
    ours, theirs = without_seed(chosen[0]), without_seed(record)
    differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    return f"another configuration ({', '.join(differing) or 'other episodes'})"


def one_budget(records: Sequence[Record]) -> tuple[list[Record], str]:
    """Those of the largest budget among them, and a sentence on the others (empty: none).

    For pictures and tables without a column for it: numbers of other budgets are not mixed in.
    """
    if not records:
        return [], ""
    top = max(measured_here(records), key=_rank)
    kept = [
        r
        for r in records
        if _budget(r) == _budget(top) or (r.outside and asked_for(r, None, top.budget_name))
    ]
    left = sorted(
        {
            f"{r.title} {r.k_shot}-shot ({r.budget_name})"
            for r in records
            if not any(r is other for other in kept)
        }
    )
    told = f"left out, of another budget than {top.budget_name}: {', '.join(left)}"
    return kept, f"{told}; --budget chooses" if left else ""


def _budget(record: Record) -> str:
    return storage.digest([record.budget_name, record.config.get("budget")])


def select_records(records: Sequence[Record], recipe: str | None) -> list[Record]:
    """One record for each method and shot: the lowest seed of :func:`select`."""
    return select(records, recipe).one_each
