"""Trained on one data set, tested on another: what is used of which, and how it is told."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import repro
from repro import records
from repro.analysis.compare import pairs, sides
from repro.analysis.selection import select
from repro.analysis.table import table1
from repro.cli.main import cli
from repro.data.pack import open_pack
from repro.data.preparing import prepare, prepare_test
from repro.episodes import EpisodeSampler, episodes_digest
from repro.papers import config
from repro.papers.config import EpisodeSpec, RunConfig
from repro.run.cell import plan, run_cell
from repro.run.context import RunContext
from repro.run.verify import packs_for, verify
from repro.system.errors import DataError, RecordError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY

PX = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen classes of 20 images of one colour each: three splits of five."""
    root = tmp_path_factory.mktemp("colours")
    noise = np.random.default_rng(0)
    for place in range(15):
        split = ("train", "val", "test")[place // 5]
        (root / split / f"c{place:02}").mkdir(parents=True)
        for i in range(20):
            grey = 10 + 50 * (place % 5) + noise.integers(0, 9, (20, 20, 3))
            Image.fromarray(grey.astype(np.uint8)).save(root / split / f"c{place:02}/{i:02}.png")
    return root


@pytest.fixture(scope="module")
def other(folder: Path, cache: Path) -> Path:
    return prepare_test("folder", folder, PX)


def cell(pack: Path, other: Path | None, method: str, recipe: str = "authors-code") -> RunConfig:
    (found,) = plan("tiny", pack, [method], [1], [0], config.recipe(recipe), TINY, "fp32", "cpu",
                    test_pack=other)  # fmt: skip
    return found


def finish(runs: Path, pack: Path, other: Path | None, config: RunConfig) -> records.Record:
    context = RunContext(runs, pack, 1, "cpu", test_pack=other)
    return run_cell(config, context, Silent(), StopRequest(), "repro test")


def test_the_test_is_on_the_other_images_and_the_record_has_both_digests(
    tiny_pack: Path, other: Path, tmp_path: Path
) -> None:
    asked = cell(tiny_pack, other, "nearest_neighbor", "authors-code,neighbor_features=pixels")
    record = finish(tmp_path, tiny_pack, other, asked)
    test = open_pack(other, "test")
    drawn = EpisodeSampler(test.class_rows, "test", EpisodeSpec(), 0).first(TINY.n_test_episode)
    assert record.digests["episodes"] == episodes_digest(drawn)
    assert record.digests["data"] == open_pack(tiny_pack, "train").digest
    assert record.digests["test_data"] == test.digest
    assert (record.dataset, record.tested_on) == ("tiny", "folder")
    assert record.task.told == f"tested on folder@{test.digest[:8]}"
    assert record.config["n_test_class"] == 5
    assert records.config_of(record) == asked
    assert records.read_records(tmp_path, "tiny")[0].path == record.path


def test_grid_points_are_chosen_on_meta_validation_of_the_training_set(
    tiny_pack: Path, other: Path, tmp_path: Path
) -> None:
    here, there = (
        finish(tmp_path, tiny_pack, pack, cell(tiny_pack, pack, "finetune"))
        for pack in (None, other)
    )
    assert here.selection == there.selection
    assert here.training["digest"] == there.training["digest"]  # one training for both
    assert here.digests["episodes"] != there.digests["episodes"]
    assert verify(there.path, tiny_pack, Silent(), StopRequest(), test_pack=other).ok
    assert packs_for(there)[1] == other
    with pytest.raises(RecordError, match="was made on other images"):
        verify(there.path, tiny_pack, Silent(), StopRequest(), test_pack=tiny_pack)


def test_it_is_never_held_against_a_reported_number_nor_mixed_with_the_own_test(
    tiny_pack: Path, other: Path, tmp_path: Path
) -> None:
    here, there = (
        finish(tmp_path, tiny_pack, pack, cell(tiny_pack, pack, "nearest_neighbor"))
        for pack in (None, other)
    )
    chosen = select([here, there], None)
    assert [r.path for r in chosen.records] == [here.path]
    assert f"--test-dataset folder@{there.tested_images[:8]} shows" in str(chosen.left_out[0])
    asked = select([here, there], None, task={"test_dataset": "folder"})
    assert [r.path for r in asked.records] == [there.path]
    assert [r.path for r in select([here, there], None, task={"test_dataset": "tiny"}).records] == [
        here.path
    ]
    table = table1.build([there], "mini-imagenet")
    assert all(found.reported is None and found.judged is None for found in table.cells)
    assert "tested on folder@" in table.title
    assert "No number is reported" in table.format("text")
    (row,) = [line for line in json.loads(table.format("json")) if line["n_episode"]]
    assert row["test_dataset"] == there.task.test_dataset
    one, two = (sides.Side(name, (r,)) for name, r in (("here", here), ("there", there)))
    with pytest.raises(RecordError, match="have different images"):
        pairs.compare(one, two)


def test_trainings_on_different_data_are_paired_on_the_images_that_both_are_tested_on(
    tiny_pack: Path, other: Path, tmp_path: Path
) -> None:
    foreign = finish(tmp_path, tiny_pack, other, cell(tiny_pack, other, "nearest_neighbor"))
    recipe = config.recipe("authors-code")
    (own,) = plan("folder", other, ["nearest_neighbor"], [1], [0], recipe, TINY, "fp32", "cpu")
    native = finish(tmp_path, other, None, own)
    found = pairs.compare(sides.Side("foreign", (foreign,)), sides.Side("own", (native,)))
    expected = foreign.accuracy.mean() - native.accuracy.mean()
    assert found.interval.mean == pytest.approx(expected)
    assert found.dataset == "tested on folder"


def run(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == code, result.output
    return result


def test_the_command_trains_on_glyphs_and_tests_on_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    budget = "smoke,n_test_episode=4,n_validation_episode=2,pretrain=2,validate_every=2"
    words = ("--methods", "nearest_neighbor", "--budget", budget, "--shots", "5", "--jobs", "1")
    told = run("reproduce", *words, "--test-dataset", "folder", "--test-data", str(folder)).output
    assert "Table 1 on glyphs, tested on folder@" in " ".join(told.split())
    (record,) = records.read_records(tmp_path / "runs", "glyphs")
    assert open_pack(prepare("folder", folder), "test").image_size == 28  # as those of the glyphs
    table = " ".join(run("table", "--test-dataset", "folder").output.split())
    assert f"tested on {record.task.test_dataset}" in table
    run("report", "--output", "page.html")
    assert f"tested on {record.task.test_dataset}" in (tmp_path / "page.html").read_text()
    assert "no record of glyphs has" in run("table", "--test-dataset", "omniglot", code=1).output
    frame = repro.results("runs").to_frame()
    assert frame["test_dataset"].tolist() == ["folder"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--test-data", "."), "--test-data is the place of --test-dataset NAME; name that, too"),
        (("--test-dataset", "foldr"), "did you mean 'folder'"),
        (("--test-dataset", "omniglot"), "omniglot has not been prepared yet: name its folder or "
                                         "archive with --test-data PATH"),
        (("--test-dataset", "glyphs", "--engine", "ray"), "does not work with --engine ray"),
    ],
)  # fmt: skip
def test_what_cannot_be_tested_is_said_in_one_sentence(words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli, ["reproduce", *words])
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())


def test_images_of_another_size_are_refused(other: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match="have 28 px and those of the training 16 px; train with"):
        prepare_test("glyphs", None, PX)
    with pytest.raises(DataError, match="no folder"):
        prepare_test("folder", other / "gone", PX)


def test_the_own_data_set_as_test_data_set_is_the_plain_cell(tiny_pack: Path) -> None:
    assert cell(tiny_pack, tiny_pack, "finetune") == cell(tiny_pack, None, "finetune")
