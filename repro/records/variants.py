"""Reader of ablations of before they were ordinary cells.

They are one file per switch and seed, ``<root>/<dataset>/ablation/<method>-<k>-shot/
<base>-<budget>-<digest8>/<switch>/seed-<n>/variant.json``. Nothing writes them any more. They hold
accuracies without predictions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from repro.records.files import outcome_digest, sealed
from repro.records.listing import read_records
from repro.records.schema import VariantFile
from repro.records.tested_cell import Record
from repro.system import names, storage
from repro.system.errors import RecordError

FILE = "variant.json"
OUTCOME = ("label", "config", "accuracy")
_SEALED = 2  # the schema; the first one had no seal


def read_variants(root: Path, dataset: str) -> list[Record]:
    """All variants of a dataset as records of cells on meta-validation, in a stable order.

    Raises:
        RecordError: one is damaged, or of another variant than its folders' names say.
    """
    pattern = f"*-shot/*/*/seed-*/{FILE}"
    home = root / names.part(dataset) / "ablation"
    return [_read(path.parent, dataset) for path in sorted(home.glob(pattern))]


def read_validation(root: Path, dataset: str) -> list[Record]:
    """All records of tests on meta-validation, whatever wrote them."""
    return [*read_records(root, dataset, "val"), *read_variants(root, dataset)]


def _read(folder: Path, dataset: str) -> Record:
    path = folder / FILE
    content = storage.read_json(path)
    try:
        file = storage.conform(content, VariantFile)
        if content["digests"]["record"] != outcome_digest(content, OUTCOME):
            raise ValueError("digests.record: the content was changed")
        if file.schema == _SEALED and file.seal != sealed(content)["seal"]:
            raise ValueError("seal: the content was changed")
        kept = content["config"]
        last = f"{kept['base_name']}-{kept['budget_name']}-"
        own = (f"{kept['method']}-{kept['k_shot']}-shot", file.label, f"seed-{kept['seed']}")
        *_, method, base, label, seed = folder.parts
        if (method, label, seed) != own or kept["dataset"] != dataset or not base.startswith(last):
            raise ValueError(f"it is the record of {' '.join((kept['dataset'], *own))}; move it")
        name = kept["base_name"]
        if file.label != "base":
            name = f"{name.removesuffix('-custom')}-custom"
        config = {
            **{key: value for key, value in kept.items() if not key.startswith("base_")},
            "recipe": {**kept["recipe"], "name": name},
            "recipe_name": name,
            "budget": {**kept["budget"], "n_test_episode": len(file.accuracy)},
            "train_k_shot": None,
            "n_test_class": kept["n_class"],
        }
        return Record(
            path=folder,
            config=config,
            digests=file.digests,
            numerics_revision=file.numerics_revision,
            accuracy=np.asarray(file.accuracy, dtype=np.float64),
            training=content["training"],
            selection=None,
            versions=content["versions"],
            device=content["device"],
            threads=content["threads"],
            commit=file.commit,
            dirty=file.dirty,
            command=content["command"],
            started_at=content["started_at"],
            wall_s=content["wall_s"],
            sealed=file.schema == _SEALED,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordError(
            f"{path} is not a valid record (field {error}); delete it and run the ablation again"
        ) from error
