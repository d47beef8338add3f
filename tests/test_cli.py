"""What a user's mistake gets: one sentence, the right exit code, no traceback."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from repro.cli import cli


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def invoke(*words: str) -> Result:
    result = CliRunner().invoke(cli, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("reprodce",), 2, "did you mean 'reproduce'"),
        (("reproduce", "--dataset", "glyph"), 2, "did you mean 'glyphs'"),
        (("reproduce", "--recipe", "papr"), 2, "did you mean 'paper'"),
        (("reproduce", "--budget", "huge"), 2, "unknown budget"),
        (("reproduce", "--shots", "one"), 2, "whole numbers"),
        (("reproduce", "--dataset", "mini-imagenet", "--data", "gone"), 1, "no folder gone"),
        (("reproduce", "--dataset", "mini-imagenet"), 1, "--data PATH"),
        (("data", "check", "gone"), 1, "no folder gone"),
        (("table", "--dataset", "glyphs"), 1, "no records of glyphs"),
        (("check", "--pinned"), 1, "no records"),
        (("plot-gates",), 1, "no records"),
        (("publish",), 1, "no finished runs"),
    ],
)
def test_a_mistake_gets_one_sentence_and_its_exit_code(
    words: tuple[str, ...], code: int, said: str
) -> None:
    result = invoke(*words)
    assert result.exit_code == code, result.output
    assert said in result.output
    assert "Traceback" not in result.output
    assert not list(Path().rglob("record.json"))


@pytest.mark.parametrize(
    "words", [(), ("data",), ("episodes",), ("train",), ("evaluate",), ("reproduce",), ("table",),
              ("check",), ("publish",), ("plot-gates",), ("plot-curves",), ("doctor",)],
)  # fmt: skip
def test_help_fits_a_screen_and_has_an_example(words: tuple[str, ...]) -> None:
    result = invoke(*words, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) <= 40
    assert "Example: repro" in result.output


def _start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "repro", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd(),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_stopped_run_saves_its_checkpoint_and_says_so(
    number: signal.Signals, code: int, jobs: str
) -> None:
    with _start(
        "reproduce", "--methods", "nearest_neighbor", "--shots", "1,5", "--jobs", jobs,
        "--budget", "smoke,pretrain=100000",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("train pretrain"):
                break
        process.send_signal(number)
        said = process.stdout.read()
    assert process.wait(60) == code, said
    assert "run the same command to go on" in said
    assert "Traceback" not in said
    assert len(list(Path().rglob("checkpoint-*.safetensors"))) == 1
    assert not list(Path().rglob("record.json"))


def test_a_folder_that_cannot_be_written_is_one_sentence() -> None:
    Path("runs").write_text("a file, not a folder")
    result = invoke("evaluate", "nearest_neighbor", "--recipe",
                    "authors-code,neighbor_features=pixels", "--budget", "smoke")  # fmt: skip
    assert result.exit_code == 1
    assert "Not a directory" in result.output
