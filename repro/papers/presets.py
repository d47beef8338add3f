"""Recipes and budgets: named presets, and single values of them changed by ``name=value``."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

from repro.papers import paper, shelf
from repro.papers.catalogue import BUILT_IN
from repro.papers.method_spec import MethodSpec
from repro.papers.pack import Paper
from repro.system.errors import UsageError, unknown

T = TypeVar("T", "Recipe", "Budget")


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


def recipe(text: str) -> Recipe:
    """A recipe from ``NAME[,switch=value...]``, for instance ``authors-code,passes_5shot=5``.

    Raises:
        UsageError: an unknown preset, switch or value; the near miss is suggested.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return _override(RECIPES[name], "switch", changes, text)


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
    name, *changes = (part.strip() for part in text.split(","))
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    others = {row.name for row in (*BUILT_IN.values(), *rows) if row.n_step}
    mine = [change for change in changes if change.partition("=")[0].strip() in others]
    found = _override(
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


def _override(
    base: T, kind: str, changes: list[str], text: str, others: Iterable[str] = ()
) -> T:  # fmt: skip
    hints: dict[str, Any] = get_type_hints(type(base))
    hints = {key: hint for key, hint in hints.items() if key not in ("name", "own")}
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise UsageError(f"expected {kind} as name=value in {text!r}, got {change!r}")
        if field not in hints:
            raise unknown(kind, field, (*hints, *others))
        try:
            if hints[field] is bool:
                values[field] = {"true": True, "false": False}[value.lower()]
            else:
                values[field] = hints[field](value) if hints[field] in (int, float) else value
        except (KeyError, ValueError):
            raise UsageError(f"{kind} {field} cannot be {value!r}") from None
    if not values:
        return base
    return dataclasses.replace(base, name=f"{base.name}-custom", **values)
