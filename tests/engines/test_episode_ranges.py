"""Evaluations in parts give the bytes of one pass; files of a task go to and fro; the counts."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from repro import records
from repro.cli.main import cli
from repro.engines.episode_ranges import Divided, kinds, run_part
from repro.engines.jobs import longest_first, units
from repro.engines.overview import Board
from repro.engines.ray import transfer as ship
from repro.engines.ray.cluster import RayOptions, cluster
from repro.papers import config
from repro.papers.config import RunConfig
from repro.run.cell import plan, run_cell, run_training
from repro.run.context import Pace, RunContext
from repro.system.errors import RecordError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import ConsoleReporter, Silent, Tally
from tests.conftest import TINY
from tests.run.test_kills import assert_same


def tiny_cells(pack: Path, methods: list[str], shots: tuple[int, ...]) -> list[RunConfig]:
    recipe = config.recipe("authors-code")
    return plan("tiny", pack, methods, shots, [0], recipe, TINY, "fp32", "cpu")


def run_divided(cell: RunConfig, context: RunContext, seed: int) -> list[int]:
    """The parts of a cell in any order, each in the folder's own place; sizes of the divisions."""
    run_training(cell, context, Silent(), StopRequest())
    counts, rng = [], random.Random(seed)
    for kind in kinds(cell, force=False):
        divided = Divided(cell, context.runs, context.pack, kind, size=2)
        parts = list(divided.parts)
        counts.append(len(parts))
        rng.shuffle(parts)
        for part in parts:
            divided.add(part, run_part(cell, context, part, Silent(), StopRequest()))
    return counts


@pytest.mark.parametrize("method", ["finetune", "meta_lstm", "nearest_neighbor"])
def test_parts_in_any_order_give_the_bytes_of_one_pass(
    method: str, tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = tiny_cells(tiny_pack, [method], (5,))
    whole, cut = (RunContext(tmp_path / name, tiny_pack, 1, "cpu") for name in ("whole", "cut"))
    run_cell(cell, whole, Silent(), StopRequest(), "repro test")
    counts = run_divided(cell, cut, seed=1)
    assert counts == {"finetune": [4, 3], "meta_lstm": [3], "nearest_neighbor": []}[method]
    # Nothing is left to evaluate: a stop that was asked for finds nothing to stop.
    stop = StopRequest()
    stop.exit_code = 130 if counts else 0
    run_cell(cell, cut, Silent(), stop, "repro test")
    assert_same(cell, tmp_path / "whole", tmp_path / "cut")


def test_a_division_goes_on_from_the_parts_whose_predecessors_are_there(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = tiny_cells(tiny_pack, ["meta_lstm"], (5,))
    context = RunContext(tmp_path, tiny_pack, 1, "cpu")
    run_training(cell, context, Silent(), StopRequest())
    divided = Divided(cell, tmp_path, tiny_pack, "test", size=2)
    first, second, third = divided.parts
    for part in (third, first):
        divided.add(part, np.full((2, 75), part.first, dtype=np.uint8))
    again = Divided(cell, tmp_path, tiny_pack, "test", size=2)
    assert again.parts == [second, third]


def test_changes_are_what_was_written_or_removed_since_and_a_curve_alone_can_wait(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "there" / "a"
    folder.mkdir(parents=True)
    (folder / "old.json").write_text("{}")
    watched = ship.Watched(tmp_path / "there", [folder])
    assert watched.changes() is None
    (folder / "metrics.jsonl").write_text("{}\n")
    (folder / ".lock").write_text("")
    assert watched.changes() is None
    (folder / "new.json").write_text("[1]")
    (folder / "old.json").unlink()
    changes = watched.changes()
    assert changes is not None
    assert changes == ship.Changes(
        {"a/metrics.jsonl": b"{}\n", "a/new.json": b"[1]"}, ("a/old.json",)
    )
    assert watched.changes(all_of_it=True) is None
    here = tmp_path / "here"
    (here / "a").mkdir(parents=True)
    (here / "a" / "old.json").write_text("{}")
    ship.apply(here, changes)
    assert {path.name for path in (here / "a").iterdir()} == {"metrics.jsonl", "new.json"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_a_file_that_leaves_the_runs_folder_is_refused_before_anything_is_written(
    name: str, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    for changes in (ship.Changes({"a": b"", name: b""}), ship.Changes({"a": b""}, (name,))):
        with pytest.raises(RecordError, match="is not a path below"):
            ship.apply(runs, changes)
    assert not runs.exists()


def test_of_two_checkpoints_the_newest_whole_one_is_shipped(
    tmp_path: Path, tiny_pack: Path
) -> None:
    (cell,) = tiny_cells(tiny_pack, ["meta_lstm"], (5,))
    context = RunContext(tmp_path, tiny_pack, 1, "cpu", pace=Pace(0.0, 0.0, 0.0))
    run_training(cell, context, Silent(), StopRequest())
    training = cell.training()
    assert training is not None
    folder = records.training_folder(tmp_path, training)

    def shipped() -> set[str]:
        names = ship.training_files(tmp_path, folder)
        return {Path(name).name for name in names if "checkpoint" in name}

    assert shipped() == {"checkpoint-0000005.json", "checkpoint-0000005.safetensors"}
    (folder / "checkpoint-0000005.safetensors").write_bytes(b"")
    assert shipped() == {"checkpoint-0000004.json", "checkpoint-0000004.safetensors"}


def test_the_board_counts_cells_and_estimates_from_the_share_that_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    monkeypatch.setattr("repro.engines.overview.time.monotonic", lambda: clock[0])
    board = Board(Silent())
    board.add("t", 10, is_cell=False)
    for name, needs in (("a", "t"), ("b", "t"), ("c", None)):
        board.add(name, 10, is_cell=True, needs=needs)
    assert board.tally() == Tally(running=0, waiting=3, done=0, failed=0)
    board.set("t", "running")
    assert board.tally() == Tally(running=2, waiting=1, done=0, failed=0)
    board.progress("t", 0.5)  # went on from half: that was not done now
    clock[0] += 10
    board.progress("t", 1.0)
    board.set("t", "done")
    board.progress("c", 1.0)
    board.set("c", "failed")
    tally = board.tally()
    assert (tally.running, tally.waiting, tally.done, tally.failed) == (0, 2, 0, 1)
    # 5 units of work in 10 s, and 20 are left.
    assert tally.left_s == pytest.approx(40.0)
    assert str(tally) == "0 running, 2 waiting, 0 done, 1 failed, about 0:40 left"


def test_a_log_gets_the_counts_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter() as reporter:
        reporter.tally(Tally(2, 8, 0, 0, 3725))
        reporter.tally(Tally(2, 7, 1, 0, 3700))  # too soon for another line
        reporter.tally(Tally(0, 0, 9, 1))
    assert capsys.readouterr().err.splitlines() == [
        "cells: 2 running, 8 waiting, 0 done, 0 failed, about 1:02:05 left",
        "cells: 0 running, 0 waiting, 9 done, 1 failed",
    ]


def test_units_have_names_of_their_own_and_trainings_come_once(tiny_pack: Path) -> None:
    cells = tiny_cells(tiny_pack, ["finetune", "nearest_neighbor", "meta_lstm"], (1, 5))
    found = units(cells)
    assert len({unit.name for unit in found}) == len(found) == 9
    assert [unit.kind for unit in found] == 3 * ["training"] + 6 * ["cell"]
    n_grid_episode = cells[0].budget.n_grid_episode
    assert [unit.n_episode for unit in found[3::2]] == [6 + 4 * n_grid_episode, 6, 6]
    assert found[3].share("grid", 4, 4) == found[3].share("test", 0, 6) == 12 / 18


def test_what_takes_longest_with_the_cells_behind_it_comes_first(tiny_pack: Path) -> None:
    found = units(tiny_cells(tiny_pack, ["nearest_neighbor", "finetune", "meta_lstm"], (1, 5)))
    pretrain = next(unit for unit in found if unit.title.startswith("train pretrain"))
    grid = max(unit.weight for unit in found if unit.needs == pretrain.name)
    assert grid > max(unit.weight for unit in found if unit.needs is None) > pretrain.weight
    assert found[0] == pretrain == longest_first(found)[0]
    assert longest_first(found)[1].config.method == "finetune"


def test_without_ray_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    named = r"pip install 'repro-fewshot\[ray\]'"
    with pytest.raises(UsageError, match=named), cluster(RayOptions()):
        raise AssertionError


def test_options_of_a_cluster_need_the_engine_that_uses_them(tmp_path: Path) -> None:
    words = ["reproduce", "--cpus-per-cell", "2", "--runs", str(tmp_path)]
    refused = CliRunner().invoke(cli, words)
    assert refused.exit_code == 2
    assert "are for --engine ray only" in refused.output
    assert not list(tmp_path.iterdir())
