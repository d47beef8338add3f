"""Whole cells on a tiny data set: every row, interruption and resume, damage, publishing."""

import base64
import dataclasses
import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from repro import records
from repro.analysis.table import table1
from repro.engines.local import run
from repro.methods.base import StepResult
from repro.methods.meta_lstm import MetaLSTM
from repro.papers import config, paper
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import RunConfig
from repro.records import Record, checkpoints, published_trainings, publishing
from repro.run import setup
from repro.run.cell import plan, resolve_precision, run_cell, run_training
from repro.run.context import Pace, RunContext
from repro.run.evaluation import Partial
from repro.system import storage
from repro.system.errors import Interrupted, RecordError, TrainingError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.analysis.analysis_doubles import reseal
from tests.conftest import TINY


def cells(pack: Path, methods: str = "meta_lstm", shots: tuple[int, ...] = (5,),
          recipe: str = "authors-code", seed: int = 0) -> list[RunConfig]:  # fmt: skip
    return plan(
        "tiny", pack, methods.split(","), shots, [seed], config.recipe(recipe), TINY, "fp32", "cpu"
    )


def context(runs: Path, pack: Path, force: bool = False) -> RunContext:
    return RunContext(runs, pack, 1, "cpu", force, pace=Pace(0.0, 0.0, 0.0))


def finish(runs: Path, pack: Path, cell: RunConfig, force: bool = False) -> Record:
    return run_cell(cell, context(runs, pack, force), Silent(), StopRequest(), "repro test")


class StopAfter(Silent):
    """Asks for a stop when a task has reported ``n`` times."""

    def __init__(self, stop: StopRequest, n: int) -> None:
        self.stop, self.n = stop, n

    def report(self, task: str, done: int, total: int, note: str = "", *_: object) -> None:
        self.n -= 1
        if self.n == 0:
            self.stop.exit_code = 130


@pytest.mark.parametrize("recipe", ["authors-code", "paper"])
@pytest.mark.parametrize("method", paper.METHODS)
def test_every_row_is_trained_tested_and_recorded(
    method: str, recipe: str, tmp_path: Path, tiny_pack: Path
) -> None:
    for cell in cells(tiny_pack, method, (1, 5), recipe):
        record = finish(tmp_path, tiny_pack, cell)
        assert record.n_episode == TINY.n_test_episode
        predictions = np.load(record.path / "predictions.npy", allow_pickle=False)
        assert predictions.shape == (TINY.n_test_episode, 75)
        assert record.digests["config"] == cell.digest
        assert (record.path / "metrics.jsonl").exists()
        assert (record.selection is not None) == (method == "finetune")
        assert (record.path / "gates.json").exists() == (method == "meta_lstm")


@pytest.mark.parametrize("method", [row.name for row in BUILT_IN.values() if not row.in_paper])
def test_rows_that_the_paper_does_not_have_are_cells_too(
    method: str, tmp_path: Path, tiny_pack: Path
) -> None:
    few = dataclasses.replace(TINY, own=((method, 3),) if BUILT_IN[method].n_step else ())
    for cell in plan("tiny", tiny_pack, [method], (1, 5), [0], config.Recipe(), few, "fp32", "cpu"):
        record = finish(tmp_path, tiny_pack, cell)
        assert record.n_episode == TINY.n_test_episode
        assert records.config_of(record) == cell
        assert record.n_step == (3 if cell.row.training == method else TINY.pretrain)
        assert (record.path / "metrics.jsonl").exists()


@pytest.mark.parametrize("method", ["nearest_neighbor", "matching_net_fce", "meta_lstm"])
@pytest.mark.parametrize("after", [1, 3, 5])
def test_an_interrupted_cell_ends_with_the_same_bits(
    method: str, after: int, tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, method)
    whole = finish(tmp_path / "whole", tiny_pack, cell)
    stop = StopRequest()
    here = context(tmp_path / "cut", tiny_pack)
    with pytest.raises(Interrupted):
        run_cell(cell, here, StopAfter(stop, after), stop, "repro test")
    cut = finish(tmp_path / "cut", tiny_pack, cell)
    assert cut.digests == whole.digests
    np.testing.assert_array_equal(cut.accuracy, whole.accuracy)
    for name in ("metrics.jsonl", "predictions.npy", "model.safetensors"):
        assert (cut.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_finished_cell_is_not_run_again_unless_asked(tmp_path: Path, tiny_pack: Path) -> None:
    (cell,) = cells(tiny_pack, "nearest_neighbor")
    first = finish(tmp_path, tiny_pack, cell)
    assert finish(tmp_path, tiny_pack, cell).wall_s == first.wall_s
    before = (first.path / "record.json").stat().st_mtime_ns
    again = finish(tmp_path, tiny_pack, cell, force=True)
    assert (again.path / "record.json").stat().st_mtime_ns > before


def test_baselines_share_one_pretraining_and_matching_one_training(
    tmp_path: Path, tiny_pack: Path
) -> None:
    found = cells(tiny_pack, "finetune,nearest_neighbor,matching_net,meta_lstm", (1, 5))
    digests = [training.digest for cell in found if (training := cell.training())]
    assert len(digests) == 8
    assert len(set(digests)) == 4
    paper_recipe = cells(tiny_pack, "matching_net", (1, 5), "paper")
    assert len({c.training().digest for c in paper_recipe}) == 2  # type: ignore[union-attr]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(
    tmp_path: Path, tiny_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cell,) = cells(tiny_pack)
    honest = MetaLSTM.train_step

    def broken(self: MetaLSTM, images: object, step: int) -> StepResult:
        return StepResult(float("nan"), 0.2) if step == 3 else honest(self, images, step)  # type: ignore[arg-type]

    monkeypatch.setattr(MetaLSTM, "train_step", broken)
    with pytest.raises(TrainingError, match="loss is nan at step 4"):
        finish(tmp_path, tiny_pack, cell)
    wanted = cell.training()
    assert wanted is not None
    found, _ = checkpoints.latest(records.training_folder(tmp_path, wanted), wanted.digest)
    assert found is not None
    assert found.step == 3


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack)
    whole = finish(tmp_path / "whole", tiny_pack, cell)
    stop = StopRequest()
    here = context(tmp_path / "cut", tiny_pack)
    with pytest.raises(Interrupted):
        run_training(cell, here, StopAfter(stop, 4), stop)
    wanted = cell.training()
    assert wanted is not None
    folder = records.training_folder(tmp_path / "cut", wanted)
    newest, _ = sorted(folder.glob("checkpoint-*.safetensors"), reverse=True)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    cut = run_cell(cell, here, Listening(), StopRequest(), "repro test")
    assert newest.name in said[0]
    assert "is damaged" in said[0]
    np.testing.assert_array_equal(cut.accuracy, whole.accuracy)
    assert cut.digests == whole.digests
    for path in folder.glob("checkpoint-*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(RecordError, match=r"no checkpoint in .* is whole"):
        run_training(cell, here, Silent(), StopRequest())


def test_a_record_of_another_configuration_is_refused(tmp_path: Path, tiny_pack: Path) -> None:
    (cell,) = cells(tiny_pack, "nearest_neighbor")
    (other,) = cells(tiny_pack, "nearest_neighbor", seed=1)
    record = finish(tmp_path, tiny_pack, cell)
    target = records.cell_folder(tmp_path, other)
    shutil.copytree(record.path, target)
    with pytest.raises(RecordError, match="another configuration"):
        finish(tmp_path, tiny_pack, other)
    (target / "record.json").write_text("{}")
    with pytest.raises(RecordError, match=r"record\.json is not a valid record .*required field"):
        finish(tmp_path, tiny_pack, other)


def test_two_jobs_give_the_same_records_as_one(tmp_path: Path, tiny_pack: Path) -> None:
    found = cells(tiny_pack, "nearest_neighbor,meta_lstm", (1,))
    for jobs in (1, 2):
        here = context(tmp_path / str(jobs), tiny_pack)
        assert run(found, here, jobs, Silent(), StopRequest(), "repro test") == []
    for cell in found:
        one, two = (
            records.read_record(records.cell_folder(tmp_path / jobs, cell)) for jobs in "12"
        )
        assert one.digests == two.digests
        np.testing.assert_array_equal(one.accuracy, two.accuracy)


def test_publishing_copies_whole_cells_and_refuses_uncommitted_code(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, "meta_lstm")
    record = finish(tmp_path / "runs", tiny_pack, cell)
    path = record.path / "record.json"
    reseal(record.path, dirty=True)
    with pytest.raises(RecordError, match="uncommitted changes"):
        publishing.publish(tmp_path / "runs", tmp_path / "results", "tiny")
    path.write_text(path.read_text().replace('"dirty": true', '"dirty": false'))
    with pytest.raises(RecordError, match="seal: the content was changed"):
        publishing.publish(tmp_path / "runs", tmp_path / "results", "tiny")
    assert not (tmp_path / "results").exists()
    reseal(record.path, dirty=False)
    (target,) = publishing.publish(tmp_path / "runs", tmp_path / "results", "tiny")
    assert sorted(item.name for item in target.iterdir()) == [
        *("gates.json", "metrics.jsonl", "model.safetensors"),
        *("predictions.npy", "record.json"),
    ]
    assert records.read_records(tmp_path / "results", "tiny")[0].digests == record.digests


def test_precision_auto_is_fp32_on_small_images_and_unknown_ones_are_refused() -> None:
    assert resolve_precision("auto", 28, "cpu") == "fp32"
    assert resolve_precision("bf16", 28, "cpu") == "bf16"
    with pytest.raises(UsageError, match="did you mean 'bf16'"):
        resolve_precision("bf61", 28, "cpu")


def test_a_meta_lstm_is_tested_at_the_shot_it_was_not_trained_for(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = plan("tiny", tiny_pack, ["meta_lstm"], [1], [0], config.recipe("authors-code"), TINY,
                   "fp32", "cpu", train_k_shot=5)  # fmt: skip
    (usual,) = cells(tiny_pack, "meta_lstm", (5,))
    assert cell.training() == usual.training()
    assert finish(tmp_path, tiny_pack, cell).training["k_shot"] == 5


def test_the_port_recipe_runs_augmented_and_concerns_the_meta_lstm_only(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, "meta_lstm", (5,), "port")
    assert finish(tmp_path, tiny_pack, cell).n_episode == TINY.n_test_episode
    with pytest.raises(UsageError, match="concerns meta_lstm only, not finetune"):
        cells(tiny_pack, "finetune", (5,), "port")


@pytest.mark.parametrize("tested", ["last", pytest.param("best", marks=pytest.mark.slow)])
def test_a_training_is_tested_as_far_as_it_got_published_and_gone_on_with_elsewhere(
    tmp_path: Path, tiny_pack: Path, tested: str
) -> None:
    recipe = f"authors-code,parameters_tested={tested}"
    (cell,) = cells(tiny_pack, "meta_lstm", recipe=recipe)
    whole = finish(tmp_path / "whole", tiny_pack, cell)
    runs, elsewhere, results = (tmp_path / name for name in ("runs", "elsewhere", "results"))
    early = RunContext(runs, tiny_pack, 1, "cpu", unfinished=True)
    with pytest.raises(TrainingError, match=r"no checkpoint in .* yet"):
        run_cell(cell, early, Silent(), StopRequest(), "repro test")
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_cell(cell, context(runs, tiny_pack), StopAfter(stop, 4), stop, "repro test")
    record = run_cell(cell, early, Silent(), StopRequest(), "repro test")
    assert (record.unfinished, record.n_step) == (True, 4)
    reason = table1.not_comparable(record, "mini-imagenet")
    assert f"trained for 4 of {cell.training().n_step} steps" in reason  # type: ignore[union-attr]

    published = publishing.publish(runs, results, "tiny", allow_dirty=True)
    assert [path.relative_to(results).parts[1] for path in published] == ["meta_lstm", "trainings"]
    copied = published_trainings.restore(results, elsewhere, "tiny")
    assert published_trainings.restore(results, elsewhere, "tiny") == []
    assert [path.relative_to(elsewhere) for path in copied] == [published[1].relative_to(results)]
    there = finish(elsewhere, tiny_pack, cell)
    assert there.digests == whole.digests
    here = finish(runs, tiny_pack, cell)
    assert [test["reached_step"] for test in here.earlier_tests] == [4]
    for _ in range(2):  # elsewhere the earlier test is not known; results tell it, once
        publishing.publish(elsewhere, results, "tiny", allow_dirty=True)
    (told,) = records.read_records(results, "tiny")
    assert told.earlier_tests == here.earlier_tests
    assert published_trainings.restore(results, elsewhere, "tiny") == []
    with pytest.raises(RecordError, match="no unfinished trainings"):
        published_trainings.restore(tmp_path / "nothing", elsewhere, "tiny")


def test_an_unfinished_training_is_published_without_a_test_and_gone_on_with_elsewhere(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, "matching_net")
    whole = finish(tmp_path / "whole", tiny_pack, cell)
    runs, elsewhere, results = (tmp_path / name for name in ("runs", "elsewhere", "results"))
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_cell(cell, context(runs, tiny_pack), StopAfter(stop, 4), stop, "repro test")
    (published,) = published_trainings.publish_trainings(runs, results, "tiny")
    assert records.read_records(results, "tiny") == []
    (copied,) = published_trainings.restore(results, elsewhere, "tiny")
    assert copied.relative_to(elsewhere) == published.relative_to(results)
    assert finish(elsewhere, tiny_pack, cell).digests == whole.digests

    description = copied.parent / "other" / "training.json"
    old = {**storage.read_json(copied / "training.json"), "numerics_revision": 1}
    shutil.copytree(copied, description.parent)
    storage.write_json(description, old)
    for where in (elsewhere, tmp_path / "whole"):  # ended, or of other arithmetic
        with pytest.raises(RecordError, match="no unfinished training of tiny under"):
            published_trainings.publish_trainings(where, tmp_path / "none", "tiny")


def test_a_training_whose_best_parameters_were_lost_is_not_gone_on_with(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, "meta_lstm", recipe="authors-code,parameters_tested=best")
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_cell(cell, context(tmp_path, tiny_pack), StopAfter(stop, 4), stop, "repro test")
    for path in tmp_path.rglob("best-*"):
        path.unlink()
    with pytest.raises(TrainingError, match="no best checkpoint in"):
        finish(tmp_path, tiny_pack, cell)


@pytest.mark.parametrize("recipe", ["authors-code", "paper"])
def test_a_published_training_serves_further_rows_without_being_made_again(
    tmp_path: Path, tiny_pack: Path, recipe: str
) -> None:
    (shared,) = cells(tiny_pack, "nearest_neighbor", (1,), recipe)
    (further,) = cells(tiny_pack, "pretrained_cosine", (1,), recipe)
    runs, elsewhere, results = (tmp_path / name for name in ("runs", "elsewhere", "results"))
    record = finish(runs, tiny_pack, shared)
    expected = finish(runs, tiny_pack, further)
    publishing.publish(runs, results, "tiny", allow_dirty=True)
    restored = published_trainings.restore(results, elsewhere, "tiny")
    assert [path.parts[-3] for path in restored] == ["pretrain"]
    stop = StopRequest()  # asked for at once, so that a single training step would interrupt
    stop.exit_code = 130
    training = run_training(further, context(elsewhere, tiny_pack), Silent(), stop)
    assert training is not None and training.step == record.training["tested_step"]
    there = finish(elsewhere, tiny_pack, further)
    assert there.digests["model"] == expected.digests["model"] == record.digests["model"]
    assert there.accuracy.tolist() == expected.accuracy.tolist()
    assert published_trainings.restore(results, elsewhere, "tiny") == []
    (model,) = results.glob("tiny/nearest_neighbor/*/*/*/model.safetensors")
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    with pytest.raises(RecordError, match=r"model.safetensors does not have the digest"):
        published_trainings.restore(results, tmp_path / "third", "tiny")


def test_a_training_that_another_process_goes_on_with_is_not_restored_into(
    tmp_path: Path, tiny_pack: Path
) -> None:
    """The others are restored; the held one comes when its process has ended."""
    (ended,) = cells(tiny_pack, "nearest_neighbor")
    (cut,) = cells(tiny_pack, "meta_lstm")
    runs, elsewhere, results = (tmp_path / name for name in ("runs", "elsewhere", "results"))
    finish(runs, tiny_pack, ended)
    stop = StopRequest()
    with pytest.raises(Interrupted):
        run_cell(cut, context(runs, tiny_pack), StopAfter(stop, 4), stop, "repro test")
    run_cell(cut, RunContext(runs, tiny_pack, 1, "cpu", unfinished=True), Silent(), StopRequest(),
             "repro test")  # fmt: skip
    publishing.publish(runs, results, "tiny", allow_dirty=True)
    folders = [records.training_folder(elsewhere, c.training()) for c in (ended, cut)]  # type: ignore[arg-type]
    for held, other in (folders, folders[::-1]):
        shutil.rmtree(elsewhere, ignore_errors=True)
        held.mkdir(parents=True)
        writing = held / ".checkpoint-0000001.safetensors.0123.part"
        with FileLock(held / ".lock"):
            writing.write_bytes(b"half of it")
            before = {path: path.read_bytes() for path in held.iterdir()}
            with pytest.raises(RecordError, match=f"{held}: in use by another process") as told:
                published_trainings.restore(results, elsewhere, "tiny")
            assert "wait for its end or stop it, and run the same command again" in str(told.value)
            assert {path: path.read_bytes() for path in held.iterdir()} == before
            assert checkpoints.newest(other) is not None
        assert published_trainings.restore(results, elsewhere, "tiny") == [held]
        assert not writing.exists()
        with FileLock(held / ".lock"):  # nothing is missing there, so it may be held
            assert published_trainings.restore(results, elsewhere, "tiny") == []


@pytest.mark.parametrize("method", ["nearest_neighbor", "proto_net", "meta_lstm"])
def test_shots_that_a_class_has_not_images_for_are_refused_before_training(
    tiny_pack: Path, method: str
) -> None:
    def cells(k_shot: int) -> list[config.RunConfig]:
        recipe = config.recipe("authors-code")
        return plan("tiny", tiny_pack, [method], [1, k_shot], [0], recipe, TINY, "fp32", "cpu")

    assert len(cells(10)) == 2  # 10 + 15 of 25
    with pytest.raises(UsageError, match=(
        f"{method} 11-shot: an episode of the test split takes at least 26 images of a class "
        r"\(11 support, 15 query\), but c13 has 25; ask for at most 10 shots or for --n-query 14, "
        "or leave the class out"
    )):  # fmt: skip
        cells(11)


def test_the_time_of_a_test_counts_interrupted_parts(tmp_path: Path) -> None:
    """What stopped calls took is kept beside their predictions, and added up."""
    from repro.run import evaluation

    path = tmp_path / "test.partial"
    first = evaluation.Partial(path, "d")
    first._began -= 50.0
    first.save(np.zeros((3, 75), np.uint8), now=True)
    second = evaluation.Partial(path, "d")
    assert len(second.load(75)) == 3
    assert second.spent == pytest.approx(50.0, abs=1.0)
    second._began -= 20.0
    second.save(np.zeros((4, 75), np.uint8), now=True)
    third = evaluation.Partial(path, "d")
    third.load(75)
    assert third.spent == pytest.approx(70.0, abs=1.0)
    other = evaluation.Partial(path, "of another test")
    assert len(other.load(75)) == 0 and other.spent == 0.0


def test_the_commit_is_told_only_where_git_tracks_the_package(tmp_path: Path) -> None:
    """A copy inside somebody else's repository is not that repository's commit."""
    from repro.run import provenance

    home = tmp_path / "theirs" / "site" / "repro"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("")
    run = functools.partial(subprocess.run, cwd=tmp_path / "theirs", check=True)
    run(["git", "init", "-q"])
    (tmp_path / "theirs" / "a").write_text("1")
    run(["git", "add", "a"])
    run(["git", "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x"])
    assert provenance.code_state(home) == ("unknown", True)


def test_an_installed_package_is_clean_while_its_files_are_those_that_were_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro import __version__
    from repro.run import provenance

    home = tmp_path / "repro_copy"
    home.mkdir()
    (home / "__init__.py").write_text("x = 1\n")
    value = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).decode().rstrip("=")
    info = tmp_path / "repro_copy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: repro_copy\nVersion: 1.0\n")
    (info / "RECORD").write_text(f"repro_copy/__init__.py,sha256={value},6\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance, "DISTRIBUTION", "repro_copy")
    assert provenance._installed(home) == (f"version {__version__}", False)
    (home / "__init__.py").write_text("x = 2\n")
    assert provenance._installed(home) == ("unknown", True)


def test_force_leaves_out_the_predictions_of_an_interrupted_grid_search(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = cells(tiny_pack, "finetune")
    expected = finish(tmp_path, tiny_pack, cell)
    assert expected.selection is not None
    checkpoint = expected.digests["checkpoint"]
    point = {name: expected.selection["grid"][0][name] for name in ("lr", "decay")}
    digest = storage.digest({**setup.tested(cell, checkpoint), **point})
    left = Partial(expected.path / "grid.partial", digest)
    left.save(np.full((TINY.n_grid_episode, 75), 255, np.uint8), now=True)  # no answer at all
    assert finish(tmp_path, tiny_pack, cell, force=True).selection == expected.selection
