"""Milestones: one training answers for fewer episodes, too, and moves by nothing for it."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from repro import records
from repro.analysis.ablation.effects import ablations
from repro.engines import ablation
from repro.papers.catalogue import built_in
from repro.papers.config import RunConfig, recipe
from repro.papers.switches import parse
from repro.records import Record, milestones, published_trainings, publishing
from repro.run.cell import RunContext, plan, run_cell, run_training
from repro.run.verify import verify
from repro.system import storage
from repro.system.errors import Interrupted, RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY
from tests.run.test_cells import StopAfter

AT = 3  # of TINY's five episodes at 5-shot


def cell(pack: Path, text: str = "authors-code", n_step: int = 5, at: int | None = None,
         seed: int = 0) -> RunConfig:  # fmt: skip
    budget = dataclasses.replace(TINY, meta_lstm_5shot=n_step)
    (made,) = plan(
        "tiny", pack, ["meta_lstm"], [5], [seed], recipe(text), budget, "fp32", "cpu", None, at
    )
    return made


def train(config: RunConfig, runs: Path, pack: Path, marks: tuple[int, ...] = (AT,)) -> None:
    here = RunContext(runs, pack, 1, "cpu", milestones=marks)
    run_training(config, here, Silent(), StopRequest())


def finish(config: RunConfig, runs: Path, pack: Path) -> Record:
    here = RunContext(runs, pack, 1, "cpu")
    return run_cell(config, here, Silent(), StopRequest(), "repro test")


def folder(config: RunConfig, runs: Path) -> Path:
    training = config.training()
    assert training is not None
    return records.training_folder(runs, training)


@pytest.mark.slow
def test_a_milestone_has_the_parameters_of_a_training_of_that_length(
    tmp_path: Path, tiny_pack: Path
) -> None:
    train(cell(tiny_pack), tmp_path / "with", tiny_pack)
    at = finish(cell(tiny_pack, at=AT), tmp_path / "with", tiny_pack)
    shorter = finish(cell(tiny_pack, n_step=AT), tmp_path / "shorter", tiny_pack)
    assert at.digests["model"] == shorter.digests["model"]
    np.testing.assert_array_equal(at.accuracy, shorter.accuracy)
    assert (at.at_step, at.n_step, at.steps) == (AT, AT, f"{AT} of 5 (milestone)")
    assert at.training["milestone_decided_at"] == 0
    assert at.apart == "milestone" and not at.unfinished
    assert records.config_of(at) == cell(tiny_pack, at=AT)
    assert len((at.path / "metrics.jsonl").read_text().splitlines()) < 5


def test_a_training_with_a_milestone_is_the_training_without(
    tmp_path: Path, tiny_pack: Path
) -> None:
    train(cell(tiny_pack), tmp_path / "with", tiny_pack)
    found = [finish(cell(tiny_pack), tmp_path / name, tiny_pack) for name in ("with", "without")]
    assert found[0].digests == found[1].digests
    assert found[0].path.relative_to(tmp_path / "with") == found[1].path.relative_to(
        tmp_path / "without"
    )
    told = storage.read_json(folder(cell(tiny_pack), tmp_path / "with") / milestones.FILE)
    assert told.pop("milestones") == [{"step": AT, "decided_at": 0}]
    assert told == storage.read_json(
        folder(cell(tiny_pack), tmp_path / "without") / milestones.FILE
    )


@pytest.mark.parametrize("after", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4))])
def test_an_interrupted_training_keeps_its_milestone_without_being_told_again(
    after: int, tmp_path: Path, tiny_pack: Path
) -> None:
    config, stop = cell(tiny_pack), StopRequest()
    here = RunContext(tmp_path / "cut", tiny_pack, 1, "cpu", milestones=(AT,))
    with pytest.raises(Interrupted):
        run_training(config, here, StopAfter(stop, after), stop)
    train(config, tmp_path / "cut", tiny_pack, ())
    train(config, tmp_path / "whole", tiny_pack)
    (cut, whole) = (
        milestones.read(folder(config, tmp_path / name), config.training().digest, AT)  # type: ignore[union-attr]
        for name in ("cut", "whole")
    )
    assert cut.digest == whole.digest


def test_a_training_that_is_past_a_milestone_refuses_it(tmp_path: Path, tiny_pack: Path) -> None:
    config, stop = cell(tiny_pack), StopRequest()
    with pytest.raises(Interrupted):
        run_training(config, RunContext(tmp_path, tiny_pack, 1, "cpu"), StopAfter(stop, AT), stop)
    with pytest.raises(TrainingError, match=f"is at step {AT}, so it can keep no milestone at 2"):
        train(config, tmp_path, tiny_pack, (2,))
    train(config, tmp_path, tiny_pack, (4,))  # still ahead; that it came late is told
    assert milestones.kept(folder(config, tmp_path)) == {4: AT}
    assert finish(cell(tiny_pack, at=4), tmp_path, tiny_pack).training["milestone_decided_at"] == AT


def test_what_is_no_milestone_is_refused_in_one_sentence(tmp_path: Path, tiny_pack: Path) -> None:
    for step in (0, 5, 6):
        with pytest.raises(UsageError, match="a step between 1 and 4"):
            milestones.check([step], 5, "meta_lstm")
    with pytest.raises(TrainingError, match="--milestones 3` keeps one"):
        finish(cell(tiny_pack, at=AT), tmp_path, tiny_pack)
    train(cell(tiny_pack), tmp_path, tiny_pack)
    with pytest.raises(UsageError, match="add parameters_tested=last"):
        finish(cell(tiny_pack, "authors-code,parameters_tested=best", at=AT), tmp_path, tiny_pack)
    header = folder(cell(tiny_pack), tmp_path) / f"milestone-{AT:07d}.json"
    storage.write_json(header, {**storage.read_json(header), "extra": {}})
    with pytest.raises(RecordError, match="damaged milestone 3"):
        finish(cell(tiny_pack, at=AT), tmp_path, tiny_pack)
    header.with_suffix(".safetensors").write_bytes(b"no")
    with pytest.raises(RecordError, match="is damaged"):
        finish(cell(tiny_pack, at=AT), tmp_path, tiny_pack)


@pytest.mark.slow
def test_milestone_and_end_are_published_verified_and_restored_side_by_side(
    tmp_path: Path, tiny_pack: Path
) -> None:
    runs, results, elsewhere = (tmp_path / name for name in ("runs", "results", "elsewhere"))
    train(cell(tiny_pack), runs, tiny_pack)
    at, end = (finish(cell(tiny_pack, at=step), runs, tiny_pack) for step in (AT, None))
    publishing.publish(runs, results, "tiny", allow_dirty=True)
    published = records.read_records(results, "tiny")
    assert {(r.at_step, r.digests["record"]) for r in published} == {
        (AT, at.digests["record"]),
        (None, end.digests["record"]),
    }
    for record in published:
        assert verify(record.path, tiny_pack, Silent(), StopRequest()).ok
    published_trainings.restore(results, elsewhere, "tiny")
    shutil.rmtree(runs)
    text = "authors-code,query_batch_norm=query"
    for step, before in ((AT, at), (None, end)):
        again = finish(cell(tiny_pack, at=step), elsewhere, tiny_pack)
        assert again.digests["model"] == before.digests["model"]
        np.testing.assert_array_equal(again.accuracy, before.accuracy)
        apart = finish(cell(tiny_pack, text, at=step), elsewhere, tiny_pack)
        assert apart.digests["model"] == before.digests["model"]
        assert apart.transductive and apart.apart.startswith("transductive")
    assert milestones.kept(folder(cell(tiny_pack), elsewhere)) == {AT: 0}
    assert published_trainings.restore(results, elsewhere, "tiny") == []


def test_an_unfinished_training_is_published_with_its_milestone(
    tmp_path: Path, tiny_pack: Path
) -> None:
    runs, results, elsewhere = (tmp_path / name for name in ("runs", "results", "elsewhere"))
    config, stop = cell(tiny_pack), StopRequest()
    here = RunContext(runs, tiny_pack, 1, "cpu", milestones=(AT,))
    with pytest.raises(Interrupted):
        run_training(config, here, StopAfter(stop, 4), stop)
    unfinished = dataclasses.replace(here, unfinished=True)
    run_cell(config, unfinished, Silent(), StopRequest(), "repro test")
    finish(cell(tiny_pack, at=AT), runs, tiny_pack)
    publishing.publish(runs, results, "tiny", allow_dirty=True)
    assert len(list(results.glob("tiny/trainings/*/*/*/milestone-*.json"))) == 1
    published_trainings.restore(results, elsewhere, "tiny")
    assert finish(cell(tiny_pack, at=AT), elsewhere, tiny_pack).at_step == AT
    assert finish(config, elsewhere, tiny_pack).n_step == 5


@pytest.mark.slow
def test_an_ablation_at_a_milestone_stands_beside_that_of_the_end(
    tmp_path: Path, tiny_pack: Path
) -> None:
    train(cell(tiny_pack), tmp_path, tiny_pack)
    switches = parse("query_batch_norm=query", "authors-code", built_in("meta_lstm"), 5)
    switches += parse("eval_resize", "authors-code", built_in("meta_lstm"), 5)
    here = RunContext(tmp_path, tiny_pack, 1, "cpu")
    for step in (None, AT):
        base = dataclasses.replace(cell(tiny_pack, at=step), split="val", episode_seed=1)
        planned = ablation.planned([base], "authors-code", switches)
        assert not ablation.run(planned, here, 1, Silent(), StopRequest(), "repro test")
    found = records.read_records(tmp_path, "tiny", "val")
    both = ablations(found, lambda record: record.recipe_name == "authors-code")
    assert [a.reached_step for a in both] == [(5,), (AT,)]
    for one in both:
        assert {effect.label for effect in one.effects} == {switch.text for switch in switches}
        assert not any(effect.retrained for effect in one.effects)
    assert [{r.at_step for r in a.records} for a in both] == [{None}, {AT}]
