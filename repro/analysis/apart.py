"""Milestones and transductive tests: shown beside the chosen records and never as them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from repro.papers.catalogue import numerics_revision
from repro.papers.recipes import RECIPES, recorded

if TYPE_CHECKING:
    from repro.records import Record


def select_apart(
    records: Sequence[Record],
    chosen: Sequence[Record],
    recipe: str | None,
    budget: str | None = None,
    seed: int | None = None,
) -> list[Record]:
    """What is shown beside the chosen records and never as them: milestones and transductive
    tests of the recipe's trainings, on the same images.
    """
    images = {record.digests.get("data") for record in chosen}
    tasks = {record.task for record in chosen}
    shown = {record.path for record in chosen}
    found = [
        record
        for record in records
        if record.apart
        and record.path not in shown
        and record.config.get("train_k_shot") is None
        and record.digests.get("data") in images
        and record.task in tasks
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
    return name if recorded(kept) == RECIPES[name] else ""
