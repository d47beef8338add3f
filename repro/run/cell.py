"""One cell of the table from its config to its record: train, choose, test, write."""

from __future__ import annotations

import datetime
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from repro import records
from repro.data.pack import open_pack
from repro.episodes import episodes_digest
from repro.methods.base import Diagnosing, Searching
from repro.methods.optimizers import OPTIMIZERS
from repro.methods.registry import build_training
from repro.papers import paper
from repro.papers.catalogue import built_in
from repro.papers.config import (
    TESTED_SEED,
    Budget,
    EpisodeSpec,
    Recipe,
    RunConfig,
    Split,
    TrainingConfig,
)
from repro.papers.method_spec import MethodSpec
from repro.records.checkpoints import parse_json_lines, write_tensors
from repro.run.context import RunContext
from repro.run.evaluation import Partial, accuracies, evaluate
from repro.run.grid_search import SELECTION, choose, spent_before
from repro.run.provenance import provenance
from repro.run.setup import CellRun, cell_run, grid_episodes, tested
from repro.run.sizes import fitted
from repro.run.training import METRICS, Trained, at_milestone, so_far, train
from repro.system import storage
from repro.system.errors import UsageError, unknown
from repro.system.interrupts import StopRequest
from repro.system.locks import locked
from repro.system.progress import Quiet, Reporter

PRECISIONS = ("auto", "fp32", "bf16")
TEST_PARTIAL = "test.partial"
SMALL_IMAGE_PX = 64  # below it the casts cost more than they save


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
    methods: Sequence[str | MethodSpec],
    shots: Sequence[int],
    seeds: Sequence[int],
    recipe: Recipe,
    budget: Budget,
    precision: str,
    device: str,
    train_k_shot: int | None = None,
    at_step: int | None = None,
    on: Split = "test",
    n_way: int = paper.N_WAY,
    n_query: int = paper.N_QUERY,
    test_pack: Path | None = None,
) -> list[RunConfig]:
    """The cells of a table, in its order.

    Args:
        methods: rows, or names of those that come with this package.
        at_step: of a milestone that is tested in place of the training's end.
        on: the split that is tested.
        n_way: classes of a test episode. n_query: queries of each of them.
        test_pack: of the data set whose meta-test images are tested, where it is another one.
    Raises:
        UsageError: a method is unknown, the recipe does not concern it, or the data set has too
            few classes or images.
    """
    packs = {"train": pack, "val": pack, "test": test_pack or pack}
    opened = functools.cache(lambda name: open_pack(packs[name], name))
    split, test = opened("train"), opened(on)
    other = test.digest != split.digest
    rows = [built_in(row) if isinstance(row, str) else row for row in methods]
    for row in rows:
        preset = recipe.name.removesuffix("-custom")
        if preset in ("authors-2016-11", "port") and row.name != "meta_lstm":
            raise UsageError(
                f"the {preset} recipe concerns meta_lstm only, not {row.name}; add --methods "
                "meta_lstm"
            )
    cells = [
        RunConfig(
            dataset=dataset,
            data_digest=split.digest,
            method=row.name,
            spec=EpisodeSpec(n_way, k_shot, n_query),
            recipe=recipe,
            budget=budget,
            seed=seed,
            precision="fp32"  # heads compute in double precision
            if row.features
            else resolve_precision(precision, split.image_size, device),
            train_k_shot=None if train_k_shot == k_shot else train_k_shot,
            episode_seed=TESTED_SEED[on],
            at_step=at_step,
            own=row if row.source or row.features else None,
            split=on,
            test_dataset=test.dataset if other else None,
            test_data_digest=test.digest if other else None,
        )
        for seed in seeds
        for row in rows
        for k_shot in shots
    ]
    return [fitted(cell, opened) for cell in cells]


def run_training(
    config: RunConfig, context: RunContext, reporter: Reporter, stop: StopRequest
) -> Trained | None:
    """The training a cell needs, from its newest checkpoint; None where nothing is trained."""
    return trained_for(cell_run(config, context), reporter, stop)


def trained_for(run: CellRun, reporter: Reporter, stop: StopRequest) -> Trained | None:
    """As :func:`run_training`."""
    training, context, folder = run.training, run.context, run.training_folder
    if training is None:
        return None
    torch.set_num_threads(context.threads)
    if run.config.at_step is not None:
        return at_milestone(training, folder, run.config.at_step)
    if context.unfinished:
        return so_far(training, folder)
    folder.mkdir(parents=True, exist_ok=True)
    method = build_training(run.config.row, run.setting)
    task = f"train {training.training}" + (f" {training.k_shot}-shot" if training.k_shot else "")
    n_episode = training.n_validation_episode
    drawn = {k: run.validation_episodes(k, n_episode) for k in training.validation_shots}

    def validate() -> dict[int, tuple[float, float]]:
        images, found = run.images("val"), {}
        for k_shot, episodes in drawn.items():
            name = f"{task}: validation {k_shot}-shot"
            values = accuracies(
                evaluate(method, episodes, images, Quiet(reporter), name, StopRequest()), episodes
            )
            half = paper.Z_95 * float(values.std(ddof=1)) / len(values) ** 0.5
            found[k_shot] = float(values.mean()), half
        return found

    with locked(folder, task, reporter, stop):
        return train(
            method, training, folder, run.images("train"), validate, reporter, task, stop,
            context.pace, context.milestones,
        )  # fmt: skip


def select(
    run: CellRun,
    method: Searching,
    trained: Trained | None,
    reporter: Reporter,
    stop: StopRequest,
) -> dict[str, Any]:
    """Give ``method`` its grid point; what an interrupted search found is used, unless forced."""
    return choose(
        method,
        run.config.grid,
        grid_episodes(run.config, run.split("val")),
        run.images("val"),
        run.folder,
        tested(run.config, trained.digest if trained else ""),
        reporter,
        f"{run.title}: grid",
        stop,
        run.context.pace,
        run.context.force,
    )


def run_cell(
    config: RunConfig, context: RunContext, reporter: Reporter, stop: StopRequest, command: str
) -> records.Record:
    """Train what is missing, test on the fixed episodes, write the record; done ones are kept."""
    run = cell_run(config, context)
    folder = run.folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, run.title, reporter, stop):
        if not context.force:
            done = records.finished(folder, config)
            if done is not None:
                return done
        earlier = records.earlier_tests(folder)
        trained = trained_for(run, reporter, stop)
        # An episode of a head is a few small products: more threads wait for one another.
        threads = 1 if config.row.features else context.threads
        torch.set_num_threads(threads)
        started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
        method = run.method(trained.state if trained else None, run.training_folder)
        selection = None
        if config.grid:
            selection = select(run, method, trained, reporter, stop)
            began = time.monotonic() - spent_before(folder / SELECTION)  # interrupted calls, too
        checkpoint = trained.digest if trained else ""
        digest = storage.digest(tested(config, checkpoint))
        partial = Partial(folder / TEST_PARTIAL, digest, context.pace)
        if context.force:
            partial.discard()
        images = run.images(config.split)
        predictions = evaluate(
            method, run.episodes, images, reporter, f"{run.title}: test", stop, partial
        )
        if isinstance(method, Diagnosing) and config.train_k_shot is None:
            n_traced = min(paper.N_GATE_EPISODE, config.budget.n_validation_episode)
            drawn = run.validation_episodes(config.spec.k_shot, n_traced)
            for name, found in method.diagnostics(drawn, run.images("val")).items():
                storage.write_json(folder / name, found)
        content: dict[str, Any] = {
            "config": {**config.describe(), "n_test_class": len(images.split.class_ids)},
            "digests": {
                "config": config.digest,
                "data": config.data_digest,
                "episodes": episodes_digest(run.episodes),
                "checkpoint": checkpoint,
                **({"test_data": config.test_data_digest} if config.test_data_digest else {}),
            },
            "accuracy": accuracies(predictions, run.episodes).tolist(),
            "training": training_summary(run.training, trained),
            "selection": selection,
            "earlier_tests": earlier,
            "numerics_revision": config.row.revision,
            **provenance(context.device, threads, command, context.commit),
            "started_at": started.isoformat(timespec="seconds"),
            "wall_s": round(partial.spent + time.monotonic() - began, 3),
        }
        if config.row.features is not None:
            content["digests"]["features"] = config.row.features.digest
        content["digests"]["model"] = _copy_training(run, trained)
        records.write_record(folder, content, predictions)
        partial.discard()
        return records.read_record(folder)


def training_summary(training: TrainingConfig | None, trained: Trained | None) -> dict[str, Any]:
    """What a record says of the training that it tests."""
    if training is None or trained is None:
        return {"n_step": 0}
    return {
        "name": training.training,
        "k_shot": training.k_shot,
        "n_step": training.n_step,
        "reached_step": trained.reached,
        "tested_step": trained.step,
        **({} if trained.decided_at is None else {"milestone_decided_at": trained.decided_at}),
        "digest": training.digest,
        "wall_s": round(trained.wall_s, 3),
        "checkpoint_s": round(trained.checkpoint_s, 3),
    }


def _copy_training(run: CellRun, trained: Trained | None) -> str:
    """The cell's folder stands alone: the curve and the tested parameters are copied into it.

    Returns the digest of the parameters' file.
    """
    if run.training is None or trained is None:
        return ""
    curve = parse_json_lines(run.training_folder / METRICS)
    # A training that still goes on may be ahead of the checkpoint that was tested.
    kept = [json.dumps(line) + "\n" for line in curve if line["step"] <= trained.reached]
    storage.write_text(run.folder / METRICS, "".join(kept))
    model = run.folder / records.MODEL
    state = {k: t for k, t in trained.state.items() if not k.startswith(OPTIMIZERS)}
    write_tensors(model, state)
    return storage.file_digest(model)
