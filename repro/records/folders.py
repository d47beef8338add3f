"""Where cells and trainings lie under a folder of records."""

from __future__ import annotations

from pathlib import Path

from repro.papers.config import RunConfig, Split, TrainingConfig
from repro.system import names


def cell_folder(root: Path, config: RunConfig) -> Path:
    """Where a cell's record is.

    Raises:
        RecordError: a name in the config cannot be a folder's.
    """
    return folder_of(
        root, config.dataset, config.split, config.method, config.spec.k_shot, config.seed,
        config.recipe.name, config.budget.name, config.digest,
    )  # fmt: skip


def folder_of(
    root: Path, dataset: str, split: Split, method: str, k_shot: int, seed: int, recipe: str,
    budget: str, digest: str,
) -> Path:  # fmt: skip
    """Where the cell of these names and this digest of a config is."""
    last = f"{recipe}-{budget}-{digest[:8]}"
    parts = (dataset, *below(split), method, f"{k_shot}-shot", f"seed-{seed}", last)
    return root.joinpath(*map(names.part, parts))


def below(split: Split) -> tuple[str, ...]:
    """The folders between data set and method: tests on meta-validation lie apart."""
    return () if split == "test" else (split,)


def training_folder(root: Path, config: TrainingConfig) -> Path:
    """Where a training's checkpoints are; cells that share a training share the folder.

    Raises:
        RecordError: as :func:`cell_folder`.
    """
    name = config.training if not config.k_shot else f"{config.training}-{config.k_shot}-shot"
    last = f"{config.recipe_name}-{config.budget_name}-{config.digest[:8]}"
    parts = (config.dataset, "trainings", name, f"seed-{config.seed}", last)
    return root.joinpath(*map(names.part, parts))
