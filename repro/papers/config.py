"""The configuration of a run: frozen values with a digest. Equal digests mean equal runs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from repro.papers import paper, references
from repro.papers.budgets import BUDGETS, Budget, GridPoint, budget, grid
from repro.papers.catalogue import PRETRAIN_REVISION, built_in
from repro.papers.method_names import PRETRAIN
from repro.papers.method_spec import TRAIN_SHOTS, MethodSpec
from repro.papers.recipes import PRESETS, RECIPES, Recipe, recipe
from repro.system import storage
from repro.system.errors import UsageError
from repro.system.given import whole_number

__all__ = [
    "BUDGETS", "RECIPES", "TESTED_SEED", "Budget", "EpisodeSpec", "Recipe", "RunConfig", "Split",
    "TrainingConfig", "budget", "recipe",
]  # fmt: skip

Split = Literal["test", "val"]
# The episode seed of the tests on a split. Seed 0 of meta-validation chooses the best parameters
# and fine-tune's rates, so its tests have other episodes.
TESTED_SEED: dict[Split, int] = {"test": 0, "val": 1}
MAX_WAY = 256  # predicted labels are kept as uint8


@dataclass(frozen=True)
class EpisodeSpec:
    """The size of an episode; ``k_shot`` and ``n_query`` are per class."""

    n_way: int = paper.N_WAY
    k_shot: int = 1
    n_query: int = paper.N_QUERY

    @property
    def told(self) -> str:
        """For people: the shot, and what is not as in the paper."""
        way = f" {self.n_way}-way" if self.n_way != paper.N_WAY else ""
        queries = f" with {self.n_query} queries" if self.n_query != paper.N_QUERY else ""
        return f"{self.k_shot}-shot{way}{queries}"

    def __post_init__(self) -> None:
        for name, least in (("n_way", 2), ("k_shot", 1), ("n_query", 1)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if self.n_way > MAX_WAY:
            raise UsageError(f"an episode has at most {MAX_WAY} classes, not {self.n_way}")


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
    switches: tuple[str, ...] | None = None  # of the recipe that it depends on; None: all
    source: str = ""  # digest of the code, where that does not come with this package
    numerics_revision: int = 1
    n_way: int = paper.N_WAY  # of training and validation episodes, as the next
    n_query: int = paper.N_QUERY

    def content(self) -> dict[str, Any]:
        """What the digest is taken of: names of presets are labels and stay out."""
        content = dataclasses.asdict(self)
        del content["budget_name"], content["switches"]
        if not self.source:
            del content["source"]
        for name, usual in (("n_way", paper.N_WAY), ("n_query", paper.N_QUERY)):
            if content[name] == usual:  # as all were before other sizes could be asked for
                del content[name]
        content["recipe"] = self._concerning(self.recipe)
        content["validation_shots"] = list(self.validation_shots)
        settings = references.settings(self.training, self.k_shot, self.n_way)
        return {**content, "settings": settings} if settings else content

    def _concerning(self, recipe: Recipe) -> dict[str, Any]:
        """The switches of a recipe that the training depends on."""
        # The episodes asked for are in n_step; passes at 1-shot are of trainings at 1-shot only.
        idle = {"meta_episodes_1shot", "meta_episodes_5shot"}
        idle |= {"passes_1shot"} if self.k_shot != 1 else set()
        return {
            name: value
            for name, value in recipe.switches().items()
            if name not in idle and (self.switches is None or name in self.switches)
        }

    @property
    def recipe_name(self) -> str:
        """The first preset that trains in the same way, else the recipe's own name.

        So recipes that differ in tests only find one training in one folder.
        """
        mine = self._concerning(self.recipe)
        same = (name for name in PRESETS if self._concerning(RECIPES[name]) == mine)
        return next(same, self.recipe.name)

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(self.content())


@dataclass(frozen=True)
class RunConfig:
    """One cell of the table: a method tested on fixed episodes after its training.

    Attributes:
        split: whose episodes it is tested on. Cells on ``val`` are compared with each other (an
            ablation) and are no part of the table.
    """

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
    at_step: int | None = None  # of a milestone of its training, which is tested; None: the end
    own: MethodSpec | None = None  # a row that is not in the catalogue: of a user, or of features
    split: Split = "test"
    # Of training and validation episodes where not the paper's, as :mod:`repro.run.sizes` fits
    # them to the data and the method.
    train_n_way: int | None = None
    train_n_query: int | None = None
    # Whose meta-test images it is tested on, where not the training's: name, digest of the pack.
    test_dataset: str | None = None
    test_data_digest: str | None = None

    @property
    def episode_classes(self) -> str:
        """How the classes of the tested episodes are drawn.

        On meta-validation in permutations whatever the recipe says: recipes that differ are
        compared there on the same episodes.
        """
        return "permutation" if self.split == "val" else self.recipe.episode_classes

    @property
    def row(self) -> MethodSpec:
        """What is known of the method.

        Raises:
            UsageError: it neither comes with this package nor is told.
        """
        return self.own or built_in(self.method)

    @property
    def trained_k_shot(self) -> int:
        """Support images per class that the method was trained for."""
        return self.train_k_shot or self.spec.k_shot

    @property
    def trained_n_way(self) -> int:
        """Classes of a training episode."""
        return self.train_n_way or paper.N_WAY

    @property
    def grid(self) -> list[GridPoint]:
        """The points one of which is chosen on meta-validation; empty: nothing is chosen."""
        return grid(self.budget.finetune_grid) if self.row.searches else []

    def training(self) -> TrainingConfig | None:
        """The training this cell needs; cells may share one. None: nothing is trained."""
        row = self.row
        if row.training is None:
            return None
        if row.untrained_if is not None:
            switch, value = row.untrained_if
            if getattr(self.recipe, switch) == value:
                return None
        rule = row.train_shot
        if rule not in TRAIN_SHOTS:
            rule = getattr(self.recipe, rule)
        shot = {"task": self.trained_k_shot, "five": paper.MAX_SHOT, "none": 0}[rule]
        return TrainingConfig(
            dataset=self.dataset,
            data_digest=self.data_digest,
            training=row.training,
            k_shot=shot,
            recipe=self.recipe,
            n_step=self.budget.n_step(row, shot, self.recipe),
            validate_every=self.budget.validate_every,
            n_validation_episode=self.budget.n_validation_episode,
            validation_shots=(shot,) if rule == "task" else paper.SHOTS,
            seed=self.seed,
            precision=self.precision,
            budget_name=self.budget.name,
            switches=row.switches,
            source=self._source if row.training != PRETRAIN else "",
            numerics_revision=PRETRAIN_REVISION if row.training == PRETRAIN else row.revision,
            n_way=self.trained_n_way,
            n_query=self.train_n_query or paper.N_QUERY,
        )

    @property
    def _source(self) -> str:
        """What names the code of a method that does not come with this package; else empty."""
        source = self.row.source
        return "" if source is None else f"{source.class_name} {source.digest}"

    def content(self) -> dict[str, Any]:
        """All that can move the cell's numbers, as JSON."""
        training = self.training()
        source = {"source": self._source} if self._source else {}
        row = self.row
        named = row.head or self.method
        settings = references.settings(named, self.trained_k_shot, self.trained_n_way)
        trained = training.digest if training else row.features.digest if row.features else None
        return {
            **source,
            **({"settings": settings} if settings else {}),
            **({"at_step": self.at_step} if self.at_step is not None else {}),
            **({"split": self.split} if self.split != "test" else {}),
            **{
                name: value
                for name in ("train_n_way", "train_n_query", "test_dataset", "test_data_digest")
                if (value := getattr(self, name)) is not None
            },
            "dataset": self.dataset,
            "data_digest": self.data_digest,
            "method": self.method,
            "n_way": self.spec.n_way,
            "k_shot": self.spec.k_shot,
            "n_query": self.spec.n_query,
            "recipe": self.recipe.switches(),
            "n_test_episode": self.budget.n_test_episode,
            "n_grid_episode": self.budget.n_grid_episode,
            "finetune_grid": self.budget.finetune_grid,
            "training": trained,
            "seed": self.seed,
            "episode_seed": self.episode_seed,
            "precision": self.precision,
            "train_k_shot": self.train_k_shot,
            "numerics_revision": self.row.revision,
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(self.content())

    def describe(self) -> dict[str, Any]:
        """The config as a record shows it."""
        row = {} if self.row.in_paper else {"row": self.row.describe()}
        return {
            **self.content(),
            **row,
            "recipe": self.recipe.describe(),
            "recipe_name": self.recipe.name,
            "budget": self.budget.describe(),
            "budget_name": self.budget.name,
        }
