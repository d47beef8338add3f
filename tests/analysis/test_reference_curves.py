"""An unfinished training is on the published curve of its kind, or it is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats as reference

from repro import records
from repro.analysis.reference_curves import against_published, hold, trainings
from repro.cli.main import cli
from repro.papers.config import BUDGETS, EpisodeSpec, RunConfig, recipe
from tests.analysis.analysis_doubles import record

CONTENT: dict[str, Any] = {
    "dataset": "mini-imagenet", "data_digest": "d" * 64, "training": "matching_net", "k_shot": 5,
    "recipe": {"pixels": "unit"}, "n_step": 75_000, "validate_every": 1000,
    "n_validation_episode": 100, "validation_shots": [5], "precision": "bf16",
    "numerics_revision": 1,
}  # fmt: skip


def training(root: Path, seed: int, n_point: int, shift: float = 0.0, **changes: object) -> Path:
    folder = root / "mini-imagenet" / "trainings" / "matching_net-5-shot" / f"seed-{seed}" / "a"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps({**CONTENT, "seed": seed, **changes}))
    lines = [
        {"kind": "validation", "step": 1000 * i, "accuracy": {"5": 0.2 + 0.02 * min(i, 20) + shift},
         "half_width": {"5": 0.02}}
        for i in range(1, n_point + 1)
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return folder


@pytest.mark.parametrize(("shift", "where"), [(0.01, "on"), (-0.05, "below"), (0.05, "above")])
def test_it_is_told_with_its_step_and_interval(tmp_path: Path, shift: float, where: str) -> None:
    training(tmp_path / "results", 0, 10)
    training(tmp_path / "runs", 1, 3, shift)
    (line,) = against_published(tmp_path / "runs", tmp_path / "results", "mini-imagenet")
    assert f"Matching Network 5-shot seed 1: {where} the curve at 3,000 of 75,000 steps" in line
    assert f"{100 * shift:+.2f} ± {100 * np.hypot(0.02, 0.02):.2f}" in line and "not seeds" in line


def test_three_published_seeds_predict_another_one(tmp_path: Path) -> None:
    shifts = (0.0, 0.01, 0.03)
    for seed, shift in enumerate(shifts):
        training(tmp_path / "results", seed, 10 - seed, shift)
    training(tmp_path / "runs", 7, 4, 0.02)
    (mine,) = trainings(tmp_path / "runs", "mini-imagenet")
    found = hold(mine, trainings(tmp_path / "results", "mini-imagenet"), 5)
    assert found is not None and (found.step, found.seeds) == (4000, (0, 1, 2))
    half = reference.t.ppf(0.975, 2) * np.std(shifts, ddof=1) * np.sqrt(4 / 3)
    assert found.difference.half_width == pytest.approx(half)
    assert "prediction interval" in found.sentence()


def test_milestones_make_a_training_no_other_kind(tmp_path: Path) -> None:
    kept = [{"step": 2000, "decided_at": 0}]
    training(tmp_path / "results", 0, 10)
    training(tmp_path / "runs", 1, 3, milestones=kept)
    (line,) = against_published(tmp_path / "runs", tmp_path / "results", "mini-imagenet")
    assert "on the curve at 3,000 of 75,000 steps" in line


@pytest.mark.parametrize("method", ["meta_lstm", "finetune"])
def test_a_training_and_its_records_are_one_training(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of its end has another folder; that of a milestone ends earlier."""
    config = RunConfig(
        "mini-imagenet", "d" * 64, method, EpisodeSpec(k_shot=5), recipe("authors-code"),
        BUDGETS["smoke"], 0, "fp32",
    )  # fmt: skip
    whole = config.training()
    assert whole is not None
    own, done, cut = (
        training(tmp_path / name, 0, n) for name, n in (("results", 9), ("done", 9), ("cut", 2))
    )
    kept = {**whole.content(), "milestones": [{"step": 2, "decided_at": 0}]}
    (own / "training.json").write_text(json.dumps(kept))
    tested = [
        record(method, 5, path=path, config=dataclasses.replace(config, at_step=at).describe())
        for path, at in ((cut, 2), (done, None))
    ]
    monkeypatch.setattr(records, "read_records", lambda *_: tested)
    found = trainings(tmp_path / "results", "mini-imagenet")
    assert [one.path for one in found if 5 in one.shots] == [own]
    assert [one.path for one in trainings(tmp_path / "none", "mini-imagenet")] == [done]


@pytest.mark.parametrize(
    "other", [{"recipe": {"pixels": "other"}}, {"data_digest": "e" * 64}, {"n_step": 60_000}]
)
def test_another_recipe_data_or_length_is_no_reference(
    tmp_path: Path, other: dict[str, object]
) -> None:
    training(tmp_path / "results", 0, 10, **other)
    training(tmp_path / "runs", 1, 3)
    (line,) = against_published(tmp_path / "runs", tmp_path / "results", "mini-imagenet")
    assert "no published curve" in line


def test_a_finished_training_is_not_held_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path / "runs", 1, 75)
    training(tmp_path / "results", 2, 3)
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli, ["check", "--curves", "--dataset", "mini-imagenet"])
    assert shown.exit_code == 0, shown.output
    assert "no unfinished training of mini-imagenet under runs" in shown.output
    shown = CliRunner().invoke(
        cli, ["check", "--curves", "--dataset", "mini-imagenet", "--from", "results"]
    )
    assert "at 3,000 of 75,000 steps; no published curve" in shown.output  # it is not its own
