"""Merging: the runs of two people become one folder whose records verify, or nothing is written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import repro
from repro.cli.main import cli
from repro.records import merging, read_record
from repro.records.files import outcome_digest, sealed
from repro.system.errors import RecordError

N = 4


def zeros(episodes: repro.Episodes, name: str, runs: Path, label: int = 0, seed: int = 0) -> Path:
    """An imported record; the folder of its cell."""
    spec = episodes.spec
    labels = np.full((len(episodes), spec.n_way * spec.n_query), label)
    found = repro.import_predictions(
        labels, episodes, name, digest=episodes.short_digest, runs=runs, seed=seed
    )
    return found[0].path


@pytest.fixture(scope="module")
def episodes() -> repro.Episodes:
    return repro.episodes("glyphs", k_shot=1, n_episode=N)


@pytest.fixture
def two(tmp_path: Path, episodes: repro.Episodes) -> tuple[Path, Path]:
    """Runs of two people: a cell of each alone, and one that both have."""
    a, b = tmp_path / "a", tmp_path / "b"
    zeros(episodes, "First", a)
    zeros(episodes, "Both", a)
    zeros(episodes, "Both", b)
    zeros(episodes, "Second", b, label=1)
    return a, b


def merge(a: Path, b: Path, *more: str) -> Result:
    return CliRunner().invoke(cli, ["merge", str(a), str(b), "--into", str(a.parent / "c"), *more])


def refused(a: Path, b: Path, *named: object) -> None:
    before = sorted(path for path in a.parent.rglob("*"))
    done = merge(a, b)
    assert done.exit_code in (1, 2), done.output
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
    for text in named:
        assert str(text) in done.output
    assert sorted(path for path in a.parent.rglob("*")) == before


def test_the_result_has_every_cell_once_and_reads_as_whole(two: tuple[Path, Path]) -> None:
    a, b = two
    done = merge(a, b)
    assert done.exit_code == 0, done.output
    c = a.parent / "c"
    found = repro.results(c)
    assert [record.method for record in found] == [
        "outside_both", "outside_first", "outside_second",
    ]  # fmt: skip
    for record in found:
        origin = b if record.method == "outside_second" else a
        for path in record.path.iterdir():
            assert path.read_bytes() == (origin / path.relative_to(c)).read_bytes()
    assert len(repro.compare(found)) == 3
    assert not list(a.parent.glob(".*"))


def test_the_published_records_merge_with_themselves(tmp_path: Path) -> None:
    results = Path(__file__).parents[2] / "results"
    shutil.copytree(results / "glyphs", tmp_path / "a/glyphs")
    shutil.copytree(results / "glyphs", tmp_path / "b/glyphs")
    done = merge(tmp_path / "a", tmp_path / "b")
    assert done.exit_code == 0, done.output
    for record in repro.results(tmp_path / "c"):
        origin = tmp_path / "a" / record.path.relative_to(tmp_path / "c")
        files = {path.name: path.read_bytes() for path in record.path.iterdir()}
        assert files == {path.name: path.read_bytes() for path in origin.iterdir()}


def test_one_cell_with_two_outcomes_is_refused_by_name(
    two: tuple[Path, Path], episodes: repro.Episodes
) -> None:
    a, b = two
    ours, theirs = zeros(episodes, "Third", a), zeros(episodes, "Third", b, label=2)
    refused(a, b, ours, theirs, "are the same cell with different outcomes")


def test_a_damaged_record_is_refused_by_name(two: tuple[Path, Path]) -> None:
    a, b = two
    path = next(b.rglob("outside_second/**/predictions.npy"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    refused(a, b, path, "does not have the predictions of the record beside it")


Change = Callable[[dict[str, Any]], None]


def with_other_images(content: dict[str, Any]) -> None:
    content["digests"]["data"] = "1" * 64


def with_other_episodes(content: dict[str, Any]) -> None:
    content["digests"]["episodes"] = "2" * 64


def with_another_revision(content: dict[str, Any]) -> None:
    content["numerics_revision"] = 7


def with_another_config(content: dict[str, Any]) -> None:
    content["config"]["episode_seed"] = 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_other_images, "are of different images of glyphs"),
        (with_other_episodes, "are of different episodes of glyphs"),
        (with_another_revision, "is of numerics revision 7, this code's outside_second is of 1"),
        (with_another_config, "the config does not have the digest that the record names"),
    ],
)
def test_mixed_records_are_refused_by_name(
    change: Change, sentence: str, two: tuple[Path, Path]
) -> None:
    """As of someone whose digests fit what was changed."""
    a, b = two
    path = next(b.rglob("outside_second/**/record.json"))
    content = json.loads(path.read_text())
    change(content)
    fields = ("config", "accuracy", "selection", "numerics_revision")
    content["digests"]["record"] = outcome_digest(content, fields)
    path.write_text(json.dumps(sealed(content)))
    read_record(path.parent)
    refused(a, b, path.parent, sentence)


def test_a_test_on_other_data_and_another_way_to_draw_classes_are_merged(
    two: tuple[Path, Path],
) -> None:
    """Their episodes differ, as they must."""
    elsewhere = {"test_dataset": "other", "test_data_digest": "3" * 64}
    first = read_record(next(two[0].rglob("outside_first/**/record.json")).parent)
    drawn = {"recipe": {**first.config["recipe"], "episode_classes": "independent"}}
    for number, change in enumerate((elsewhere, drawn)):
        digests = {**first.digests, "episodes": f"{number}" * 64, "test_data": "3" * 64}
        other = replace(first, config={**first.config, **change}, digests=digests)
        merging._refuse_mixed([first, other])
        with pytest.raises(RecordError, match="are of different episodes of glyphs"):
            again = replace(other, digests={**digests, "episodes": "9" * 64})
            merging._refuse_mixed([first, other, again])


@pytest.mark.parametrize("into", ["", ".", "{}"])
def test_an_empty_current_folder_is_refused_with_what_to_name_instead(
    into: str, two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    target = into.format(tmp_path / "here")
    done = CliRunner().invoke(cli, ["merge", *map(str, two), "--into", target])
    assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
    assert "is the current folder, which cannot be replaced; name a folder in it" in done.output
    assert not list(Path().iterdir())


def test_other_mistakes_get_one_sentence(two: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = two
    (tmp_path / "empty").mkdir()
    refused(a, tmp_path / "none", "is not a folder of runs")
    refused(tmp_path / "empty", tmp_path / "empty", "no records under")
    assert merge(a, b, "--dataset", "omniglot").exit_code == 1
    (tmp_path / "c").mkdir()
    (tmp_path / "c/kept").write_text("")
    refused(a, b, "is there already; name a folder that is not")
