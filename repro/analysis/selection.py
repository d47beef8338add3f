"""Which records are shown, which are seeds of one another, and what their unit is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from repro import paper, storage
from repro.errors import RecordError, UsageError
from repro.presets import RECIPES, Recipe
from repro.rows import numerics_revision, order

if TYPE_CHECKING:
    from repro.records import Record

_BUDGET_RANK = {"smoke": 1, "quick": 2, "paper": 3}


def _rank(record: Record) -> tuple[bool, int, int, int]:
    return (
        not record.transductive,  # where any recipe may be shown, the row's own number is
        _BUDGET_RANK.get(record.budget_name, 0),
        int(record.training.get("n_step", 0)),
        -record.seed,
    )


def select_records(
    records: Iterable[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
) -> list[Record]:
    """One record per method and shot, in the table's order.

    Of those of the recipe (None: any), budget and seed asked for, the one of the largest budget
    (paper, quick, smoke, then others by training steps), then of the lowest seed, then the newest.
    Milestones and models tested at another shot than they were trained for are left out, and so
    are records of another numerics revision than their row has in this code, or of other images
    than the newest record's (another folder, another split): their numbers are not mixed.
    """
    found = [
        record
        for record in records
        if (recipe is None or record.recipe_name == recipe)
        and (budget is None or record.budget_name == budget)
        and (seed is None or record.seed == seed)
        and record.config.get("train_k_shot") is None
        and record.at_step is None
    ]
    found = [r for r in found if r.numerics_revision == numerics_revision(r.method)]
    newest = max(found, key=lambda record: record.when, default=None)
    best: dict[tuple[tuple[int, str], int], Record] = {}
    for record in found:
        if newest is None or record.digests.get("data") != newest.digests.get("data"):
            continue
        key = order(record.method), record.k_shot
        other = best.get(key)
        if other is None or (*_rank(record), record.when) > (*_rank(other), other.when):
            best[key] = record
    return [best[key] for key in sorted(best)]


def one_budget(records: Sequence[Record]) -> tuple[list[Record], str]:
    """Those of the largest budget among them, and a sentence on the others (empty: none).

    For pictures and tables without a column for it: numbers of other budgets are not mixed in.
    """
    if not records:
        return [], ""
    top = max(records, key=_rank)
    kept = [r for r in records if _budget(r) == _budget(top)]
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


def select_seeds(
    records: Sequence[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
) -> list[Record]:
    """:func:`select_records`, and with each all records of the same config but another seed.

    With a seed asked for there is none beside it.
    """
    chosen = select_records(records, recipe, budget, seed)
    if seed is not None:
        return chosen
    return [sibling for record in chosen for sibling in siblings(record, records)]


def select_apart(
    records: Iterable[Record],
    chosen: Sequence[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
) -> list[Record]:
    """What is shown beside the chosen records and never as them: milestones and transductive
    tests of the recipe's trainings, on the same images.
    """
    images = {record.digests.get("data") for record in chosen}
    shown = {record.path for record in chosen}
    found = [
        record
        for record in records
        if record.apart
        and record.path not in shown
        and record.config.get("train_k_shot") is None
        and record.digests.get("data") in images
        and record.numerics_revision == numerics_revision(record.method)
        and (recipe is None or recipe in (record.recipe_name, _trained_by(record)))
        and (budget is None or record.budget_name == budget)
        and (seed is None or record.seed == seed)
    ]
    return sorted(found, key=lambda r: (r.apart, r.at_step or 0, r.budget_name, r.seed))


def _trained_by(record: Record) -> str:
    """The preset that a record's recipe is but for the batch norm of its queries; else empty."""
    name = record.recipe_name.removesuffix("-custom")
    if name not in RECIPES:
        return ""
    kept = {**dict(record.config["recipe"]), "name": name}
    kept["query_batch_norm"] = RECIPES[name].query_batch_norm
    try:
        return name if Recipe(**kept) == RECIPES[name] else ""
    except (TypeError, UsageError):  # a switch or value of another version
        return ""


def siblings(record: Record, records: Iterable[Record]) -> list[Record]:
    """The record and those that differ from it in nothing but the seed, by seed, the newest of
    each."""
    key, by_seed = but_seed(record), {record.seed: record}
    for other in sorted(records, key=lambda r: r.when):
        if other.seed != record.seed and but_seed(other) == key:
            by_seed[other.seed] = other
    return [by_seed[seed] for seed in sorted(by_seed)]


def but_seed(record: Record) -> str:
    """A key of everything that moves a record's numbers but the training seed."""
    config = {k: v for k, v in record.config.items() if k not in ("seed", "training")}
    step = record.n_step if record.unfinished else "all"
    digests = [record.digests.get(name) for name in ("data", "episodes")]
    return storage.digest([config, record.numerics_revision, digests, step])


def block_size(record: Record) -> int:
    """Episodes that share out one permutation of the test classes; 1 when drawn independently.

    Records of before the number of classes was written are all of splits with 20.
    """
    if dict(record.config.get("recipe") or {}).get("episode_classes") == "independent":
        return 1
    n_class = int(record.config.get("n_test_class") or paper.N_TEST_CLASS)
    return max(1, n_class // int(record.config.get("n_way") or paper.N_WAY))


def stacked(records: Sequence[Record]) -> npt.NDArray[Any]:
    """Accuracies of several seeds, ``[n_seed, n_episode]``.

    Raises:
        RecordError: the records are of other episodes.
    """
    first = records[0]
    for record in records[1:]:
        if record.n_episode != first.n_episode or record.digests.get(
            "episodes"
        ) != first.digests.get("episodes"):
            raise RecordError(
                f"{first.path} and {record.path} are of different episodes (digest of episodes); "
                "run them with the same budget"
            )
    return np.stack([record.accuracy for record in records])
