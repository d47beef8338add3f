"""Budgets: how much is trained and tested; fine-tune's grid."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_type_hints

from repro.papers import paper
from repro.papers.catalogue import BUILT_IN
from repro.papers.method_spec import MethodSpec
from repro.papers.overrides import override
from repro.papers.recipes import Recipe
from repro.system import given
from repro.system.errors import UsageError, unknown


class GridPoint(NamedTuple):
    """Of fine-tune's grid: update t has the learning rate lr / (1 + decay * t)."""

    lr: float
    decay: float


def grid(size: str) -> list[GridPoint]:
    """The settings that are tried: ``full`` as published (42), ``middle`` (8) or ``small`` (4)."""
    lrs, decays = {
        "full": (paper.FINETUNE_LRS, paper.FINETUNE_DECAYS),
        "middle": ((0.5, 0.1, 0.01, 1e-3), (0.1, 0.0)),
        "small": ((0.1, 0.01, 1e-3, 1e-4), (0.0,)),
    }[size]
    return [GridPoint(lr, decay) for lr, decay in itertools.product(lrs, decays)]


@dataclass(frozen=True)
class Budget:
    """How much is trained and tested."""

    name: str
    n_test_episode: int
    n_validation_episode: int
    n_grid_episode: int  # meta-validation episodes of the fine-tune grid
    finetune_grid: Literal["full", "middle", "small"]
    validate_every: int  # training steps
    pretrain: int  # training steps
    matching_net: int  # training episodes, like the following
    matching_net_fce: int
    meta_lstm_1shot: int
    meta_lstm_5shot: int
    own: tuple[tuple[str, int], ...] = ()  # training steps asked for, of rows without a field

    def __post_init__(self) -> None:
        for field, hint in get_type_hints(Budget).items():
            value = getattr(self, field)
            least = 2 if field == "n_validation_episode" else 1  # two have a spread
            if hint is int and (not isinstance(value, int) or value < least):
                raise UsageError(f"budget {field} is a whole number from {least}, not {value!r}")
        if self.finetune_grid not in ("full", "middle", "small"):
            raise unknown("finetune_grid", self.finetune_grid, ("full", "middle", "small"))

    def n_step(self, row: MethodSpec, k_shot: int, recipe: Recipe | None = None) -> int:
        """Training steps of a row's training, for training episodes of this shot.

        Args:
            recipe: its count of meta-training episodes replaces the paper's full length; other
                lengths (smoke, quick, a field of the budget that was changed) stay.
        Raises:
            UsageError: the row says nothing about this budget.
        """
        asked, presets = dict(self.own), dict(row.n_step)
        if row.name in asked:
            return asked[row.name]
        if presets:
            preset = self.name.removesuffix("-custom")
            if preset not in presets:
                raise UsageError(
                    f"{row.name} has no number of training steps in the budget {preset}; give "
                    f"them, for instance --budget {preset},{row.name}=500"
                )
            return presets[preset]
        field = str(row.training)
        if field == "meta_lstm":
            field += "_1shot" if k_shot < paper.MAX_SHOT else "_5shot"
            if recipe is not None and self.takes_meta_episodes(k_shot):
                return recipe.meta_episodes(k_shot) or int(getattr(self, field))
        return int(getattr(self, field))

    def takes_meta_episodes(self, k_shot: int) -> bool:
        """Whether it trains the meta-LSTM at full length, which a recipe may say otherwise."""
        field = f"meta_lstm_{1 if k_shot < paper.MAX_SHOT else 5}shot"
        return bool(getattr(self, field) == getattr(BUDGETS["paper"], field))

    def describe(self) -> dict[str, Any]:
        """As records show it; ``own`` is there where it says something."""
        content = dataclasses.asdict(self)
        own = dict(content.pop("own"))
        return {**content, "own": own} if own else content


BUDGETS = {
    "smoke": Budget("smoke", 60, 20, 10, "small", 100, 400, 300, 200, 250, 250),
    "quick": Budget("quick", 600, 50, 20, "middle", 250, 1500, 1500, 800, 1200, 1200),
    "paper": Budget(
        "paper",
        n_test_episode=paper.N_TEST_EPISODE,
        **paper.PACK.budgets["paper"],  # type: ignore[arg-type]
    ),
}


def budget(text: str, rows: Iterable[MethodSpec] = ()) -> Budget:
    """A budget from ``NAME[,field=number...]``, for instance ``quick,pretrain=2500``.

    Args:
        rows: whose training steps may be given by their names, beside those with a field.
    Raises:
        UsageError: an unknown name, field or value.
    """
    name, *changes = (part.strip() for part in given.text("budget", text).split(","))
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    others = {row.name for row in (*BUILT_IN.values(), *rows) if row.n_step}
    mine = [change for change in changes if change.partition("=")[0].strip() in others]
    found = override(
        BUDGETS[name], "budget field", [c for c in changes if c not in mine], text, others
    )
    if not mine:
        return found
    own = []
    for change in mine:
        field, _, value = (part.strip() for part in change.partition("="))
        if not value.isdecimal() or int(value) < 1:
            raise UsageError(f"budget {field} is a whole number from 1, not {value!r}")
        own.append((field, int(value)))
    return dataclasses.replace(found, name=f"{name}-custom", own=tuple(sorted(own)))
