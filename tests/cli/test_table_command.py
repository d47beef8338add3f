"""``repro table``: the shots that are asked for, and what a damaged record does to it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import repro
from repro.cli.main import cli


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for k_shot in (1, 3, 5):
        episodes = repro.episodes("glyphs", k_shot=k_shot, n_episode=4)
        labels, digest = np.zeros((4, 75), dtype=int), episodes.short_digest
        repro.import_predictions(labels, episodes, "Zeros", digest=digest, runs=folder)
    return folder


def table(runs: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["table", "--runs", str(runs), *more])


def test_shots_choose_the_columns(runs: Path) -> None:
    for asked in ([5], [1, 3]):
        words = ["--shots", ",".join(map(str, asked)), "--format", "json"]
        cells = json.loads(table(runs, *words).output)
        assert {cell["k_shot"] for cell in cells} == set(asked)
        (mine,) = {c["method"] for c in cells if c["measured_mean"] is not None}
        assert mine == "outside_zeros"
        shown = repro.table1(repro.results(runs), shots=asked)
        assert [cell.k_shot for cell in shown.cells] == [cell["k_shot"] for cell in cells]
    assert {c["k_shot"] for c in json.loads(table(runs, "--format", "json").output)} == {1, 3, 5}


def test_shots_that_were_not_run_or_are_no_numbers_are_refused(runs: Path) -> None:
    done = table(runs, "--shots", "2")
    assert done.exit_code == 1
    assert "no record at 2-shot; --shots can be 1, 3, 5" in done.output
    assert table(runs, "--shots", "x").exit_code == 2


def test_a_damaged_record_is_named_and_left_out_and_the_rest_is_drawn(runs: Path) -> None:
    path = next(runs.glob("glyphs/*/5-shot/seed-0/*/record.json"))
    whole = path.read_text()
    try:
        path.write_text(whole.replace('"wall_s": 0.0', '"wall_s": 1.0'))
        done = table(runs)
        assert done.exit_code == 1
        assert "Zeros (outside)" in done.stdout
        assert f"error: left out of the table: {path} is not a valid record" in done.stderr
        words = ["--shots", "1,5", "--format", "json"]
        cells = json.loads(table(runs, *words).stdout)
        assert [c["k_shot"] for c in cells if c["measured_mean"] is not None] == [1]
        for other in runs.glob("glyphs/*/[13]-shot"):
            other.rename(other.with_name(f".{other.name}"))
        alone = table(runs)
        assert (alone.exit_code, alone.stdout) == (1, "")
        assert alone.stderr.startswith(f"error: {path}")
    finally:
        path.write_text(whole)
