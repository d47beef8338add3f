"""Records of an ablation: one per switch and seed, tested on meta-validation episodes.

They are ``<root>/<dataset>/ablation/<method>-<k>-shot/<base>-<budget>-<digest8>/<switch>/seed-<n>/
variant.json``, and beside the switches ``ablation.json``, what all of them come to.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.papers import paper
from repro.papers.config import RunConfig
from repro.papers.switches import trained_as
from repro.records.files import outcome_digest, sealed
from repro.records.schema import VariantFile
from repro.system import names, storage
from repro.system.errors import RecordError

SCHEMA = 2  # the first one had no seal
_OUTCOME = ("label", "config", "accuracy")
FILE = "variant.json"
SUMMARY = "ablation.json"
BASE = "base"
# Another seed than the validation's, which chooses the best parameters and fine-tune's rates.
EPISODE_SEED = 1


@dataclass(frozen=True)
class Variant:
    """A base, or the base with one switch changed, under one training seed.

    Attributes:
        label: ``base`` or ``switch=value``.
        config: what would be run on meta-test; here it is tested on meta-validation.
    """

    base: RunConfig
    config: RunConfig
    label: str
    n_episode: int = paper.N_TEST_EPISODE

    @property
    def owner(self) -> RunConfig:
        """The config whose training is tested: the base's where that is the same."""
        return trained_as(self.base, self.config)

    @property
    def retrained(self) -> bool:
        """Whether it needs a training that the base does not have."""
        return self.owner is not self.base and self.owner.training() is not None

    @property
    def title(self) -> str:
        """For people: the switch and the seed."""
        return f"{self.label} seed {self.config.seed}"

    def content(self) -> dict[str, Any]:
        """All that can move the variant's numbers, as JSON."""
        config, training = self.config, self.owner.training()
        return {
            "dataset": config.dataset,
            "data_digest": config.data_digest,
            "method": config.method,
            "n_way": config.spec.n_way,
            "k_shot": config.spec.k_shot,
            "n_query": config.spec.n_query,
            "recipe": config.recipe.switches(),
            "training": training.digest if training else None,
            "seed": config.seed,
            "precision": config.precision,
            "n_grid_episode": config.budget.n_grid_episode,
            "finetune_grid": config.budget.finetune_grid,
            "split": "val",
            "n_episode": self.n_episode,
            "episode_seed": EPISODE_SEED,
            # All variants see the same episodes, whatever they were trained on.
            "episode_classes": self.base.recipe.episode_classes,
            "numerics_revision": config.row.revision,
            **({"at_step": config.at_step} if config.at_step is not None else {}),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return storage.digest(self.content())

    def ablation_folder(self, root: Path) -> Path:
        """Where the ablation is that the variant is a part of."""
        return self._beside(root, "", [self._common(), self.n_episode, EPISODE_SEED])

    def final_path(self, root: Path) -> Path:
        """Where it is written down which one choice was tested on meta-test."""
        path = self._beside(root, "final-", self._common())
        return path.with_name(f"{path.name}.json")

    def _common(self) -> dict[str, Any]:
        return dataclasses.replace(self.base, seed=0).content()

    def _beside(self, root: Path, prefix: str, content: Any) -> Path:
        base = self.base
        name = f"{prefix}{base.recipe.name}-{base.budget.name}-{storage.digest(content)[:8]}"
        return ablations_folder(root, base.dataset, base.method, base.spec.k_shot) / name

    def folder(self, root: Path) -> Path:
        """Where its record is."""
        return self.ablation_folder(root) / self.label / f"seed-{self.config.seed}"


@dataclass(frozen=True)
class VariantRecord:
    """A tested variant. Accuracies are fractions, ``[n_episode]``."""

    path: Path
    label: str
    config: dict[str, Any]
    digests: dict[str, str]
    accuracy: npt.NDArray[np.float64]
    training: dict[str, Any]
    numerics_revision: int
    commit: str
    dirty: bool
    content: dict[str, Any]
    sealed: bool = True

    @property
    def method(self) -> str:
        return str(self.config["method"])

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def n_step(self) -> int:
        """Training steps asked for."""
        return int(self.training.get("n_step", 0))

    @property
    def reached_step(self) -> int:
        """Training steps made."""
        return int(self.training.get("reached_step", self.n_step))


def ablations_folder(root: Path, dataset: str, method: str, k_shot: int) -> Path:
    """Where the ablations of a method at a shot are, one folder each."""
    return root / names.part(dataset) / "ablation" / f"{names.part(method)}-{k_shot}-shot"


def write(folder: Path, content: dict[str, Any]) -> None:
    """Write a record atomically."""
    content = {**content, "schema": SCHEMA, "digests": dict(content["digests"])}
    content["digests"]["record"] = outcome_digest(content, _OUTCOME)
    storage.write_json(folder / FILE, sealed(content))


def read(folder: Path) -> VariantRecord:
    """Read and check one record.

    Raises:
        RecordError: missing, damaged or changed; the file and the field are named.
    """
    path = folder / FILE
    content = storage.read_json(path)
    try:
        file = storage.conform(content, VariantFile)
        if content["digests"]["record"] != outcome_digest(content, _OUTCOME):
            raise ValueError("digests.record: the content was changed")
        if file.schema == SCHEMA and file.seal != sealed(content)["seal"]:
            raise ValueError("seal: the content was changed")
    except (KeyError, ValueError) as error:
        raise RecordError(
            f"{path} is not a valid record (field {error}); delete it and run the ablation again"
        ) from error
    return VariantRecord(
        path=folder,
        label=file.label,
        config=content["config"],
        digests=file.digests,
        accuracy=np.asarray(file.accuracy, dtype=np.float64),
        training=content["training"],
        numerics_revision=file.numerics_revision,
        commit=file.commit,
        dirty=file.dirty,
        content=content,
        sealed=file.schema == SCHEMA,
    )


def read_all(folder: Path) -> list[VariantRecord]:
    """All records of one ablation, in a stable order.

    Raises:
        RecordError: one is damaged, or of another variant than its folders' names say.
    """
    found = []
    for path in sorted(folder.glob(f"*/seed-*/{FILE}")):
        record = read(path.parent)
        config = record.config
        own = (
            config["dataset"], "ablation", f"{config['method']}-{config['k_shot']}-shot",
            folder.name, record.label, f"seed-{record.seed}",
        )  # fmt: skip
        begins = f"{config['base_name']}-{config['budget_name']}-"
        if path.absolute().parent.parts[-6:] != own or not folder.name.startswith(begins):
            raise RecordError(
                f"{path} is the record of {record.label}, seed {record.seed}, of an ablation of "
                f"{own[0]}, {own[2]}, {begins[:-1]}; move it back there or delete it"
            )
        found.append(record)
    return found
