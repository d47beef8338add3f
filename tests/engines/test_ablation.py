"""Whole ablations on a tiny data set: shared streams and trainings, resume, publishing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from repro import records
from repro.analysis.ablation.effects import Ablation, ablations
from repro.data.pack import open_pack
from repro.engines import ablation
from repro.engines.ablation import Pair
from repro.episodes import EpisodeSampler, episodes_digest
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers import config
from repro.papers.catalogue import built_in
from repro.papers.config import RunConfig
from repro.papers.switches import changes, parse
from repro.records import Record, checkpoints, published_trainings, publishing
from repro.run.cell import RunContext, plan, run_cell, run_training
from repro.run.evaluation import accuracies
from repro.run.verify import verify
from repro.system.errors import Interrupted, RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY
from tests.methods.random_images import decided
from tests.run.test_cells import StopAfter

N = TINY.n_test_episode
CHEAP = "nearest_neighbor"


def bases(pack: Path, method: str = CHEAP, seeds: tuple[int, ...] = (0,),
          base: str = "authors-code", on: config.Split = "val") -> list[RunConfig]:  # fmt: skip
    recipe = config.recipe(base)
    return plan("tiny", pack, [method], [5], seeds, recipe, TINY, "fp32", "cpu", on=on)


def pairs(pack: Path, switches: str, method: str = CHEAP, seeds: tuple[int, ...] = (0,),
          base: str = "authors-code") -> list[Pair]:  # fmt: skip
    wanted = parse(switches, base, built_in(method), 5)
    return ablation.planned(bases(pack, method, seeds, base), base, wanted)


def context(runs: Path, pack: Path, **changed: bool) -> RunContext:
    return RunContext(runs, pack, 1, "cpu", **changed)


def finish(planned: list[Pair], runs: Path, pack: Path, jobs: int = 1,
           **changed: bool) -> dict[str, Record]:  # fmt: skip
    """The records by switch and seed, without the seed where it is 0."""
    here = context(runs, pack, **changed)
    assert ablation.run(planned, here, jobs, Silent(), StopRequest(), "repro test") == []
    return {
        changes(base.recipe, cell.recipe) + (f" {cell.seed}" if cell.seed else ""): (
            records.read_record(records.cell_folder(runs, cell))
        )
        for base, cell in planned
    }


def of_base(runs: Path, base: RunConfig) -> Ablation:
    """The one ablation of a base's cell under ``runs``."""
    found = records.read_records(runs, "tiny", "val")
    (result,) = ablations(found, lambda record: record.digests["config"] == base.digest)
    return result


def trainings(runs: Path) -> int:
    return len(list((runs / "tiny" / "trainings").glob("*/seed-*/*")))


@pytest.mark.slow
def test_cells_share_episodes_and_what_needs_no_training_has_the_bases(
    tmp_path: Path, tiny_pack: Path
) -> None:
    switches = "gates,query_batch_norm=query,parameters_tested,episode_classes"
    planned = pairs(tiny_pack, switches, "meta_lstm")
    found = finish(planned, tmp_path, tiny_pack)
    base = found["base"]
    assert len({record.digests["episodes"] for record in found.values()}) == 1
    assert found["query_batch_norm=query"].digests["checkpoint"] == base.digests["checkpoint"]
    assert found["gates=constant"].digests["checkpoint"] != base.digests["checkpoint"]
    result = of_base(tmp_path, planned[0][0])
    retrained = {effect.label: effect.retrained for effect in result.effects}
    assert retrained == {
        "query_batch_norm=query": False, "parameters_tested=best": False,
        "gates=constant": True, "episode_classes=independent": True,
    }  # fmt: skip
    folder = records.training_folder(tmp_path, planned[0][0].training())  # type: ignore[arg-type]
    best, _ = checkpoints.latest(folder, base.training["digest"], stem="best")
    assert best is not None
    assert found["parameters_tested=best"].digests["checkpoint"] == best.digest
    assert found["parameters_tested=best"].training["tested_step"] == best.step
    val = open_pack(tiny_pack, "val")
    episodes = EpisodeSampler(val.class_rows, "val", planned[0][0].spec, 1).first(N)
    usual = EpisodeSampler(val.class_rows, "val", planned[0][0].spec, 0).first(N)
    assert base.digests["episodes"] == episodes_digest(episodes) != episodes_digest(usual)
    assert result.block == len(val.class_ids) // 5
    last, _ = checkpoints.latest(folder, base.training["digest"])
    assert last is not None
    setting = Setting(16, 8, 5, 5, planned[0][0].recipe, 0)
    method = MetaLSTM(setting)
    method.load_state(last.tensors)
    images = SplitImages(val, setting)
    scores = torch.stack([method.predict(episode, images) for episode in episodes])
    expected = accuracies(scores.argmax(2).numpy().astype(np.uint8), episodes)
    # It was computed in another process, so near ties may have fallen otherwise.
    near = 1 - decided(scores.flatten(0, 1), 1e-4).view(scores.shape[:2]).double().mean(1)
    assert (np.abs(base.accuracy - expected) <= near.numpy() + 1e-9).all()
    assert records.read_records(tmp_path, "tiny") == [], "meta-test was opened"
    verdict = verify(base.path, tiny_pack, Silent(), StopRequest())
    assert verdict.ok and verdict.n_episode == N


@pytest.mark.parametrize("switch", ["parameters_tested=best", "eval_resize=96-crop-84"])
def test_a_shared_training_is_the_one_that_the_cell_would_have_made(
    switch: str, tmp_path: Path, tiny_pack: Path
) -> None:
    planned = pairs(tiny_pack, switch)
    shared = finish(planned, tmp_path / "shared", tiny_pack)[switch]
    own = context(tmp_path / "own", tiny_pack)
    alone = run_cell(planned[1][1], own, Silent(), StopRequest(), "repro test")
    assert shared.digests == alone.digests
    assert shared.training["digest"] == alone.training["digest"]
    curves = [(record.path / "metrics.jsonl").read_text() for record in (shared, alone)]
    if switch.startswith("eval_resize"):  # validations on the base's images are not this one's
        train = [line for line in curves[1].splitlines() if '"train"' in line]
        assert curves[0].splitlines() == train != curves[1].splitlines()
    else:
        assert curves[0] == curves[1]


def test_under_one_seed_all_variants_start_and_train_on_the_same(tiny_pack: Path) -> None:
    split = open_pack(tiny_pack, "train")

    def built(text: str, seed: int = 5) -> tuple[MetaLSTM, SplitImages]:
        recipe = config.recipe(text)
        setting = Setting(16, len(split.class_ids), 5, 5, recipe, seed)
        return MetaLSTM(setting), SplitImages(split, setting)

    method, images = built("authors-code")
    expected = method.training_episode(images, 7)
    start = method.state()
    moved = {
        "gamma_init": {"theta_0"},  # the same words but for the scales
        "lstm_init": {"lstm_weight", "lstm_bias"},  # the same words, scaled
        "forget_bias_high": {"forget_bias"},
        "hidden_size": start.keys() - {"theta_0"},
    }
    for switch in parse("all", "authors-code", built_in("meta_lstm"), 5):
        other, other_images = built(f"authors-code,{switch.text}")
        for name, value in other.state().items():
            if name in moved.get(switch.name, set()):
                assert not value.equal(start[name]), switch.text
            else:
                assert value.equal(start[name]), (switch.text, name)
        episode = other.training_episode(other_images, 7)
        # Of eight classes a permutation has one episode, as an independent draw does.
        own_images = switch.name in ("pixels", "augmentation")
        assert episode[0].equal(expected[0]) == episode[2].equal(expected[2]) == (not own_images)
        assert episode[4].equal(expected[4]) == (switch.name not in ("theta_0", "gamma_init"))
    another, its_images = built("authors-code", seed=6)
    assert not another.training_episode(its_images, 7)[0].equal(expected[0])


@pytest.mark.parametrize(
    "method",
    [pytest.param("finetune", marks=pytest.mark.slow), "nearest_neighbor", "matching_net"],
)
def test_every_method_is_ablated_by_its_own_switches(
    method: str, tmp_path: Path, tiny_pack: Path
) -> None:
    switches = {
        "finetune": "parameters_tested",
        "nearest_neighbor": "neighbor_features,parameters_tested",
    }.get(method, "matching_double_step")
    seeds = (0,) if method == "finetune" else (0, 1)
    planned = pairs(tiny_pack, switches, method, seeds)
    found = finish(planned, tmp_path, tiny_pack)
    result = of_base(tmp_path, planned[0][0])
    assert result.seeds == seeds
    assert len(result.effects) == len(switches.split(","))
    for record in found.values():
        assert (record.selection is not None) == (method == "finetune")


@pytest.mark.parametrize("after", [3, 11])
def test_an_interrupted_ablation_goes_on_and_finished_records_are_kept(
    after: int, tmp_path: Path, tiny_pack: Path
) -> None:
    def times(found: dict[str, Record]) -> list[int]:
        return [(record.path / "record.json").stat().st_mtime_ns for record in found.values()]

    def digests(found: dict[str, Record]) -> list[dict[str, str]]:
        return [record.digests for record in found.values()]

    planned = pairs(tiny_pack, "parameters_tested")
    whole = finish(planned, tmp_path / "whole", tiny_pack)
    stop = StopRequest()
    here = context(tmp_path / "cut", tiny_pack)
    with pytest.raises(Interrupted):
        ablation.run(planned, here, 1, StopAfter(stop, after), stop, "repro test")
    cut = finish(planned, tmp_path / "cut", tiny_pack)
    assert digests(cut) == digests(whole)
    assert times(finish(planned, tmp_path / "cut", tiny_pack)) == times(cut)
    before = times(cut)
    forced = finish(planned, tmp_path / "cut", tiny_pack, force=True)
    assert digests(forced) == digests(whole)
    assert min(times(forced)) > max(before)
    assert not list(tmp_path.rglob("*.partial"))


def test_two_jobs_give_the_same_records_as_one(tmp_path: Path, tiny_pack: Path) -> None:
    planned = pairs(tiny_pack, "parameters_tested,gamma_init")
    one = finish(planned, tmp_path / "1", tiny_pack)
    two = finish(planned, tmp_path / "2", tiny_pack, jobs=2)
    assert len(one) == 3
    assert {k: r.digests for k, r in one.items()} == {k: r.digests for k, r in two.items()}


def test_what_shares_a_training_that_failed_is_named_and_not_run(
    tmp_path: Path, tiny_pack: Path
) -> None:
    planned = pairs(tiny_pack, "parameters_tested")
    training = planned[0][0].training()
    assert training is not None
    folder = records.training_folder(tmp_path, training)
    folder.mkdir(parents=True)
    (folder / "training.json").write_text("5")
    here = context(tmp_path, tiny_pack)
    failures = ablation.run(planned, here, 1, Silent(), StopRequest(), "repro test")
    assert "training.json is damaged" in failures[0].message
    assert failures[-1].message == "parameters_tested=best seed 0: not run, its training failed"
    assert trainings(tmp_path) == 1


def test_best_parameters_that_were_restored_are_not_tested_as_the_last(
    tmp_path: Path, tiny_pack: Path
) -> None:
    """Published are the tested parameters alone, so the effect would be 0."""
    runs, results, elsewhere = (tmp_path / name for name in ("runs", "results", "elsewhere"))
    budget, text = (
        dataclasses.replace(TINY, validate_every=1),
        "authors-code,parameters_tested=best",
    )
    recipe = config.recipe(text)
    for seed in range(20):  # one whose best parameters are not its last
        (base,) = plan("tiny", tiny_pack, [CHEAP], [5], [seed], recipe, budget, "fp32", "cpu",
                       on="val")  # fmt: skip
        here = context(runs, tiny_pack)
        record = run_cell(base, here, Silent(), StopRequest(), "repro test")
        if record.training["tested_step"] < TINY.pretrain:
            break
    publishing.publish(
        runs, results, "tiny", allow_dirty=True, split="val", wanted=lambda r: r.seed == seed
    )
    published_trainings.restore(results, elsewhere, "tiny")
    planned = ablation.planned([base], text, parse("parameters_tested", text, built_in(CHEAP), 5))
    there = context(elsewhere, tiny_pack)
    failures = ablation.run(planned, there, 1, Silent(), StopRequest(), "repro test")
    (failure,) = failures
    assert "was restored from its best parameters, and the last ones are needed" in failure.message
    (left,) = records.read_records(elsewhere, "tiny", "val")
    assert left.recipe_name == base.recipe.name and left.digests["model"] == record.digests["model"]
    early = context(elsewhere, tiny_pack, unfinished=True)
    assert ablation.testable(planned, early, Silent(), StopRequest()) == planned[:1]
    found = finish(planned, runs, tiny_pack)  # where the training was made, both are there
    assert found["parameters_tested=last"].training["tested_step"] == TINY.pretrain


def test_unfinished_trainings_are_tested_as_far_as_they_got_and_again_when_they_went_on(
    tmp_path: Path, tiny_pack: Path
) -> None:
    planned = pairs(tiny_pack, "parameters_tested,gamma_init")
    early = context(tmp_path, tiny_pack, unfinished=True)
    with pytest.raises(TrainingError, match="no checkpoint"):
        ablation.testable(planned, early, Silent(), StopRequest())
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_training(planned[0][1], context(tmp_path, tiny_pack), StopAfter(stop, 5), stop)
    testable = ablation.testable(planned, early, Silent(), StopRequest())
    assert [changes(*(c.recipe for c in pair)) for pair in testable] == [
        "base", "parameters_tested=best",
    ]  # fmt: skip
    found = finish(testable, tmp_path, tiny_pack, unfinished=True)
    assert {record.n_step for record in found.values()} == {5}
    result = of_base(tmp_path, planned[0][0])
    assert result.unfinished
    assert result.effects[0].unfinished
    ended = finish(testable, tmp_path, tiny_pack)
    assert {record.n_step for record in ended.values()} == {TINY.pretrain}
    assert not of_base(tmp_path, planned[0][0]).unfinished


def test_meta_test_is_opened_for_the_base_and_one_choice_which_shares_the_training(
    tmp_path: Path, tiny_pack: Path
) -> None:
    here, label = context(tmp_path / "runs", tiny_pack), "parameters_tested=best"
    finish(pairs(tiny_pack, label), here.runs, tiny_pack)
    (switch,) = parse(label, "authors-code", built_in(CHEAP), 5)
    tasks: list[str] = []

    class Listening(Silent):
        def report(self, task: str, done: int, total: int, note: str = "", *_: object) -> None:
            tasks.append(task)

    given = (
        [ablation.on_test(cell, TINY) for cell in bases(tiny_pack)], "authors-code", here, 1,
        Listening(), StopRequest(), "repro test",
    )  # fmt: skip
    assert given[0] == bases(tiny_pack, on="test")
    chosen, failures = ablation.run_final(switch, *given)
    assert failures == []
    assert tasks
    assert not [task for task in tasks if "train" in task], "it trained anew"
    tested = records.read_record(records.cell_folder(here.runs, chosen[0][1]))
    own = context(tmp_path / "own", tiny_pack)
    alone = run_cell(chosen[0][1], own, Silent(), StopRequest(), "repro test")
    assert tested.digests == alone.digests
    curves = [(record.path / "metrics.jsonl").read_bytes() for record in (tested, alone)]
    assert curves[0] == curves[1]
    (other,) = parse("gamma_init", "authors-code", built_in(CHEAP), 5)
    with pytest.raises(UsageError, match=f"meta-test was already used for {label}"):
        ablation.run_final(other, *given)
    assert len(records.read_records(here.runs, "tiny")) == 2
    (claim,) = here.runs.rglob("final-*.json")
    claim.write_text("5")
    with pytest.raises(RecordError, match="does not say which switch was tested"):
        ablation.run_final(other, *given)


def test_an_ablation_is_published_as_cells_apart_from_those_on_meta_test(
    tmp_path: Path, tiny_pack: Path
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    found = finish(pairs(tiny_pack, "parameters_tested"), runs, tiny_pack)
    with pytest.raises(RecordError, match="no finished runs"):
        publishing.publish(runs, results, "tiny")
    paths = publishing.publish(runs, results, "tiny", allow_dirty=True, split="val")
    assert [path.relative_to(results) for path in paths] == sorted(
        record.path.relative_to(runs) for record in found.values()
    )
    again = records.read_records(results, "tiny", "val")
    assert sorted(r.digests["record"] for r in again) == sorted(
        record.digests["record"] for record in found.values()
    )
    assert records.read_records(results, "tiny") == []
    moved = results / "tiny" / CHEAP
    (results / "tiny" / "val" / CHEAP).rename(moved)
    with pytest.raises(RecordError, match="is the record of tiny/val/"):
        records.read_records(results, "tiny")


def test_the_split_moves_the_digest_of_a_cell_and_not_that_of_its_training(tiny_pack: Path) -> None:
    (test,), (val,) = (bases(tiny_pack, on=on) for on in ("test", "val"))
    assert test.digest != val.digest
    assert test.training() == val.training()
    assert "split" not in test.content() and val.content()["split"] == "val"
    assert test.content() == {
        **{k: v for k, v in val.content().items() if k != "split"}, "episode_seed": 0
    }  # fmt: skip
    assert dataclasses.replace(val, split="test", episode_seed=0) == test
