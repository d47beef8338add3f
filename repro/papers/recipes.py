"""Recipes: named presets of the switches by which the paper, its code and re-runs differ."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_type_hints

from repro.papers import paper, shelf
from repro.papers.overrides import override
from repro.papers.pack import Paper
from repro.system.errors import UsageError, unknown

_LEAST = {
    **{"passes_1shot": 1, "passes_5shot": 1, "hidden_size": 1},
    **{"meta_episodes_1shot": 0, "meta_episodes_5shot": 0},
}
_CODE = paper.PACK.recipes["authors-code"]
# Switches that came after the first published records.
_YOUNGER = frozenset({"passes_1shot", "meta_episodes_1shot", "meta_episodes_5shot", "hidden_size"})


@dataclass(frozen=True)
class Recipe:
    """The switches by which the paper, the authors' code and the public port differ.

    The defaults are the preset ``authors-code``.
    """

    name: str = "authors-code"
    # Every network
    gamma_init: Literal["uniform", "one"] = "uniform"
    pixels: Literal["unit", "imagenet"] = "unit"
    augmentation: Literal["none", "flip", "port"] = "none"
    eval_resize: Literal["none", "96-crop-84"] = "none"
    episode_classes: Literal["permutation", "independent"] = "permutation"
    parameters_tested: Literal["last", "best"] = "last"
    # Nearest neighbour
    neighbor_features: Literal["trained", "pixels"] = "trained"
    # Meta-LSTM
    gradient_over_batch: bool = True
    gate_recurrence: Literal["logit", "gate"] = "logit"
    passes_1shot: int = int(_CODE["passes_1shot"])
    passes_5shot: int = int(_CODE["passes_5shot"])
    # Training episodes where the budget trains at the paper's full length; 0: the budget's.
    meta_episodes_1shot: int = 0
    meta_episodes_5shot: int = 0
    hidden_size: int = paper.N_HIDDEN  # of layer 1
    lstm_init: Literal["0.01", "inv-sqrt-hidden"] = "0.01"
    forget_bias_high: float = float(
        _CODE["forget_bias_high"]
    )  # b_F uniform in [4, forget_bias_high]
    query_batch_norm: Literal["running", "query", "support"] = "running"
    meta_gradient: Literal["first-order", "second-order"] = "first-order"
    theta_0: Literal["learned", "random"] = "learned"
    gates: Literal["learned", "constant"] = "learned"
    # Matching Networks
    matching_scores: Literal["sum", "softmax"] = "sum"
    matching_train_shot: Literal["five", "task"] = "five"
    matching_double_step: bool = True
    fce_read: Literal["sum", "softmax"] = "sum"
    fce_backward: Literal["reversed", "aligned"] = "reversed"
    fce_init: Literal["zero", "inv-sqrt-hidden"] = "zero"
    fce_clip: Literal["attention", "both"] = "attention"

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Recipe).items():
            value = getattr(self, name)
            if get_args(hint) and value not in get_args(hint):
                raise unknown(f"value of switch {name}", str(value), map(str, get_args(hint)))
            if hint is bool and not isinstance(value, bool):
                raise UsageError(f"switch {name} is true or false, not {value!r}")
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise UsageError(f"switch {name} is at least {least}, not {getattr(self, name)}")
        if not 4 <= self.forget_bias_high < math.inf:
            raise UsageError(
                f"switch forget_bias_high is a number from 4, not {self.forget_bias_high}"
            )

    def describe(self) -> dict[str, Any]:
        """As records show it: switches younger than the first records only where they say more.

        So a record from before such a switch has the digest of one from after it.
        """
        fields = dataclasses.fields(Recipe)
        return {
            field.name: getattr(self, field.name)
            for field in fields
            if field.name not in _YOUNGER or getattr(self, field.name) != field.default
        }

    def switches(self) -> dict[str, Any]:
        """:meth:`describe` without the name, which is a label: what digests are taken of."""
        return {name: value for name, value in self.describe().items() if name != "name"}

    def meta_episodes(self, k_shot: int) -> int:
        """Training episodes of the meta-LSTM asked for; 0: as many as the budget has."""
        return self.meta_episodes_1shot if k_shot < paper.MAX_SHOT else self.meta_episodes_5shot


def made(name: str, base: Recipe, switches: Mapping[str, Any]) -> Recipe:
    """A recipe of a paper: ``base`` with other switches.

    Raises:
        UsageError: an unknown switch or value; the near miss is suggested.
    """
    known = {field.name for field in dataclasses.fields(Recipe)} - {"name"}
    for switch in switches:
        if switch not in known:
            raise unknown("switch", switch, known)
    return dataclasses.replace(base, name=name, **switches)


RECIPES = {name: made(name, Recipe(), own) for name, own in paper.PACK.recipes.items()}
PRESETS = tuple(RECIPES)  # those that every process has


def add(found: Paper) -> None:
    """Give the recipes of a paper their names in this process.

    Raises:
        UsageError: a recipe is not well made, or another has its name.
    """
    if (found.budgets or found.settings) and found.key not in shelf.BUILT_IN:
        raise UsageError(
            f"the paper {found.key} has budgets or settings, which are for the papers of repro "
            "itself; leave them out, and give lengths with --budget or n_step of your class"
        )
    for name, switches in found.recipes.items():
        try:
            own = made(name, Recipe(), switches)
        except UsageError as error:
            raise UsageError(f"the paper {found.key}: recipes.{name}: {error}") from error
        if RECIPES.setdefault(name, own) != own:
            raise UsageError(
                f"the paper {found.key} has a recipe {name}, and so has another; give it another "
                "name"
            )


def recorded(switches: Mapping[str, Any]) -> Recipe | None:
    """The recipe of a record; None where it has a switch or a value of another version."""
    try:
        return Recipe(**switches)
    except (TypeError, UsageError):
        return None


def recipe(text: str) -> Recipe:
    """A recipe from ``NAME[,switch=value...]``, for instance ``authors-code,passes_5shot=5``.

    Raises:
        UsageError: an unknown preset, switch or value; the near miss is suggested.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return override(RECIPES[name], "switch", changes, text)
