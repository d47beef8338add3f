"""Records: the only reader and writer of cells under runs/ and results/.

A cell is a folder ``<root>/<dataset>/<method>/<k>-shot/seed-<n>/<recipe>-<budget>-<digest8>/``
with ``record.json`` (config, digests, one accuracy per episode, provenance), ``predictions.npy``
(the predicted label of every query, uint8 ``[n_episode, n_way * n_query]``), ``metrics.jsonl``
(training curve) and, for the meta-LSTM, ``gates.json``.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from repro import paper, storage
from repro.config import Budget, EpisodeSpec, Recipe, RunConfig, TrainingConfig
from repro.errors import RecordError, UsageError
from repro.rows import BUILT_IN, check_name, from_record, numerics_revision

SCHEMA = 2
_OUTCOME = ("config", "accuracy", "selection", "numerics_revision")
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Record:
    """One tested cell. Accuracies are fractions, ``[n_episode]``.

    Attributes:
        earlier_tests: of the same cell on meta-test, of an earlier checkpoint or with --force.
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
    def steps(self) -> str:
        """Training steps made, for people; of a milestone those of the whole training, too."""
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
        """The row's name for people: the paper's, or what the record says."""
        known = BUILT_IN[self.method].title if self.method in BUILT_IN else self.method
        if self.in_paper:
            return known
        return str(dict(self.config.get("row") or {}).get("title", known))

    @property
    def in_paper(self) -> bool:
        """Whether the paper's table has the row."""
        return self.method in paper.METHODS

    @property
    def k_shot(self) -> int:
        return int(self.config["k_shot"])

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


def cell_folder(root: Path, config: RunConfig) -> Path:
    """Where a cell's record is."""
    return (
        root
        / config.dataset
        / config.method
        / f"{config.spec.k_shot}-shot"
        / f"seed-{config.seed}"
        / f"{config.recipe.name}-{config.budget.name}-{config.digest[:8]}"
    )


def training_folder(root: Path, config: TrainingConfig) -> Path:
    """Where a training's checkpoints are; cells that share a training share the folder."""
    name = config.training if not config.k_shot else f"{config.training}-{config.k_shot}-shot"
    return (
        root
        / config.dataset
        / "trainings"
        / name
        / f"seed-{config.seed}"
        / f"{config.recipe_name}-{config.budget_name}-{config.digest[:8]}"
    )


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
            episode_seed=int(kept["episode_seed"]),
            own=row,
        )
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise RecordError(f"{record.path / 'record.json'}: damaged config ({error})") from error


def write_order(name: str) -> int:
    """When a file of a cell or training is copied elsewhere: what vouches for others comes later.

    Tensors and predictions, then what a run goes on from, then headers of checkpoints, a record
    last; so a kill in between leaves what a kill of the run itself would have left.
    """
    last = name.rpartition("/")[2]
    if last == "record.json":
        return 3
    if last.startswith(("checkpoint-", "best-", "milestone-")) and last.endswith(".json"):
        return 2
    return 1 if last.endswith((".json", ".jsonl")) else 0


def write_record(folder: Path, content: dict[str, Any], predictions: npt.NDArray[np.uint8]) -> None:
    """Write predictions, then the record: a record that is there is whole."""
    buffer = io.BytesIO()
    np.save(buffer, predictions, allow_pickle=False)
    storage.write_bytes(folder / "predictions.npy", buffer.getvalue())
    digests = {**content["digests"], "predictions": hashlib.sha256(buffer.getvalue()).hexdigest()}
    content = {"schema": SCHEMA, **content, "digests": digests}
    digests["record"] = outcome_digest(content, _OUTCOME)
    storage.write_json(folder / "record.json", content)


def outcome_digest(content: dict[str, Any], fields: Sequence[str]) -> str:
    """Of what a run of one config gives on one machine: everything but times and provenance.

    Args:
        fields: of a record, beside its training and digests.
    """
    kept = {key: content[key] for key in fields}
    kept["training"] = {k: v for k, v in content["training"].items() if not k.endswith("_s")}
    kept["digests"] = {key: value for key, value in content["digests"].items() if key != "record"}
    return storage.digest(kept)


def read_record(folder: Path) -> Record:
    """Read and check one record.

    Raises:
        RecordError: missing, damaged or nonsense; the file and the field are named.
    """
    path = folder / "record.json"
    content = storage.read_json(path)
    try:
        if content["schema"] != SCHEMA:
            raise ValueError(f"schema {content['schema']!r}, expected {SCHEMA}")
        accuracy = fractions(content["accuracy"])
        if content["digests"]["record"] != outcome_digest(content, _OUTCOME):
            raise ValueError("digests.record: the content was changed")
        config = dict(content["config"])
        for key in ("dataset", "method", "k_shot", "seed", "recipe_name", "budget_name"):
            config[key]
        for key in ("n_step", "reached_step"):
            int(content["training"].get(key, 0))
        int(config.get("at_step") or 0)
        told = config.get("row")
        check_name(str(config["method"]), str(told["title"]) if told else "-")
        return Record(
            path=folder,
            config=config,
            digests={str(k): str(v) for k, v in content["digests"].items()},
            numerics_revision=int(content["numerics_revision"]),
            accuracy=accuracy,
            training=dict(content["training"]),
            selection=content["selection"],
            versions=dict(content["versions"]),
            device=str(content["device"]),
            threads=int(content["threads"]),
            commit=str(content["commit"]),
            dirty=bool(content["dirty"]),
            command=str(content["command"]),
            started_at=str(content["started_at"]),
            wall_s=float(content["wall_s"]),
            earlier_tests=tuple(map(dict, content.get("earlier_tests", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise RecordError(
            f"{path} is not a valid record (field {error}); delete it and run the cell again"
        ) from error


def fractions(accuracy: Any) -> npt.NDArray[np.float64]:
    """The accuracies of a record, ``[n_episode]``.

    Raises:
        ValueError, TypeError: they are none.
    """
    found = np.asarray(accuracy, dtype=np.float64)
    if found.ndim != 1 or not len(found) or not ((found >= 0) & (found <= 1)).all():
        raise ValueError("accuracy is not a list of fractions")
    return found


class Revised(Protocol):
    """A record of a cell or of an ablation."""

    @property
    def path(self) -> Path: ...
    @property
    def method(self) -> str: ...
    @property
    def numerics_revision(self) -> int: ...


def other_revision(record: Revised) -> str:
    """Why a record's numbers are not this code's, as a sentence; empty where they are."""
    current = numerics_revision(record.method)
    if record.numerics_revision == current:
        return ""
    return (
        f"{record.path} is of numerics revision {record.numerics_revision}, this code's "
        f"{record.method} is of {current}; run it again"
    )


def check_revision(record: Revised) -> None:
    """Refuse a record whose row has other arithmetic now.

    Raises:
        RecordError: it is of another numerics revision than its row in this code.
    """
    reason = other_revision(record)
    if reason:
        raise RecordError(reason)


def finished(folder: Path, config: RunConfig) -> Record | None:
    """The cell's record when it is there, whole and of a training that ended; else None.

    Raises:
        RecordError: a record is there but damaged or of another configuration.
    """
    if not (folder / "record.json").exists():
        return None
    record = read_record(folder)
    if record.digests.get("config") != config.digest:
        raise RecordError(
            f"{folder / 'record.json'} belongs to another configuration; move it away or use "
            "--force to run the cell again"
        )
    return None if record.unfinished else record


def earlier_tests(folder: Path) -> list[dict[str, Any]]:
    """What the record about to be replaced said, so that every test on meta-test stays told."""
    if not (folder / "record.json").exists():
        return []
    record = read_record(folder)
    told = {
        "started_at": record.started_at,
        "reached_step": record.n_step,
        "checkpoint": record.digests.get("checkpoint", ""),
        "n_episode": record.n_episode,
        "accuracy": float(record.accuracy.mean()),
    }
    return [*record.earlier_tests, told]


def read_records(root: Path, dataset: str) -> list[Record]:
    """All records of a dataset, in a stable order."""
    paths = sorted((root / dataset).glob("*/*-shot/seed-*/*/record.json"))
    return [read_record(path.parent) for path in paths]


def methods_in(*roots: Path) -> set[str]:
    """Methods that have records of any data set."""
    found = {path.parents[1].name for root in roots for path in root.glob("*/*/*-shot/seed-*")}
    return found - {"trainings"}
