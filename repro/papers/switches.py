"""The switches of a recipe that affect a method, with their other values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

from repro.papers import config, paper
from repro.papers.config import RECIPES, Budget, Recipe, RunConfig
from repro.papers.method_spec import MethodSpec
from repro.system.errors import UsageError, unknown

# Switches that only tests read, or that are a training's length; others are in Row.switches.
OTHER_SWITCHES = {
    "nearest_neighbor": ("neighbor_features",),
    "meta_lstm": ("query_batch_norm", "meta_episodes_1shot", "meta_episodes_5shot"),
}
# Numbers that no preset has, but a public re-run: Furrer et al. 2020.
MORE_VALUES = {"hidden_size": (1,)}
ALL, NO_TRAINING = "all", "no-training"
BASE = "base"  # the label of a recipe that changes no switch


@dataclass(frozen=True)
class Switch:
    """One change of a base recipe."""

    name: str
    value: Any

    @property
    def text(self) -> str:
        """As a recipe spells it: ``passes_5shot=5``, ``gradient_over_batch=false``."""
        if isinstance(self.value, bool):
            return f"{self.name}={str(self.value).lower()}"
        return f"{self.name}={self.value:g}" if isinstance(self.value, float) else (
            f"{self.name}={self.value}"
        )  # fmt: skip


def changes(base: Recipe, other: Recipe) -> str:
    """The switches by which a recipe differs from the base, as text; ``base`` where by none."""
    names = [field.name for field in dataclasses.fields(Recipe) if field.name != "name"]
    found = [Switch(n, getattr(other, n)) for n in names if getattr(other, n) != getattr(base, n)]
    return ",".join(switch.text for switch in found) or BASE


def changes_of_preset(recipe: Recipe) -> str:
    """The switches that a recipe changes of the preset in its name; empty of a preset."""
    preset = RECIPES.get(recipe.name.removesuffix("-custom"), recipe)
    return "" if preset == recipe else changes(preset, recipe)


def concerning(row: MethodSpec, k_shot: int) -> tuple[str, ...]:
    """Names of the switches that can move the numbers of a method at a shot."""
    known = row.switches
    if known is None:
        known = tuple(field.name for field in dataclasses.fields(Recipe) if field.name != "name")
    names = dict.fromkeys((*OTHER_SWITCHES.get(row.name, ()), *known))
    # Updates and episodes of other shots; support images per class, which are five here anyway.
    idle = {"passes_5shot"} if k_shot == 1 else {"passes_1shot"}
    idle |= {"meta_episodes_5shot" if k_shot < paper.MAX_SHOT else "meta_episodes_1shot"}
    idle |= {"matching_train_shot"} if k_shot == paper.MAX_SHOT else set()
    return tuple(name for name in names if name not in idle)


def other_values(base: Recipe, name: str) -> tuple[Switch, ...]:
    """A switch at each value but the base's; of numbers, at those that a preset has."""
    hint, own = get_type_hints(Recipe)[name], getattr(base, name)
    if hint is bool:
        values: tuple[Any, ...] = (not own,)
    else:
        values = get_args(hint) or tuple(
            sorted({*MORE_VALUES.get(name, ()), *(getattr(r, name) for r in RECIPES.values())})
        )
    return tuple(Switch(name, value) for value in values if value != own)


def parse(
    text: str, base: str, row: MethodSpec, k_shot: int, budget: Budget | None = None
) -> list[Switch]:
    """Switches from ``all``, ``no-training`` or ``gates,theta_0=random``.

    Args:
        base: the recipe that they change, as text.
        budget: where a recipe's count of episodes may change nothing.
    Raises:
        UsageError: a switch or value is unknown, does not concern the method or is the base's.
    """
    recipe, names = config.recipe(base), concerning(row, k_shot)
    where = f"{row.name} at {k_shot}-shot"
    if budget is not None and not budget.takes_meta_episodes(k_shot):
        names = tuple(name for name in names if not name.startswith("meta_episodes"))
        where += f" in the budget {budget.name}"
    if text in (ALL, NO_TRAINING):
        return [switch for name in names for switch in other_values(recipe, name)]
    found: dict[str, Switch] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (word.strip() for word in part.partition("="))
        if name not in names:
            if name in {field.name for field in dataclasses.fields(Recipe)} - {"name"}:
                raise UsageError(
                    f"switch {name} changes nothing for {where}; those that do: {', '.join(names)}"
                )
            raise unknown("switch", name, (*names, ALL, NO_TRAINING))
        switches = other_values(recipe, name)
        if equals:
            changed = getattr(config.recipe(f"{base},{name}={value}"), name)
            if changed == getattr(recipe, name):
                raise UsageError(f"{part} is what the base {base} has already; name another value")
            switches = (Switch(name, changed),)
        found |= {switch.text: switch for switch in switches}
    if not found:
        raise UsageError(f"no switch in {text!r}; name some, or {ALL}")
    return list(found.values())


def trained_as(base: RunConfig, changed: RunConfig) -> RunConfig:
    """``base`` where its training has the parameters that ``changed`` tests, else ``changed``.

    Every training keeps its last and its best parameters, and meta-validation images are read
    only to tell which are the best: such switches ask for no training of their own.
    """
    own, recipe = changed.training(), base.recipe
    like = dataclasses.replace(
        changed.recipe, name=recipe.name, parameters_tested=recipe.parameters_tested
    )
    if changed.recipe.parameters_tested == "last":
        like = dataclasses.replace(like, eval_resize=recipe.eval_resize)
    twin, wanted = dataclasses.replace(changed, recipe=like).training(), base.training()
    shared = own is not None and twin is not None and wanted is not None
    return base if shared and twin.digest == wanted.digest else changed  # type: ignore[union-attr]
