"""Whole ablations on a tiny data set: shared streams and trainings, resume, publishing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from repro import records
from repro.analysis.ablation.effects import summarise, write_summary
from repro.data.pack import open_pack
from repro.engines import ablation
from repro.episodes import EpisodeSampler, episodes_digest
from repro.methods.base import Setting, SplitImages
from repro.methods.meta_lstm import MetaLSTM
from repro.papers import config
from repro.papers.catalogue import built_in
from repro.papers.config import RunConfig
from repro.papers.switches import parse
from repro.records import ablation as ablation_records
from repro.records import checkpoints, publishing
from repro.records.ablation import BASE, Variant, VariantRecord
from repro.run.cell import RunContext, plan, run_cell, run_training
from repro.run.evaluation import accuracies
from repro.system.errors import Interrupted, RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY
from tests.methods.random_images import decided
from tests.run.test_cells import StopAfter

N = 4  # meta-validation episodes
CHEAP = "nearest_neighbor"


def bases(pack: Path, method: str = CHEAP, seeds: tuple[int, ...] = (0,),
          base: str = "authors-code") -> list[RunConfig]:  # fmt: skip
    recipe = config.recipe(base)
    return plan("tiny", pack, [method], [5], seeds, recipe, TINY, "fp32", "cpu")


def variants(pack: Path, switches: str, method: str = CHEAP, seeds: tuple[int, ...] = (0,),
             base: str = "authors-code") -> list[Variant]:  # fmt: skip
    wanted = parse(switches, base, built_in(method), 5)
    return ablation.planned(bases(pack, method, seeds, base), base, wanted, N)


def context(runs: Path, pack: Path, **changes: bool) -> RunContext:
    return RunContext(runs, pack, 1, "cpu", **changes)


def finish(planned: list[Variant], runs: Path, pack: Path, jobs: int = 1,
           **changes: bool) -> list[VariantRecord]:  # fmt: skip
    here = context(runs, pack, **changes)
    assert ablation.run(planned, here, jobs, Silent(), StopRequest(), "repro test") == []
    return ablation_records.read_all(planned[0].ablation_folder(runs))


def trainings(runs: Path) -> int:
    return len(list((runs / "tiny" / "trainings").glob("*/seed-*/*")))


def test_variants_share_episodes_and_what_needs_no_training_shares_the_bases(
    tmp_path: Path, tiny_pack: Path
) -> None:
    switches = "gates,query_batch_norm=query,parameters_tested"
    planned = variants(tiny_pack, switches, "meta_lstm", seeds=(3,))
    assert [variant.retrained for variant in planned] == [False] * 3 + [True]
    found = {record.label: record for record in finish(planned, tmp_path, tiny_pack)}
    assert trainings(tmp_path) == 2
    base = found[BASE]
    assert len({record.digests["episodes"] for record in found.values()}) == 1
    assert found["query_batch_norm=query"].digests["checkpoint"] == base.digests["checkpoint"]
    assert found["gates=constant"].digests["checkpoint"] != base.digests["checkpoint"]
    folder = records.training_folder(tmp_path, planned[0].config.training())  # type: ignore[arg-type]
    best, _ = checkpoints.latest(folder, base.training["digest"], stem="best")
    assert best is not None
    assert found["parameters_tested=best"].digests["checkpoint"] == best.digest
    assert found["parameters_tested=best"].training["tested_step"] == best.step
    val = open_pack(tiny_pack, "val")
    episodes = EpisodeSampler(val.class_rows, "val", planned[0].config.spec, 1).first(N)
    usual = EpisodeSampler(val.class_rows, "val", planned[0].config.spec, 0).first(N)
    assert base.digests["episodes"] == episodes_digest(episodes) != episodes_digest(usual)
    assert base.config["block"] == len(val.class_ids) // 5
    last, _ = checkpoints.latest(folder, base.training["digest"])
    assert last is not None
    setting = Setting(16, 8, 5, 5, planned[0].config.recipe, 3)
    method = MetaLSTM(setting)
    method.load_state(last.tensors)
    images = SplitImages(val, setting)
    scores = torch.stack([method.predict(episode, images) for episode in episodes])
    expected = accuracies(scores.argmax(2).numpy().astype(np.uint8), episodes)
    # It was computed in another process, so near ties may have fallen otherwise.
    near = 1 - decided(scores.flatten(0, 1), 1e-4).view(scores.shape[:2]).double().mean(1)
    assert (np.abs(base.accuracy - expected) <= near.numpy() + 1e-9).all()
    assert not list(tmp_path.rglob("record.json")), "meta-test was opened"


def test_a_training_with_other_validation_images_ends_with_the_same_parameters(
    tmp_path: Path, tiny_pack: Path
) -> None:
    ends = []
    for text in ("authors-code", "authors-code,eval_resize=96-crop-84"):
        (cell,) = bases(tiny_pack, base=text)
        trained = run_training(cell, context(tmp_path, tiny_pack), Silent(), StopRequest())
        assert trained is not None
        ends.append(trained.digest)
    assert ends[0] == ends[1]
    assert trainings(tmp_path) == 2


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


@pytest.mark.parametrize("method", ["finetune", "nearest_neighbor", "matching_net"])
def test_every_method_is_ablated_by_its_own_switches(
    method: str, tmp_path: Path, tiny_pack: Path
) -> None:
    switches = {
        "finetune": "parameters_tested",
        "nearest_neighbor": "neighbor_features,parameters_tested",
    }.get(method, "matching_double_step")
    seeds = (0,) if method == "finetune" else (0, 1)
    found = finish(variants(tiny_pack, switches, method, seeds), tmp_path, tiny_pack)
    result = summarise(found)
    assert result.seeds == seeds
    assert len(result.effects) == len(switches.split(","))
    for record in found:
        assert (record.content["selection"] is not None) == (method == "finetune")


@pytest.mark.parametrize("after", [3, 11])
def test_an_interrupted_ablation_goes_on_and_finished_records_are_kept(
    after: int, tmp_path: Path, tiny_pack: Path
) -> None:
    planned = variants(tiny_pack, "parameters_tested")
    whole = finish(planned, tmp_path / "whole", tiny_pack)
    stop = StopRequest()
    here = context(tmp_path / "cut", tiny_pack)
    with pytest.raises(Interrupted):
        ablation.run(planned, here, 1, StopAfter(stop, after), stop, "repro test")
    cut = finish(planned, tmp_path / "cut", tiny_pack)
    assert [record.digests for record in cut] == [record.digests for record in whole]
    times = [(record.path / "variant.json").stat().st_mtime_ns for record in cut]
    again = finish(planned, tmp_path / "cut", tiny_pack)
    assert [(record.path / "variant.json").stat().st_mtime_ns for record in again] == times
    forced = finish(planned, tmp_path / "cut", tiny_pack, force=True)
    assert [record.digests for record in forced] == [record.digests for record in whole]
    assert (forced[0].path / "variant.json").stat().st_mtime_ns > times[0]
    assert not list(tmp_path.rglob("*.partial"))


def test_two_jobs_give_the_same_records_as_one(tmp_path: Path, tiny_pack: Path) -> None:
    planned = variants(tiny_pack, "parameters_tested")
    one = finish(planned, tmp_path / "1", tiny_pack)
    two = finish(planned, tmp_path / "2", tiny_pack, jobs=2)
    assert [record.digests for record in one] == [record.digests for record in two]


def test_unfinished_trainings_are_tested_as_far_as_they_got_and_again_when_they_went_on(
    tmp_path: Path, tiny_pack: Path
) -> None:
    planned = variants(tiny_pack, "parameters_tested,gamma_init")
    early = context(tmp_path, tiny_pack, unfinished=True)
    with pytest.raises(TrainingError, match="no checkpoint"):
        ablation.testable(planned, early, Silent())
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_training(planned[0].config, context(tmp_path, tiny_pack), StopAfter(stop, 5), stop)
    testable = ablation.testable(planned, early, Silent())
    assert [variant.label for variant in testable] == [BASE, "parameters_tested=best"]
    found = finish(testable, tmp_path, tiny_pack, unfinished=True)
    assert {(record.reached_step, record.n_step) for record in found} == {(5, TINY.pretrain)}
    result = summarise(found)
    assert result.unfinished
    assert result.effects[0].unfinished
    ended = finish(testable, tmp_path, tiny_pack)
    assert {record.reached_step for record in ended} == {TINY.pretrain}
    assert not summarise(ended).unfinished


def test_meta_test_is_opened_for_the_base_and_one_choice_which_shares_the_training(
    tmp_path: Path, tiny_pack: Path
) -> None:
    here, label = context(tmp_path / "runs", tiny_pack), "parameters_tested=best"
    finish(variants(tiny_pack, label), here.runs, tiny_pack)
    (switch,) = parse(label, "authors-code", built_in(CHEAP), 5)
    tasks: list[str] = []

    class Listening(Silent):
        def report(self, task: str, done: int, total: int, note: str = "", *_: object) -> None:
            tasks.append(task)

    given = (bases(tiny_pack), "authors-code", here, 1, Listening(), StopRequest(), "repro test")
    chosen, failures = ablation.run_final(switch, *given)
    assert failures == []
    assert tasks
    assert not [task for task in tasks if task.startswith("train")], "it trained anew"
    tested = records.read_record(records.cell_folder(here.runs, chosen[0]))
    own = context(tmp_path / "own", tiny_pack)
    alone = run_cell(chosen[0], own, Silent(), StopRequest(), "repro test")
    assert tested.digests == alone.digests
    curves = [(record.path / "metrics.jsonl").read_bytes() for record in (tested, alone)]
    assert curves[0] == curves[1]
    (other,) = parse("gamma_init", "authors-code", built_in(CHEAP), 5)
    with pytest.raises(UsageError, match=f"meta-test was already used for {label}"):
        ablation.run_final(other, *given)
    assert len(list(here.runs.rglob("record.json"))) == 2
    (claim,) = here.runs.rglob("final-*.json")
    claim.write_text("5")
    with pytest.raises(RecordError, match="does not say which switch was tested"):
        ablation.run_final(other, *given)


def test_an_ablation_is_published_whole_and_only_from_committed_code(
    tmp_path: Path, tiny_pack: Path
) -> None:
    runs, results = tmp_path / "runs", tmp_path / "results"
    planned = variants(tiny_pack, "parameters_tested")
    found = finish(planned, runs, tiny_pack)
    folder = planned[0].ablation_folder(runs)
    with pytest.raises(RecordError, match="no finished ablation"):
        publishing.publish_ablation(folder, runs, results)
    write_summary(folder)

    def rewrite(**changes: object) -> None:
        for record in found:
            ablation_records.write(record.path, {**record.content, **changes})

    rewrite(dirty=True)
    with pytest.raises(RecordError, match="uncommitted changes"):
        publishing.publish_ablation(folder, runs, results)
    rewrite(dirty=False, numerics_revision=0)
    with pytest.raises(RecordError, match="numerics_revision is not the config's"):
        publishing.publish_ablation(folder, runs, results)
    assert not results.exists()
    rewrite(dirty=False)
    target = publishing.publish_ablation(folder, runs, results)
    assert target == planned[0].ablation_folder(results)
    assert len(ablation_records.read_all(target)) == 2
    assert (target / "ablation.json").read_bytes() == (folder / "ablation.json").read_bytes()


def test_a_changed_or_damaged_record_is_named(tmp_path: Path, tiny_pack: Path) -> None:
    planned = variants(tiny_pack, "parameters_tested")
    record = finish(planned, tmp_path, tiny_pack)[0]
    path = record.path / "variant.json"
    content = json.loads(path.read_text())
    content["accuracy"][0] = 1.0 - content["accuracy"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=r"variant\.json.*the content was changed"):
        finish(planned, tmp_path, tiny_pack)
    path.write_text("{}")
    with pytest.raises(RecordError, match="not a valid record"):
        finish(planned, tmp_path, tiny_pack)


def test_every_part_of_a_variant_moves_its_digest(tiny_pack: Path) -> None:
    (base, changed) = variants(tiny_pack, "parameters_tested")
    others = [changed, dataclasses.replace(base, n_episode=N + 1)]
    others += variants(tiny_pack, "parameters_tested", seeds=(1,))
    others += variants(tiny_pack, "parameters_tested", base="authors-code,pixels=imagenet")
    assert len({variant.digest for variant in (base, *others)}) == 1 + len(others)
    assert base.ablation_folder(Path()) == changed.ablation_folder(Path())
    assert base.ablation_folder(Path()) != others[1].ablation_folder(Path())
