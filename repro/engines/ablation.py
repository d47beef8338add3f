"""An ablation: cells of a base and of its switches, one at a time, on the same episodes.

They are ordinary cells with ``split="val"``: under one seed they share initial values and training
episodes as far as a switch does not change just these. Meta-test is opened by :func:`run_final`
alone.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from repro.engines.local import Failure, unfinished
from repro.engines.local import run as run_cells
from repro.papers import config
from repro.papers.config import TESTED_SEED, RunConfig
from repro.papers.switches import Switch, changes, trained_as
from repro.records import checkpoints, milestones, training_folder
from repro.run.cell import run_training
from repro.run.context import RunContext
from repro.run.training import METRICS, ended
from repro.system import names, storage
from repro.system.errors import Interrupted, RecordError, ReproError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.locks import locked
from repro.system.progress import Reporter

# A base and itself, or the base with one switch changed, under one training seed.
Pair = tuple[RunConfig, RunConfig]


def planned(
    bases: Sequence[RunConfig], base: str, switches: Sequence[Switch], only_shared: bool = False
) -> list[Pair]:
    """Each base with itself and with each of its changes.

    Args:
        bases: the base's cell under each seed. base: its recipe as text.
        only_shared: leave out what needs a training of its own.
    """
    recipes = [config.recipe(f"{base},{switch.text}") for switch in switches]
    found = []
    for cell in bases:
        found.append((cell, cell))
        changed = [dataclasses.replace(cell, recipe=recipe) for recipe in recipes]
        found += [(cell, c) for c in changed if not (only_shared and _retrained(cell, c))]
    return found


def _retrained(base: RunConfig, cell: RunConfig) -> bool:
    """Whether a cell needs a training that the base does not have."""
    return trained_as(base, cell) is not base and cell.training() is not None


def run(
    pairs: Sequence[Pair],
    context: RunContext,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> list[Failure]:
    """Run the cells that are not finished; a failed one does not stop the others.

    What has the base's training comes as soon as that has ended: one after the other before the
    other trainings, side by side after them.

    Raises:
        Interrupted: a stop was asked for; everything that ran has saved its state.
    """
    todo = unfinished([cell for _, cell in pairs], context, reporter)
    own = [(b, c) for b, c in pairs if c in todo and c != b and trained_as(b, c) is not b]
    shared = [(b, c) for b, c in pairs if c in todo and c != b and trained_as(b, c) is b]
    bases = [(b, c) for b, c in pairs if c in todo and c == b]
    failures: list[Failure] = []
    for group in [bases, shared, own] if jobs == 1 else [[*bases, *own], shared]:
        cells = []
        for base, cell in group:
            try:
                share(base, cell, context, reporter, stop)
                cells.append(cell)
            except Interrupted:
                raise
            except ReproError as error:
                what = title(base, cell)
                failures.append(Failure(what, f"{what}: {error}", error.exit_code))
        failures += run_cells(cells, context, jobs, reporter, stop, command) if cells else []
    return failures


def testable(
    pairs: Sequence[Pair], context: RunContext, reporter: Reporter, stop: StopRequest
) -> list[Pair]:
    """With ``--unfinished``: the cells whose training has got anywhere; others are named.

    Raises:
        TrainingError: a base is not among them.
    """
    found = []
    for base, cell in pairs:
        try:
            share(base, cell, context, reporter, stop)
            run_training(cell, context, reporter, stop)  # only reads what is there
        except TrainingError as error:
            if cell == base:
                raise
            reporter.say(f"{title(base, cell)} is left out: {error}")
        else:
            found.append((base, cell))
    return found


def share(
    base: RunConfig, cell: RunConfig, context: RunContext, reporter: Reporter, stop: StopRequest
) -> None:
    """Copy the base's training to a cell whose training is the same to the last step.

    Every training keeps its last and its best parameters. With other validation images the best
    ones and the validations are not the base's, so these stay behind.

    Raises:
        TrainingError: the base's training has not ended, though it was to, or its last parameters
            are wanted and not there.
    """
    twin, own = base.training(), cell.training()
    if twin is None or own is None or trained_as(base, cell) is not base:
        return
    source, target = (training_folder(context.runs, training) for training in (twin, own))
    if source == target:
        return
    if not context.unfinished and cell.at_step is None and not ended(twin, source):
        raise TrainingError("not run, its training failed")
    same_images = cell.recipe.eval_resize == base.recipe.eval_resize
    target.mkdir(parents=True, exist_ok=True)
    with locked(target, title(base, cell), reporter, stop):
        if cell.at_step is not None:
            stems = [milestones.STEM]
        else:
            stems = ["best", "checkpoint"] if same_images else ["checkpoint"]
        found = []
        for stem in stems:
            kept = _kept(source, twin.digest, stem, cell.at_step)
            there = checkpoints.newest(target, stem)
            if kept and (there is None or there.name < f"{stem}-{kept.step:07d}.json"):
                found.append((stem, kept))
        wants_last = cell.recipe.parameters_tested == "last" and cell.at_step is None
        if found and wants_last and _only_best(source):
            raise TrainingError(
                f"not run: {source} was restored from its best parameters, and the last ones are "
                "needed; delete that folder to train again, or use another --runs folder"
            )
        if found:
            decided = {k.step: int(k.extra["decided_at"]) for s, k in found if s == milestones.STEM}
            milestones.note(target, own.content(), milestones.kept(target) | decided)
            _copy_curve(source / METRICS, target / METRICS, same_images)
        for stem, kept in found:  # a training is there from its checkpoint on, which comes last
            checkpoints.write(
                target, kept.step, kept.tensors, kept.extra, own.digest, stem,
                keep_all=stem == milestones.STEM,
            )  # fmt: skip


def title(base: RunConfig, cell: RunConfig) -> str:
    """For people: the switch and the seed."""
    return f"{changes(base.recipe, cell.recipe)} seed {cell.seed}"


def _kept(
    folder: Path, digest: str, stem: str, at_step: int | None
) -> checkpoints.Checkpoint | None:
    if stem != milestones.STEM:
        return checkpoints.latest(folder, digest, stem)[0]
    there = at_step is not None and (folder / f"{stem}-{at_step:07d}.json").exists()
    return milestones.read(folder, digest, int(at_step or 0)) if there else None


def _only_best(folder: Path) -> bool:
    """Whether a training's last parameters are its best ones under another name.

    So it is where :mod:`repro.records.published_trainings` restored one that tests its best.
    """
    newest = [checkpoints.newest(folder, stem) for stem in ("best", "checkpoint")]
    best, last = (checkpoints.read_header(path) if path else None for path in newest)
    return bool(best and last and best.step < last.step and best.sha256 == last.sha256)


def _copy_curve(source: Path, target: Path, validations: bool) -> None:
    lines = checkpoints.parse_json_lines(source)
    kept = [json.dumps(line) + "\n" for line in lines if validations or line["kind"] == "train"]
    storage.write_text(target, "".join(kept))


def run_final(
    final: Switch,
    bases: Sequence[RunConfig],
    base: str,
    context: RunContext,
    jobs: int,
    reporter: Reporter,
    stop: StopRequest,
    command: str,
) -> tuple[list[Pair], list[Failure]]:
    """Test the base and the one final choice on meta-test.

    Args:
        bases: cells on meta-test.
    Returns:
        Each base with the cell of the choice, and what failed.
    Raises:
        UsageError: another choice of the same base was tested before.
        Interrupted: as :func:`run`.
    """
    pairs = planned(bases, base, [final])
    for cell in bases:
        path = final_path(context.runs, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.parent, f"{final.text} seed {cell.seed}", reporter, stop):
            _claim(path, final.text)
    failures = run(pairs, context, jobs, reporter, stop, command)
    return [(cell, other) for cell, other in pairs if other != cell], failures


def on_test(cell: RunConfig, budget: config.Budget) -> RunConfig:
    """A cell of an ablation, tested on meta-test."""
    return dataclasses.replace(cell, split="test", episode_seed=TESTED_SEED["test"], budget=budget)


def final_path(root: Path, base: RunConfig) -> Path:
    """Where it is written down which one choice was tested on meta-test."""
    digest = storage.digest(dataclasses.replace(base, seed=0).content())
    name = f"final-{base.recipe.name}-{base.budget.name}-{digest[:8]}.json"
    method = f"{names.part(base.method)}-{base.spec.k_shot}-shot"
    return root / names.part(base.dataset) / "ablation" / method / name


def _claim(path: Path, label: str) -> None:
    """Write down which choice meta-test was opened for: there is one, made before."""
    if path.exists():
        told = storage.read_json(path)
        if not isinstance(told, dict) or not isinstance(told.get("switch"), str):
            raise RecordError(f"{path} does not say which switch was tested; restore the file")
        before = told["switch"]
        if before != label:
            raise UsageError(
                f"meta-test was already used for {before} of this base ({path}); only one change, "
                "chosen on meta-validation, is tested there; --show lists the others"
            )
    else:
        storage.write_json(path, {"switch": label})
