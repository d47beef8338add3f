"""What the commands say: one style of error, honest progress, names that exist."""

import io
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from repro import records
from repro.cli.main import cli
from repro.engines.jobs import Unit
from repro.engines.local import one_by_one
from repro.engines.overview import Board
from repro.system.progress import ConsoleReporter, Silent, Tally


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.mark.parametrize(
    "words",
    [("tabel",), ("table", "--nothing"), ("table", "--margin", "x"), ("--nothing",),
     ("train",), ("reproduce", "--shots", "x"), ("reproduce", "--methods", "nobody")],
)  # fmt: skip
def test_every_refusal_begins_with_the_same_word(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert len(re.findall(r"^error: ", result.output, re.M)) == 1, result.output
    assert "Error:" not in result.output


def test_a_stop_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from repro.system.errors import Interrupted

    def stop(*_: object, **__: object) -> None:
        raise Interrupted("stopped; run the same command to continue", 143)

    monkeypatch.setattr("repro.cli.chosen.read_source", stop)
    result = run("table")
    assert (result.exit_code, result.output) == (143, "stopped; run the same command to continue\n")


def test_what_is_open_is_never_about_to_end_in_no_time() -> None:
    assert str(Tally(1, 0, 0, 0, 0.2)).endswith("about 0:01 left")
    assert "left" not in str(Tally(0, 0, 2, 0, 0.0))


def test_trainings_count_in_the_time_left_with_one_job_too() -> None:
    """Half of a training's steps took 10 s, so it and the tests take more than 9 s yet."""
    config: object = None
    tasks = [Unit("t", "training", config, None), Unit("a", "cell", config, "t"),  # type: ignore[arg-type]
             Unit("b", "cell", config, "t")]  # type: ignore[arg-type]  # fmt: skip
    assert [task.name for task in one_by_one(tasks)] == ["t", "a", "b"]
    board = Board(Silent())
    for task, weight in zip(tasks, (100.0, 1.0, 1.0), strict=True):
        board.add(task.name, weight, task.kind == "cell", task.needs)
    board._began -= 10.0
    board.set("t", "running")
    board.progress("t", 0.0)
    board.progress("t", 0.5)
    tally = board.tally()
    assert tally.total == 2
    assert tally.left_s == pytest.approx(10.4, rel=0.05)


def test_validation_is_shown_in_a_terminal_of_110_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=110)
    monkeypatch.setattr("repro.system.progress.Console", lambda **_: terminal)
    with ConsoleReporter() as reporter:
        note = "loss 1.234, train 45.6%, val 1-shot 43.2%, val 5-shot 58.3%"
        reporter.report("train matching_net_fce 5-shot", 12_345, 75_000, note)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert "val 5-shot 58.3%" in " ".join(text.split()) or "58.3%" in text


def test_a_misspelt_data_set_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("table", "--dataset", "mini-imagnet")
    assert result.exit_code == 2
    assert "unknown dataset 'mini-imagnet'; did you mean 'mini-imagenet'?" in result.output


def test_outside_the_checkout_it_is_said_where_the_published_records_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (("table",), ("table", "--from", "results"), ("check", "--pinned")):
        result = run(*words)
        assert result.exit_code == 1
        assert "the folder results of a checkout" in result.output, words


def test_trainings_are_no_method(tmp_path: Path) -> None:
    for name in ("trainings/matching_net-5-shot/seed-0", "finetune/5-shot/seed-0"):
        (tmp_path / "glyphs" / name).mkdir(parents=True)
    assert records.methods_in(tmp_path) == {"finetune"}


def test_an_installed_method_that_a_built_in_row_hides_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[repro.methods]\nmaml = theirs:MAML\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = "the installed method maml (theirs:MAML) is not used"
    assert said in run("method", "list").output
    assert said in run("train", "nobody").output


@pytest.mark.parametrize("command", ["compare", "reproduce", "train", "power", "check", "table"])
def test_help_has_none_of_the_sentences_that_nobody_understood(command: str) -> None:
    text = " ".join(run(command, "--help").output.split())
    for odd in ("Its folder.", "Of all cells.", "Hold ", "more sides", "unless told", "four runs"):
        assert odd not in text, odd
