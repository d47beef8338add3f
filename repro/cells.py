"""One cell of the table from its config to its record: train, choose, test, write."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import save

from repro import paper, records, storage
from repro.config import NUMERICS_REVISION, Budget, EpisodeSpec, Recipe, RunConfig, TrainingConfig
from repro.data.images import ImageSplit, open_pack
from repro.episodes import EpisodeSampler, episodes_digest
from repro.errors import UsageError, unknown
from repro.evaluation import accuracies, evaluate
from repro.gate_traces import gate_traces
from repro.interrupts import StopRequest
from repro.methods import ROWS, TRAINABLE
from repro.methods.base import Setting, SplitImages
from repro.methods.finetune import Finetune, grid
from repro.methods.meta_lstm import MetaLSTM
from repro.progress import Reporter
from repro.training import METRICS, Trained, train

PRECISIONS = ("auto", "fp32", "bf16")
SMALL_IMAGE_PX = 64  # below it the casts cost more than they save


@dataclass(frozen=True)
class Place:
    """Where a cell runs and writes; nothing here moves a number but the last bits."""

    runs: Path
    pack: Path
    threads: int
    device: str
    force: bool = False


def resolve_precision(requested: str, image_size: int, device: str) -> str:
    """``auto`` is bf16 for large images where the processor or GPU computes in it, else fp32."""
    if requested not in PRECISIONS:
        raise unknown("precision", requested, PRECISIONS)
    if requested != "auto":
        return requested
    if image_size < SMALL_IMAGE_PX:
        return "fp32"
    if device != "cpu":
        return "bf16"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "fp32"


def plan(
    dataset: str,
    pack: Path,
    methods: Sequence[str],
    shots: Sequence[int],
    seeds: Sequence[int],
    recipe: Recipe,
    budget: Budget,
    precision: str,
    device: str,
    train_k_shot: int | None = None,
) -> list[RunConfig]:
    """The cells of a table, in its order.

    Raises:
        UsageError: a method is unknown or the recipe does not concern it.
    """
    split = open_pack(pack, "test")
    for method in methods:
        if method not in ROWS:
            raise unknown("method", method, ROWS)
        if recipe.name.startswith("port") and method != "meta_lstm":
            raise UsageError(
                f"the port recipe concerns meta_lstm only, not {method}; add --methods meta_lstm"
            )
    if recipe.meta_gradient != "first-order":
        raise UsageError("second-order meta-gradients are not built yet; use first-order")
    return [
        RunConfig(
            dataset=dataset,
            data_digest=split.digest,
            method=method,
            spec=EpisodeSpec(k_shot=k_shot),
            recipe=recipe,
            budget=budget,
            seed=seed,
            precision=resolve_precision(precision, split.image_size, device),
            train_k_shot=train_k_shot,
        )
        for seed in seeds
        for method in methods
        for k_shot in shots
    ]


def _sampler(split: ImageSplit, name: str, k_shot: int, config: RunConfig) -> EpisodeSampler:
    spec = EpisodeSpec(config.spec.n_way, k_shot, config.spec.n_query)
    return EpisodeSampler(
        split.class_rows, name, spec, config.episode_seed, config.recipe.episode_classes
    )


def _setting(config: RunConfig, training: TrainingConfig | None, place: Place) -> Setting:
    split = open_pack(place.pack, "train")
    return Setting(
        image_size=split.image_size,
        n_class=len(split.class_ids),
        n_way=config.spec.n_way,
        k_shot=training.k_shot if training else config.spec.k_shot,
        recipe=config.recipe,
        seed=config.seed,
        precision=config.precision,
        device=torch.device(place.device),
    )


def run_training(
    config: RunConfig, place: Place, reporter: Reporter, stop: StopRequest
) -> Trained | None:
    """The training a cell needs, from its newest checkpoint; None where nothing is trained."""
    training = config.training()
    if training is None:
        return None
    torch.set_num_threads(place.threads)
    folder = records.training_folder(place.runs, training)
    folder.mkdir(parents=True, exist_ok=True)
    setting = _setting(config, training, place)
    method = TRAINABLE[training.training](setting)
    task = f"train {training.training}" + (f" {training.k_shot}-shot" if training.k_shot else "")
    validation = open_pack(place.pack, "val")
    drawn = {
        k: _sampler(validation, "val", k, config).first(training.n_validation_episode)
        for k in training.validation_shots
    }

    def validate() -> dict[int, tuple[float, float]]:
        images, found = SplitImages(validation, setting), {}
        for k_shot, episodes in drawn.items():
            name = f"{task}: validation {k_shot}-shot"
            values = accuracies(
                evaluate(method, episodes, images, _Quiet(reporter), name, StopRequest()), episodes
            )
            half = paper.Z_95 * float(values.std(ddof=1)) / len(values) ** 0.5
            found[k_shot] = float(values.mean()), half
        return found

    with FileLock(folder / ".lock"):
        images = SplitImages(open_pack(place.pack, "train"), setting)
        return train(method, training, folder, images, validate, reporter, task, stop)


class _Quiet:
    """Validation inside training: its bar would hide the training's own."""

    def __init__(self, reporter: Reporter) -> None:
        self.say = reporter.say

    def report(self, task: str, done: int, total: int, note: str = "") -> None:
        pass


def run_cell(
    config: RunConfig, place: Place, reporter: Reporter, stop: StopRequest, command: str
) -> records.Record:
    """Train what is missing, test on the fixed episodes, write the record; done ones are kept."""
    folder = records.cell_folder(place.runs, config)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not place.force:
            done = records.finished(folder, config)
            if done is not None:
                return done
        trained = run_training(config, place, reporter, stop)
        torch.set_num_threads(place.threads)
        started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
        training = config.training()
        setting = _setting(config, training, place)
        method = ROWS[config.method](setting)
        if trained is not None:
            method.load_state(trained.state)
        selection = None
        title = f"{config.method} {config.spec.k_shot}-shot"
        if isinstance(method, Finetune):
            selection = _choose(method, config, place, folder, reporter, f"{title}: grid", stop)
        test = open_pack(place.pack, "test")
        episodes = _sampler(test, "test", config.spec.k_shot, config).first(
            config.budget.n_test_episode
        )
        images = SplitImages(test, setting)
        predictions = evaluate(method, episodes, images, reporter, f"{title}: test", stop)
        if isinstance(method, MetaLSTM) and config.train_k_shot is None:
            validation = open_pack(place.pack, "val")
            drawn = _sampler(validation, "val", config.spec.k_shot, config).first(
                paper.N_GATE_EPISODE
            )
            traces = gate_traces(method, setting, drawn, SplitImages(validation, setting))
            storage.write_json(folder / "gates.json", traces)
        content: dict[str, Any] = {
            "config": config.described(),
            "digests": {
                "config": config.digest,
                "data": config.data_digest,
                "episodes": episodes_digest(episodes),
                "checkpoint": trained.digest if trained else "",
            },
            "accuracy": accuracies(predictions, episodes).tolist(),
            "training": _training_summary(training, trained),
            "selection": selection,
            **provenance(place, command),
            "started_at": started.isoformat(timespec="seconds"),
            "wall_s": round(time.monotonic() - began, 3),
        }
        _copy_training(config, trained, place, folder)
        records.write_record(folder, content, predictions)
        return records.read_record(folder)


def _choose(
    method: Finetune,
    config: RunConfig,
    place: Place,
    folder: Path,
    reporter: Reporter,
    task: str,
    stop: StopRequest,
) -> dict[str, Any]:
    """Learning rate and decay with the best mean accuracy on meta-validation; all are recorded."""
    validation = open_pack(place.pack, "val")
    episodes = _sampler(validation, "val", config.spec.k_shot, config).first(
        config.budget.n_grid_episode
    )
    images = SplitImages(validation, method.setting)
    path, points = folder / "selection.json", grid(config.budget.finetune_grid)
    done = storage.read_json(path) if path.exists() and not place.force else []
    for number in range(len(done), len(points)):
        method.choice, method.head_index = points[number], 0
        predictions = evaluate(method, episodes, images, _Quiet(reporter), task, stop)
        lr, decay = points[number]
        mean = float(accuracies(predictions, episodes).mean())
        done.append({"lr": lr, "decay": decay, "accuracy": mean})
        storage.write_json(path, done)
        reporter.report(task, number + 1, len(points), f"lr {lr:g}, decay {decay:g}: {mean:.1%}")
    best = max(range(len(points)), key=lambda number: done[number]["accuracy"])
    method.choice, method.head_index = points[best], 1
    return {"n_episode": len(episodes), "grid": done, "chosen": done[best]}


def _training_summary(training: TrainingConfig | None, trained: Trained | None) -> dict[str, Any]:
    if training is None or trained is None:
        return {"n_step": 0}
    return {
        "name": training.training,
        "k_shot": training.k_shot,
        "n_step": training.n_step,
        "tested_step": trained.step,
        "digest": training.digest,
        "wall_s": round(trained.wall_s, 3),
    }


def _copy_training(config: RunConfig, trained: Trained | None, place: Place, folder: Path) -> None:
    """The cell's folder stands alone: the curve and the tested parameters are copied into it."""
    training = config.training()
    if training is None or trained is None:
        return
    curve = records.training_folder(place.runs, training) / METRICS
    storage.write_bytes(folder / METRICS, curve.read_bytes())
    tensors = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in trained.state.items()
        if not name.startswith("adam.")
    }
    storage.write_bytes(folder / "model.safetensors", save(tensors))


def provenance(place: Place, command: str) -> dict[str, Any]:
    """Versions, device, threads, commit and command of a run."""
    commit, dirty = _git_state()
    name = torch.cuda.get_device_name() if place.device != "cpu" else _processor()
    return {
        "numerics_revision": NUMERICS_REVISION,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "device": name,
        "threads": place.threads,
        "commit": commit,
        "dirty": dirty,
        "command": command,
    }


def _processor() -> str:
    """Model name with the vector units that decide which kernels run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    units = [u for u in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
             if u in found.get("flags", "").split()]  # fmt: skip
    return f"{found.get('model name', platform.machine())} ({', '.join(units) or 'no AVX2'})"


def command_line() -> str:
    """The command as typed, without the path of the program."""
    return shlex.join(["repro", *sys.argv[1:]])


def _git_state() -> tuple[str, bool]:
    """Commit of the code, and whether the code differs from it; unknown outside a checkout."""
    home = Path(__file__).parent

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(home), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", str(home)))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
