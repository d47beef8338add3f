"""An ablation: a base and its switches, one at a time, on the same meta-validation episodes.

Under one seed all variants share initial words and training episodes as far as a switch does not
change just these; meta-test is never opened here.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
from collections.abc import Sequence
from typing import Any

import torch

from repro.data.pack import ImageSplit
from repro.engines.local import Failure, run_works
from repro.engines.local import run as run_cells
from repro.episodes import Episode, EpisodeSampler, episodes_digest
from repro.papers import config
from repro.papers.config import RunConfig
from repro.papers.switches import Switch
from repro.records import ablation as variants
from repro.records import checkpoints, training_folder
from repro.records.ablation import EPISODE_SEED, Variant, VariantRecord
from repro.run.cell import run_training, training_summary
from repro.run.context import RunContext
from repro.run.evaluation import Partial, accuracies, evaluate
from repro.run.grid_search import choose
from repro.run.provenance import provenance
from repro.run.setup import cell_run, grid_episodes
from repro.run.training import METRICS, Trained, at_milestone, so_far
from repro.system import storage
from repro.system.errors import RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.locks import locked
from repro.system.progress import Named, Reporter


def planned(
    bases: Sequence[RunConfig],
    base: str,
    switches: Sequence[Switch],
    n_episode: int,
    only_shared: bool = False,
) -> list[Variant]:
    """The base and its changes for every seed; within a seed first what needs no training.

    Args:
        bases: the base's cell under each seed. base: its recipe as text.
        only_shared: leave out what needs a training of its own.
    """
    changed = [(switch.text, config.recipe(f"{base},{switch.text}")) for switch in switches]
    found = []
    for cell in bases:
        here = [Variant(cell, cell, variants.BASE, n_episode)]
        for text, recipe in changed:
            here.append(Variant(cell, dataclasses.replace(cell, recipe=recipe), text, n_episode))
        if only_shared:
            here = [variant for variant in here if not variant.retrained]
        found += sorted(here, key=lambda variant: variant.retrained)
    return found


def run(
    planned: Sequence[Variant],
    context: RunContext,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Train and test the variants that have no record; a failed one does not stop the others.

    Raises:
        Interrupted: a stop was asked for; everything that ran has saved its state.
    """
    todo = [variant for variant in planned if _done(variant, context) is None]
    if not todo:
        reporter.say("all variants are finished; --force tests them again")
    works = [
        (
            variant.title,
            variant.config,
            None if context.unfinished else variant.owner,
            functools.partial(run_variant, variant),
        )
        for variant in todo
    ]
    return run_works(works, context, jobs, reporter, stop, command)


def testable(planned: Sequence[Variant], context: RunContext, reporter: Reporter) -> list[Variant]:
    """With ``--unfinished``: the variants whose training has got anywhere; others are named.

    Raises:
        TrainingError: the base is not among them.
    """
    found = []
    for variant in planned:
        try:
            _parameters(variant, context)
        except TrainingError as error:
            if variant.label == variants.BASE:
                raise
            reporter.say(f"{variant.title} is left out: {error}")
        else:
            found.append(variant)
    return found


def episodes_of(variant: Variant, split: ImageSplit) -> list[Episode]:
    """The meta-validation episodes, the same for all variants and seeds of an ablation."""
    classes = variant.base.recipe.episode_classes
    sampler = EpisodeSampler(split.class_rows, "val", variant.config.spec, EPISODE_SEED, classes)
    return sampler.first(variant.n_episode)


def _done(variant: Variant, context: RunContext) -> VariantRecord | None:
    """The variant's record when it is whole and of this training as far as it is wanted."""
    folder = variant.folder(context.runs)
    if context.force or not (folder / variants.FILE).exists():
        return None
    record = variants.read(folder)
    if record.digests.get("variant") != variant.digest:
        return None  # only switches of the same ablation lie here: it is of another revision
    if context.unfinished:
        trained = _parameters(variant, context)
        here = trained.digest if trained else ""
        same = record.digests.get("checkpoint") == here
        return record if same and record.reached_step == (trained.reached if trained else 0) else (
            None
        )  # fmt: skip
    ended = variant.config.at_step is not None or record.reached_step >= record.n_step
    return record if ended else None


def _parameters(variant: Variant, context: RunContext) -> Trained | None:
    """The parameters that a variant tests, from its training's folder."""
    training = variant.owner.training()
    if training is None:
        return None
    if variant.config.at_step is not None:
        folder = training_folder(context.runs, training)
        return at_milestone(training, folder, variant.config.at_step)
    wanted = variant.config.recipe.parameters_tested
    return so_far(training, training_folder(context.runs, training), wanted)


def run_variant(
    variant: Variant, context: RunContext, reporter: Reporter, stop: StopRequest, command: str
) -> VariantRecord:
    """Train what is missing, test on meta-validation, write the record; done ones are kept."""
    folder = variant.folder(context.runs)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = Named(reporter, variant.title)
    with locked(folder, variant.title, reporter, stop):
        done = _done(variant, context)
        if done is not None:
            return done
        if not context.unfinished:
            run_training(variant.owner, context, reporter, stop)
        trained = _parameters(variant, context)
        torch.set_num_threads(context.threads)
        started, began = datetime.datetime.now(datetime.UTC), time.monotonic()
        run = cell_run(variant.config, context)
        method = run.method(trained.state if trained else None, folder)
        images = run.images("val")
        split, episodes = images.split, episodes_of(variant, images.split)
        tested = {"config": variant.digest, "checkpoint": trained.digest if trained else ""}
        selection = None
        if variant.config.grid:
            selection = choose(
                method, variant.config.grid,
                grid_episodes(variant.config, split), images, folder, tested, reporter, "grid",
                stop, context.pace, context.force,
            )  # fmt: skip
        partial = Partial(folder / "test.partial", storage.digest(tested), context.pace)
        if context.force:
            partial.discard()
        predictions = evaluate(method, episodes, images, reporter, "meta-validation", stop, partial)
        variants.write(
            folder,
            {
                "label": variant.label,
                "config": _described(variant, len(split.class_ids)),
                "digests": {
                    "variant": variant.digest,
                    "data": variant.config.data_digest,
                    "episodes": episodes_digest(episodes),
                    "checkpoint": trained.digest if trained else "",
                },
                "accuracy": accuracies(predictions, episodes).tolist(),
                "training": {
                    **training_summary(variant.owner.training(), trained),
                    "retrained": variant.retrained,
                },
                "selection": selection,
                "numerics_revision": variant.config.row.revision,
                **provenance(context.device, context.threads, command, context.commit),
                "started_at": started.isoformat(timespec="seconds"),
                "wall_s": round(time.monotonic() - began, 3),
            },
        )
        partial.discard()
        return variants.read(folder)


def _described(variant: Variant, n_class: int) -> dict[str, Any]:
    independent = variant.base.recipe.episode_classes == "independent"
    return {
        **variant.content(),
        "base_recipe": variant.base.recipe.describe(),
        "base_name": variant.base.recipe.name,
        "budget": dataclasses.asdict(variant.base.budget),
        "budget_name": variant.base.budget.name,
        "n_class": n_class,
        # Episodes that share out one permutation of the classes: the unit of every error.
        "block": 1 if independent else max(1, n_class // variant.config.spec.n_way),
    }


def run_final(
    final: Switch,
    bases: Sequence[RunConfig],
    base: str,
    context: RunContext,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> tuple[list[RunConfig], list[Failure]]:
    """Test the base and the one final choice on meta-test, as ordinary cells.

    Returns:
        The cells of the choice, one per base, and what failed.
    Raises:
        UsageError: another choice of the same base was tested before.
        Interrupted: as :func:`run`.
    """
    recipe = config.recipe(f"{base},{final.text}")
    chosen = [dataclasses.replace(cell, recipe=recipe) for cell in bases]
    for cell, other in zip(bases, chosen, strict=True):
        variant = Variant(cell, other, final.text)
        with locked(variant.final_path(context.runs).parent, variant.title, reporter, stop):
            _claim(variant, context)
        if not context.unfinished and cell.at_step is None:
            _share_training(variant, context, reporter, stop)
    return chosen, run_cells([*bases, *chosen], context, jobs, reporter, stop, command)


def _claim(variant: Variant, context: RunContext) -> None:
    """Write down which choice meta-test was opened for: there is one, made before."""
    path = variant.final_path(context.runs)
    if path.exists():
        told = storage.read_json(path)
        if not isinstance(told, dict) or not isinstance(told.get("switch"), str):
            raise RecordError(f"{path} does not say which switch was tested; restore the file")
        before = told["switch"]
        if before != variant.label:
            raise UsageError(
                f"meta-test was already used for {before} of this base ({path}); only one change, "
                "chosen on meta-validation, is tested there; --show lists the others"
            )
    else:
        storage.write_json(path, {"switch": variant.label})


def _share_training(
    variant: Variant, context: RunContext, reporter: Reporter, stop: StopRequest
) -> None:
    """Give the choice's cell the base's training where that is the same to the last step.

    Its curve stays the base's, and the best parameters those that the base's recipe chose.
    """
    own, twin = variant.config.training(), variant.owner.training()
    resized = variant.config.recipe.eval_resize != variant.base.recipe.eval_resize
    if own is None or twin is None or variant.retrained or resized:
        return  # with other validation images the curve is not the base's
    source, target = (training_folder(context.runs, training) for training in (twin, own))
    if source == target:
        return
    run_training(variant.owner, context, reporter, stop)
    target.mkdir(parents=True, exist_ok=True)
    with locked(target, variant.title, reporter, stop):
        if checkpoints.latest(target, own.digest)[0] is not None:
            return
        storage.write_json(target / "training.json", own.content())
        storage.write_bytes(target / METRICS, storage.read_bytes(source / METRICS))
        for stem in ("best", "checkpoint"):  # a training is there from its checkpoint on
            found, _ = checkpoints.latest(source, twin.digest, stem)
            if found is not None:
                checkpoints.write(target, found.step, found.tensors, found.extra, own.digest, stem)
