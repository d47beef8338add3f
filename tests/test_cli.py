"""What a user's mistake gets: one sentence, the right exit code, no traceback."""

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
