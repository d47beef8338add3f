"""What a run is: frozen values, named presets and a digest. Same config, same digest, same run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from repro import paper, storage
from repro.errors import UsageError, unknown

# Raised when a change of the code moves numbers; records of another revision are not mixed.
NUMERICS_REVISION = 1

T = TypeVar("T", "Recipe", "Budget")


@dataclass(frozen=True)
class EpisodeSpec:
    """The size of an episode; ``k_shot`` and ``n_query`` are per class."""

    n_way: int = paper.N_WAY
    k_shot: int = 1
    n_query: int = paper.N_QUERY

    def __post_init__(self) -> None:
        if self.n_way < 2 or self.k_shot < 1 or self.n_query < 1:
            raise UsageError(
                f"an episode needs n_way >= 2, k_shot >= 1 and n_query >= 1, not "
                f"{self.n_way}, {self.k_shot}, {self.n_query}"
            )


@dataclass(frozen=True)
class Recipe:
    """The switches by which the paper, the authors' code and the public port differ.

    The defaults are the preset ``authors-code``.
    """

    name: str = "authors-code"
    # Every network
    gamma_init: Literal["uniform", "one"] = "uniform"
    pixels: Literal["unit", "imagenet"] = "unit"
    augmentation: Literal["none", "port"] = "none"
    eval_resize: Literal["none", "96-crop-84"] = "none"
    episode_classes: Literal["permutation", "independent"] = "permutation"
    parameters_tested: Literal["last", "best"] = "last"
    # Nearest neighbour
    neighbor_features: Literal["trained", "pixels"] = "trained"
    # Meta-LSTM
    gradient_over_batch: bool = True
    gate_recurrence: Literal["logit", "gate"] = "logit"
    passes_5shot: int = 8
    lstm_init: Literal["0.01", "inv-sqrt-hidden"] = "0.01"
    forget_bias_high: float = 5.0  # b_F uniform in [4, forget_bias_high]
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
        if self.passes_5shot < 1:
            raise UsageError(f"switch passes_5shot is at least 1, not {self.passes_5shot}")


RECIPES = {
    "authors-code": Recipe(),
    "paper": Recipe(
        name="paper",
        gradient_over_batch=False,
        gate_recurrence="gate",
        passes_5shot=5,
        parameters_tested="best",
        matching_scores="softmax",
        matching_train_shot="task",
        matching_double_step=False,
        fce_read="softmax",
        fce_backward="aligned",
        fce_init="inv-sqrt-hidden",
        fce_clip="both",
    ),
    # Concerns the meta-LSTM only.
    "port": Recipe(
        name="port",
        pixels="imagenet",
        augmentation="port",
        eval_resize="96-crop-84",
        episode_classes="independent",
        parameters_tested="best",
        lstm_init="inv-sqrt-hidden",
        forget_bias_high=6.0,
    ),
}

_COMMON = ("gamma_init", "pixels", "augmentation", "eval_resize", "parameters_tested")
_MATCHING = ("episode_classes", "matching_scores", "matching_train_shot", "matching_double_step")
_FCE = ("fce_read", "fce_backward", "fce_init", "fce_clip")
_META = (
    *("episode_classes", "gradient_over_batch", "gate_recurrence", "passes_5shot", "lstm_init"),
    *("forget_bias_high", "meta_gradient", "theta_0", "gates"),
)
# The switches that a training depends on; the others concern tests only.
TRAINING_SWITCHES: dict[str, tuple[str, ...]] = {
    "pretrain": _COMMON,
    "matching_net": _COMMON + _MATCHING,
    "matching_net_fce": _COMMON + _MATCHING + _FCE,
    "meta_lstm": _COMMON + _META,
}


def recipe(text: str) -> Recipe:
    """A recipe from ``NAME[,switch=value...]``, for instance ``authors-code,passes_5shot=5``.

    Raises:
        UsageError: an unknown preset, switch or value; the near miss is suggested.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return _override(RECIPES[name], "switch", changes, text)


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

    def __post_init__(self) -> None:
        for field, hint in get_type_hints(Budget).items():
            value = getattr(self, field)
            if hint is int and (not isinstance(value, int) or value < 1):
                raise UsageError(f"budget {field} is a whole number from 1, not {value!r}")
        if self.finetune_grid not in ("full", "middle", "small"):
            raise unknown("finetune_grid", self.finetune_grid, ("full", "middle", "small"))

    def n_step(self, training: str, k_shot: int) -> int:
        """Training steps of a training (``pretrain`` or a method) for a task's shot."""
        field = f"{training}_{k_shot}shot" if training == "meta_lstm" else training
        if training == "meta_lstm" and k_shot not in paper.SHOTS:
            field = "meta_lstm_1shot" if k_shot < paper.MAX_SHOT else "meta_lstm_5shot"
        return int(getattr(self, field))


BUDGETS = {
    "smoke": Budget("smoke", 60, 20, 10, "small", 100, 400, 300, 200, 250, 250),
    "quick": Budget("quick", 600, 50, 20, "middle", 250, 1500, 1500, 800, 1200, 1200),
    "paper": Budget(
        "paper",
        n_test_episode=paper.N_TEST_EPISODE,
        n_validation_episode=paper.N_VALIDATION_EPISODE,
        n_grid_episode=paper.N_VALIDATION_EPISODE,
        finetune_grid="full",
        validate_every=1000,
        pretrain=30_000,
        matching_net=75_000,
        matching_net_fce=75_000,
        meta_lstm_1shot=75_000,
        meta_lstm_5shot=50_000,
    ),
}


def budget(text: str) -> Budget:
    """A budget from ``NAME[,field=number...]``, for instance ``quick,pretrain=2500``.

    Raises:
        UsageError: an unknown name, field or value.
    """
    name, *changes = (part.strip() for part in text.split(","))
    if name not in BUDGETS:
        raise unknown("budget", name, BUDGETS)
    return _override(BUDGETS[name], "budget field", changes, text)


def _override(base: T, kind: str, changes: list[str], text: str) -> T:
    hints = get_type_hints(type(base))
    values: dict[str, Any] = {}
    for change in changes:
        field, equals, value = (part.strip() for part in change.partition("="))
        if not equals:
            raise UsageError(f"expected {kind} as name=value in {text!r}, got {change!r}")
        if field not in hints or field == "name":
            raise unknown(kind, field, [name for name in hints if name != "name"])
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


@dataclass(frozen=True)
class TrainingConfig:
    """All that the numbers of one training depend on, its length included."""

    dataset: str
    data_digest: str
    training: str  # "pretrain" or the method that is trained
    k_shot: int  # support images per class in training episodes; 0 for pretrain
    recipe: Recipe
    n_step: int
    validate_every: int
    n_validation_episode: int
    validation_shots: tuple[int, ...]
    seed: int
    precision: str
    budget_name: str

    def content(self) -> dict[str, Any]:
        """What the digest is taken of: names of presets are labels and stay out."""
        content = dataclasses.asdict(self)
        del content["budget_name"]
        switches = TRAINING_SWITCHES.get(self.training)
        content["recipe"] = {
            field.name: getattr(self.recipe, field.name)
            for field in dataclasses.fields(Recipe)
            if field.name != "name" and (switches is None or field.name in switches)
        }
        content["validation_shots"] = list(self.validation_shots)
        content["numerics_revision"] = NUMERICS_REVISION
        return content

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(self.content())


@dataclass(frozen=True)
class RunConfig:
    """One cell of the table: a method tested on fixed episodes after its training."""

    dataset: str
    data_digest: str
    method: str
    spec: EpisodeSpec
    recipe: Recipe
    budget: Budget
    seed: int
    precision: str
    train_k_shot: int | None = None  # another shot than the test's, else None
    episode_seed: int = 0

    @property
    def trained_k_shot(self) -> int:
        """Support images per class that the method was trained for."""
        return self.train_k_shot or self.spec.k_shot

    def training(self) -> TrainingConfig | None:
        """The training this cell needs; cells may share one. None: nothing is trained."""
        shot = self.trained_k_shot
        shots: tuple[int, ...] = (shot,)
        name = self.method
        if name in ("finetune", "nearest_neighbor"):
            if name == "nearest_neighbor" and self.recipe.neighbor_features == "pixels":
                return None
            name, shot, shots = "pretrain", 0, paper.SHOTS
        elif name.startswith("matching_net") and self.recipe.matching_train_shot == "five":
            shot, shots = paper.MAX_SHOT, paper.SHOTS
        return TrainingConfig(
            dataset=self.dataset,
            data_digest=self.data_digest,
            training=name,
            k_shot=shot,
            recipe=self.recipe,
            n_step=self.budget.n_step(name, shot),
            validate_every=self.budget.validate_every,
            n_validation_episode=self.budget.n_validation_episode,
            validation_shots=shots,
            seed=self.seed,
            precision=self.precision,
            budget_name=self.budget.name,
        )

    def content(self) -> dict[str, Any]:
        """All that can move the cell's numbers, as JSON."""
        training = self.training()
        return {
            "dataset": self.dataset,
            "data_digest": self.data_digest,
            "method": self.method,
            "n_way": self.spec.n_way,
            "k_shot": self.spec.k_shot,
            "n_query": self.spec.n_query,
            "recipe": {k: v for k, v in dataclasses.asdict(self.recipe).items() if k != "name"},
            "n_test_episode": self.budget.n_test_episode,
            "n_grid_episode": self.budget.n_grid_episode,
            "finetune_grid": self.budget.finetune_grid,
            "training": training.digest if training else None,
            "seed": self.seed,
            "episode_seed": self.episode_seed,
            "precision": self.precision,
            "train_k_shot": self.train_k_shot,
            "numerics_revision": NUMERICS_REVISION,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(self.content())

    def described(self) -> dict[str, Any]:
        """The config as a record shows it."""
        return {
            **self.content(),
            "recipe": dataclasses.asdict(self.recipe),
            "recipe_name": self.recipe.name,
            "budget": dataclasses.asdict(self.budget),
            "budget_name": self.budget.name,
        }
