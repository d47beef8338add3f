"""Made-up records for the tests of the analysis."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.episodes import EpisodeSampler, episodes_digest
from repro.papers import paper
from repro.papers.catalogue import numerics_revision
from repro.papers.config import BUDGETS, RECIPES, EpisodeSpec
from repro.records import Record, variants
from repro.records import record as record_module
from repro.records.files import outcome_digest, sealed

N_PREDICTED = 40  # episodes of :func:`with_predictions`
LAYERS = ("conv1", "conv2", "conv3", "conv4", "linear")


def spread(mean: float, n: int = 600, s: float = 0.096) -> npt.NDArray[np.float64]:
    """``n`` values of exactly this mean and unbiased standard deviation."""
    z = np.random.default_rng(n).normal(size=n)
    z = (z - z.mean()) / z.std(ddof=1)
    return np.asarray(mean + s * z).clip(0, 1)


def record(
    method: str = "meta_lstm",
    k_shot: int = 5,
    *,
    accuracy: npt.NDArray[np.float64] | None = None,
    dataset: str = "mini-imagenet",
    budget: str = "paper",
    recipe: str = "authors-code",
    seed: int = 0,
    n_step: int | None = None,
    path: Path = Path("cell"),
    switches: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> Record:
    """A record of the paper's protocol unless told otherwise."""
    base = dataclasses.asdict(RECIPES.get(recipe, RECIPES["authors-code"]))
    values: dict[str, Any] = {
        "path": path,
        "config": {
            "dataset": dataset,
            "method": method,
            "k_shot": k_shot,
            "n_way": 5,
            "n_query": 15,
            "recipe_name": recipe,
            "recipe": {**base, **(switches or {})},
            "budget_name": budget,
            "budget": dataclasses.asdict(BUDGETS.get(budget, BUDGETS["smoke"])),
            "seed": seed,
            "precision": "fp32",
            "train_k_shot": None,
            **(config or {}),
        },
        "digests": {"config": "c" * 64, "data": "d" * 64, "episodes": "e" * 64, "checkpoint": ""},
        "numerics_revision": numerics_revision(method),
        "accuracy": spread(paper.TABLE_1[method, k_shot].mean) if accuracy is None else accuracy,
        "training": {"n_step": 50_000 if n_step is None else n_step},
        "selection": None,
        "versions": {"torch": "2.11.0"},
        "device": "a processor",
        "threads": 2,
        "commit": "0" * 40,
        "dirty": False,
        "command": "repro reproduce",
        "started_at": "2025-01-01T00:00:00+00:00",
        "wall_s": 1.0,
        **fields,
    }
    if path.exists() and "files" not in fields:
        values["files"] = digests_of(path)
    return Record(**values)


def digests_of(folder: Path) -> dict[str, str]:
    """What a record says of the curve and the gates beside it."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("metrics.jsonl", "gates.json")
        if (folder / name).exists()
    }


def reseal(folder: Path, name: str = "record.json", **changes: Any) -> None:
    """Change a record as someone would who also repairs its digests."""
    content = {**json.loads((folder / name).read_text()), **changes}
    fields = variants.OUTCOME if name == "variant.json" else record_module._OUTCOME
    content["digests"]["record"] = outcome_digest(content, fields)
    (folder / name).write_text(json.dumps(sealed(content)))


def write_gates(folder: Path, k_shot: int, n_step: int, n_episode: int = 20) -> None:
    """A ``gates.json`` like a trained model's: forget near 1, input small and shrinking."""
    rng = np.random.default_rng(k_shot)
    steps = np.arange(n_step)
    gates: dict[str, dict[str, Any]] = {"forget": {}, "input": {}}
    for gate, found in gates.items():
        for number, layer in enumerate(LAYERS):
            if gate == "forget":
                values = 0.97 - 0.05 * number * steps / n_step
                width, initial = 0.04, 0.989
            else:
                values = 0.03 + 0.15 * (number == 4) + 0.05 * np.cos(steps)
                width, initial = 0.03, 0.0101
            trace = (values + width * rng.normal(size=(n_episode, n_step)) / 2).clip(0, 1)
            bands = {
                p: width * z for p, z in ((5, -1.6), (25, -0.7), (50, 0), (75, 0.7), (95, 1.6))
            }
            found[layer] = {
                "coordinate": number,
                "trace": trace.tolist(),
                "band": {str(p): (values + z).clip(0, 1).tolist() for p, z in bands.items()},
                "untrained": [initial] * n_step,
                "mean": float(values.mean()),
                "untrained_mean": initial,
                "episode_variance": 1.2e-5,
            }
    folder.mkdir(parents=True, exist_ok=True)
    content = {"schema": 1, "k_shot": k_shot, "n_step": n_step, "n_episode": n_episode}
    content |= {"layers": list(LAYERS), "gates": gates}
    (folder / "gates.json").write_text(json.dumps(content))


def write_metrics(folder: Path, goal: float, n_step: int = 5000) -> None:
    """A training curve that climbs towards ``goal`` (fraction)."""
    rng = np.random.default_rng(7)
    lines = []
    for step in range(100, n_step + 1, 100):
        mean = goal - (goal - 0.2) * np.exp(-4 * step / n_step)
        accuracy = float(mean + 0.08 + rng.normal(0, 0.03))
        lines.append({"kind": "train", "step": step, "loss": 1.0, "accuracy": accuracy})
        if step % 1000 == 0:
            measured = {"1": mean - 0.1, "5": mean}
            half = {"1": 0.02, "5": 0.018}
            lines.append(
                {"kind": "validation", "step": step, "accuracy": measured, "half_width": half}
            )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def full_set(root: Path, **changes: Any) -> list[Record]:
    """Ten records with curves and gates on disk."""
    found = []
    for number, (method, k_shot) in enumerate(paper.TABLE_1):
        folder = root / f"{method}-{k_shot}"
        mean = paper.TABLE_1[method, k_shot].mean
        write_metrics(folder, mean)
        if method == "meta_lstm":
            write_gates(folder, k_shot, 12 if k_shot == 1 else 8)
        accuracy = spread(mean + 0.01 * (number % 4 - 1))
        found.append(record(method, k_shot, path=folder, accuracy=accuracy, **changes))
    return found


def with_predictions(
    folder: Path, k_shot: int = 5, dataset: str = "mini-imagenet", method: str = "meta_lstm"
) -> Record:
    """A record whose accuracies, predictions and episodes belong together."""
    rows = [(600 * i, 600) for i in range(20)]
    drawn = EpisodeSampler(rows, "test", EpisodeSpec(k_shot=k_shot), 0).first(N_PREDICTED)
    labels = np.repeat(np.arange(5), 15)
    rng = np.random.default_rng([k_shot, len(method)])
    guess = rng.integers(0, 5, (N_PREDICTED, 75))
    predictions = np.where(rng.random((N_PREDICTED, 75)) < 0.4, labels, guess).astype(np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, predictions)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "predictions.npy").write_bytes(buffer.getvalue())
    made = record(
        method, k_shot, dataset=dataset, path=folder, accuracy=(predictions == labels).mean(1)
    )
    made.digests["episodes"] = episodes_digest(drawn)
    made.digests["predictions"] = hashlib.sha256(buffer.getvalue()).hexdigest()
    return made
