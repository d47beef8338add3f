"""The record of one tested cell, as the rest of the code sees it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.papers import heads, paper
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import Budget, EpisodeSpec, Recipe, RunConfig, Split
from repro.papers.method_names import OUTSIDE_MARK, is_outside
from repro.papers.method_spec import SESSION, from_record
from repro.records.files import FILE
from repro.records.folders import folder_of
from repro.records.task import Task, task_of
from repro.system.errors import RecordError, UsageError


@dataclass(frozen=True, repr=False)
class Record:
    """One tested cell. Accuracies are fractions, ``[n_episode]``.

    Attributes:
        earlier_tests: of the same cell on meta-test, of an earlier checkpoint or with --force.
        files: digests of the curve and the gates beside it.
        sealed: whether a digest covers its provenance, so that time, commit and ``dirty`` are
            those it was written with.
    """

    path: Path
    config: dict[str, Any]
    digests: dict[str, str]
    numerics_revision: int
    accuracy: npt.NDArray[np.float64]
    training: dict[str, Any]
    selection: dict[str, Any] | None
    versions: dict[str, str]
    device: str
    threads: int
    commit: str
    dirty: bool
    command: str
    started_at: str
    wall_s: float
    earlier_tests: tuple[dict[str, Any], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    sealed: bool = True

    @property
    def when(self) -> float:
        """Seconds since 1970 at which its test began; 0 where no digest covers the time."""
        began = datetime.datetime.fromisoformat(self.started_at)
        return began.timestamp() if self.sealed else 0.0

    def __repr__(self) -> str:
        what = f"{self.dataset} {self.method} {self.k_shot}-shot seed {self.seed}"
        told = f"{self.accuracy.mean():.2%} in {self.n_episode:,} episodes"
        return f"Record({what}, {self.recipe_name}, {self.budget_name}: {told})"

    @property
    def place(self) -> tuple[dict[str, str], str, int]:
        """Software, device and threads: bits are promised only where all three are the same."""
        # Records from before there were native kernels do not name them.
        return {"kernels": "torch", **self.versions}, self.device, self.threads

    @property
    def unfinished(self) -> bool:
        """Whether it tests a training that had not come to its end, and no milestone of it."""
        if self.at_step is not None:
            return False
        n_step = int(self.training.get("n_step", 0))
        return int(self.training.get("reached_step", n_step)) < n_step

    @property
    def n_step(self) -> int:
        """Training steps made."""
        return int(self.training.get("reached_step", self.training.get("n_step", 0)))

    @property
    def at_step(self) -> int | None:
        """Step of the milestone that it tests; None: the end of the training."""
        step = self.config.get("at_step")
        return None if step is None else int(step)

    @property
    def split(self) -> Split:
        """Whose episodes it was tested on."""
        found: Split = self.config.get("split", "test")
        return found

    @property
    def episode_classes(self) -> str:
        """How the classes of its episodes were drawn; see :attr:`RunConfig.episode_classes`."""
        recipe = dict(self.config.get("recipe") or {})
        drawn = str(recipe.get("episode_classes", "permutation"))
        return "permutation" if self.split == "val" else drawn

    @property
    def transductive(self) -> bool:
        """Whether a row that is inductive otherwise normalised queries by their own batch."""
        recipe = dict(self.config.get("recipe") or {})
        return self.method == "meta_lstm" and recipe.get("query_batch_norm") == "query"

    @property
    def apart(self) -> str:
        """Why it is never shown as its row's own number, for people; else empty."""
        told = ["transductive"] if self.transductive else []
        return ", ".join([*told, *(["milestone"] if self.at_step is not None else [])])

    @property
    def outside(self) -> bool:
        """Whether its predictions were made elsewhere and imported: nothing was measured here."""
        return is_outside(self.method)

    @property
    def steps(self) -> str:
        """Training steps made, for people; of a milestone those of the whole training, too."""
        row = dict(self.config.get("row") or {})
        package = dict(row.get("source") or {}).get("package")
        # A function may hold a model that was trained elsewhere.
        if self.outside or (package == SESSION and row.get("training") is None):
            return "unknown"
        if self.at_step is None:
            return f"{self.n_step:,}"
        return f"{self.n_step:,} of {int(self.training['n_step']):,} (milestone)"

    @property
    def dataset(self) -> str:
        return str(self.config["dataset"])

    @property
    def method(self) -> str:
        return str(self.config["method"])

    @property
    def title(self) -> str:
        """The row's name for people: the paper's, or what the record says.

        That of imported predictions is marked.
        """
        known = BUILT_IN[self.method].title if self.method in BUILT_IN else self.method
        if self.in_paper:
            return known
        told = str(dict(self.config.get("row") or {}).get("title", known))
        return told + OUTSIDE_MARK if self.outside else told

    @property
    def in_paper(self) -> bool:
        """Whether the paper's table has the row."""
        return self.method in paper.METHODS

    @property
    def k_shot(self) -> int:
        return int(self.config["k_shot"])

    @property
    def task(self) -> Task:
        """Classes and queries of its episodes, and the data set that they are from."""
        return task_of(self.config, self.tested_images)

    @property
    def tested_on(self) -> str:
        """The data set of its test, which may be another than that of its training."""
        return str(self.config.get("test_dataset") or self.dataset)

    @property
    def tested_images(self) -> str:
        """Digest of the pack that its test's images are from."""
        return self.digests.get("test_data") or self.digests.get("data", "")

    @property
    def where(self) -> str:
        """Data set and task, for people."""
        return self.dataset + (f", {told}" if (told := self.task.told) else "")

    @property
    def told(self) -> str:
        """Its row and what it is tested on, for people: ``MAML 1-shot, 20-way``."""
        return f"{self.title} {self.k_shot}-shot" + (f", {t}" if (t := self.task.told) else "")

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def recipe_name(self) -> str:
        return str(self.config["recipe_name"])

    @property
    def budget_name(self) -> str:
        return str(self.config["budget_name"])

    @property
    def n_episode(self) -> int:
        return len(self.accuracy)

    def folder(self, root: Path) -> Path:
        """Where it belongs, by its content."""
        digest = self.digests.get("config", "")
        return folder_of(
            root, self.dataset, self.split, self.method, self.k_shot, self.seed, self.recipe_name,
            self.budget_name, digest,
        )  # fmt: skip


def config_of(record: Record) -> RunConfig:
    """The config that a record was made from.

    Raises:
        RecordError: its config is damaged; the field is named.
    """
    kept = record.config
    try:
        spec = EpisodeSpec(int(kept["n_way"]), int(kept["k_shot"]), int(kept["n_query"]))
        other = kept["train_k_shot"]
        budget = dict(kept["budget"])
        budget["own"] = tuple(sorted(dict(budget.get("own", {})).items()))
        told = dict(kept.get("row") or {})
        row = from_record(record.method, told) if told.get("source") else None
        if told.get("features"):
            row = heads.from_record(record.method, told, str(kept["training"]))
        return RunConfig(
            dataset=record.dataset,
            data_digest=str(kept["data_digest"]),
            method=record.method,
            spec=spec,
            recipe=Recipe(**kept["recipe"]),
            budget=Budget(**budget),
            seed=record.seed,
            precision=str(kept["precision"]),
            train_k_shot=None if other is None else int(other),
            at_step=record.at_step,
            train_n_way=kept.get("train_n_way"),
            train_n_query=kept.get("train_n_query"),
            test_dataset=kept.get("test_dataset"),
            test_data_digest=kept.get("test_data_digest"),
            episode_seed=int(kept["episode_seed"]),
            own=row,
            split=record.split,
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise RecordError(f"{record.path / FILE}: damaged config ({error})") from error
