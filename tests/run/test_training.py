"""The best parameters of a training are those of a validation that it had."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.methods.base import StepResult
from repro.methods.split_images import SplitImages
from repro.papers import config
from repro.papers.config import TrainingConfig
from repro.records import checkpoints, published_trainings, publishing, training_folder
from repro.run.cell import plan, run_cell
from repro.run.context import Pace, RunContext
from repro.run.training import Trained, train
from repro.system.errors import Interrupted, TrainingError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY

GOOD = StepResult(1.0, 0.2)


class Killed(BaseException):
    """No handler of the package catches it."""


class Counting:
    """Its parameter tells the step and the machine that made it; it is killed after its scores."""

    training = "pretrain"

    def __init__(self, machine: int, scores: Sequence[float], result: StepResult) -> None:
        self.machine, self.scores, self.result = machine, list(scores), result
        self.made = torch.zeros(2)

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        if not self.scores:
            raise Killed
        self.made = torch.tensor([step + 1.0, self.machine])
        return self.result

    def validate(self) -> dict[int, tuple[float, float]]:
        return {5: (self.scores.pop(0), 0.01)}

    def state(self) -> dict[str, Tensor]:
        return {"made": self.made}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.made = state["made"]

    def predict(self, *_: Any) -> Tensor:
        raise NotImplementedError


@pytest.fixture
def training(tiny_pack: Path) -> TrainingConfig:
    """Five steps, each of them validated."""
    budget = config.Budget("smoke-custom", 6, 2, 3, "small", 1, 5, 5, 3, 4, 5)
    recipe = config.recipe("authors-code,parameters_tested=best")
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [5], [0], recipe, budget, "fp32", "cpu")
    found = cell.training()
    assert found is not None and found.n_step == 5
    return found


def go_on(
    training: TrainingConfig,
    runs: Path,
    machine: int,
    scores: Sequence[float],
    stop_now: bool = False,
    result: StepResult = GOOD,
) -> Trained:
    """A stop writes a checkpoint after the first step of this call, a kill writes none."""
    folder, stop = training_folder(runs, training), StopRequest()
    method = Counting(machine, scores, result)
    folder.mkdir(parents=True, exist_ok=True)
    stop.exit_code = 130 if stop_now else 0
    return train(
        method, training, folder, None, method.validate, Silent(), "train", stop,  # type: ignore[arg-type]
        Pace(1e9, 1e9, 1e9),
    )  # fmt: skip


def made(trained: Trained) -> list[float]:
    found: list[float] = trained.state["made"].tolist()
    return found


def test_a_best_that_came_after_the_checkpoint_gone_on_from_is_not_tested(
    training: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        go_on(training, tmp_path, 1, [0.5], stop_now=True)
    with pytest.raises(Killed):
        go_on(training, tmp_path, 1, [0.4, 0.9])  # the best of a step that will be made again
    end = go_on(training, tmp_path, 2, [0.3, 0.2, 0.3, 0.4])
    assert (made(end), end.step) == ([1, 1], 1)


def test_the_best_before_the_first_checkpoint_is_forgotten_with_its_steps(
    training: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        go_on(training, tmp_path, 1, [0.5, 0.6, 0.9])
    end = go_on(training, tmp_path, 2, [0.1, 0.2, 0.1, 0.1, 0.1])
    assert (made(end), end.step) == ([2, 2], 2)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (StepResult(math.nan, 0.2), "the loss is nan at step 2"),
        (StepResult(1.0, math.nan), "the accuracy is nan at step 2"),
        (StepResult(1.0, -math.inf), "the accuracy is -inf at step 2"),
    ],
)
def test_a_loss_or_accuracy_that_is_no_number_ends_the_training_and_not_the_curve(
    result: StepResult, said: str, training: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        go_on(training, tmp_path, 1, [0.5], stop_now=True)
    (curve,) = tmp_path.rglob("metrics.jsonl")
    before = curve.read_text()
    with pytest.raises(TrainingError, match=f"{said}; the last good checkpoint is kept"):
        go_on(training, tmp_path, 1, [0.5] * 4, result=result)
    assert curve.read_text() == before
    assert [json.loads(line)["kind"] for line in before.splitlines()] == ["train", "validation"]


def test_a_restored_training_brings_its_own_best(training: TrainingConfig, tmp_path: Path) -> None:
    runs, results, elsewhere = (tmp_path / name for name in ("runs", "results", "elsewhere"))
    for scores in ([0.5], [0.4], [0.3]):
        with pytest.raises(Interrupted):
            go_on(training, runs, 1, scores, stop_now=True)
    published_trainings.publish_trainings(runs, results, "tiny")
    with pytest.raises(Interrupted):
        go_on(training, elsewhere, 2, [0.5], stop_now=True)
    with pytest.raises(Killed):
        go_on(training, elsewhere, 2, [0.9])
    published_trainings.restore(results, elsewhere, "tiny")
    end = go_on(training, elsewhere, 2, [0.2, 0.1])
    assert (made(end), end.step) == ([1, 1], 1)


@pytest.mark.parametrize("tested", ["best", "last"])
def test_a_restored_end_leaves_no_best_of_what_was_trained_there(
    tested: str, tiny_pack: Path, tmp_path: Path
) -> None:
    runs, results, elsewhere = (tmp_path / name for name in ("runs", "results", "elsewhere"))
    recipe = config.recipe(f"authors-code,parameters_tested={tested}")
    (cell,) = plan("tiny", tiny_pack, ["nearest_neighbor"], [5], [0], recipe, TINY, "fp32", "cpu")
    here = RunContext(runs, tiny_pack, 1, "cpu")
    record = run_cell(cell, here, Silent(), StopRequest(), "repro test")
    publishing.publish(runs, results, "tiny", allow_dirty=True)
    training = cell.training()
    assert training is not None
    folder = training_folder(elsewhere, training)
    checkpoints.write(folder, TINY.pretrain, {"made": torch.ones(2)}, {}, training.digest, "best")
    published_trainings.restore(results, elsewhere, "tiny")
    step = record.training["tested_step"]
    wanted = [f"best-{step:07d}.json"] if tested == "best" else []
    assert [path.name for path in folder.glob("best-*.json")] == wanted
    there = RunContext(elsewhere, tiny_pack, 1, "cpu")
    found = run_cell(cell, there, Silent(), StopRequest(), "repro test")
    assert found.digests["model"] == record.digests["model"]
