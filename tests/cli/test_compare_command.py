"""compare and power on the published records, as a user types them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from repro.cli.main import cli
from repro.records import read_record

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(RESULTS.parent)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def folder(method: str, budget: str) -> str:
    (found,) = (RESULTS / "glyphs" / method / "5-shot" / "seed-0").glob(f"*-{budget}-*")
    return str(found)


def test_two_published_methods_are_compared_on_their_own_episodes() -> None:
    done = run("compare", "meta_lstm", "finetune", "--from", "results", "--format", "json")
    assert done.exit_code == 0, done.output
    one, five = json.loads(done.stdout)
    assert (one["k_shot"], five["k_shot"]) == (1, 5)
    a, b = (read_record(Path(folder(m, "quick"))).accuracy for m in ("meta_lstm", "finetune"))
    assert five["difference_mean"] == pytest.approx(float(np.mean(a - b)))
    assert five["n_unit"] == 150


def test_a_folder_against_a_method_and_against_other_episodes() -> None:
    ours, other = folder("meta_lstm", "quick"), folder("finetune", "smoke")
    assert run("compare", ours, "finetune", "--from", "results").exit_code == 0
    refused = run("compare", ours, other)
    assert refused.exit_code == 1
    assert "episodes digest" in refused.stderr
    assert "Traceback" not in refused.output


def test_one_side_alone_and_an_unknown_method_are_usage_errors() -> None:
    assert run("compare", "meta_lstm").exit_code == 2
    assert "did you mean" in run("compare", "meta_lstm", "finetun").stderr


def test_power_against_the_paper_and_between_two_rows() -> None:
    alone = run("power", "--from", "results")
    assert alone.exit_code == 0, alone.output
    assert "detect with 80% power" in " ".join(alone.stdout.split())
    (line,) = [x for x in alone.stdout.splitlines() if "Matching Network FCE 1-shot" in x]
    assert re.search(r" 600 +10\.5\* +[0-5]\.\d% +none ", line)
    two = run("power", "meta_lstm", "finetune", "--from", "results", "--dataset", "mini-imagenet")
    assert two.exit_code == 0, two.output
    assert two.stdout.count("between the methods") == 4


def test_power_as_json_holds_the_numbers_of_the_text() -> None:
    alone = ("power", "--from", "results")
    cells = json.loads(run(*alone, "--format", "json").stdout)
    assert len(cells) == 10
    (cell,) = [c for c in cells if (c["method"], c["k_shot"]) == ("meta_lstm", 5)]
    text = run(*alone).stdout
    chance = cell["chance_of_equivalence"]
    (line,) = [x for x in text.splitlines() if "Meta-Learner LSTM 5-shot" in x]
    assert f" {100 * chance:.1f}% " in line
    assert cell["power"] == 0.8 and cell["margin"] == 0.01
    pair_of = ("meta_lstm@seed=0", "finetune@seed=0")
    two = ("power", *pair_of, "--from", "results", "--dataset", "mini-imagenet")
    one, five = json.loads(run(*two, "--format", "json").stdout)
    assert (one["k_shot"], five["k_shot"], five["seed_sd_from"]) == (1, 5, "assumed")
    text = run(*two).stdout
    for pair in (one, five):
        assert [size["kind"] for size in pair["sizes"]] == ["measured", "margin"]
        for size in pair["sizes"]:
            assert f"power with {size['episodes']:,} episodes" in text
            span = sorted({size["seeds"], size["seeds_most"]})
            assert f"power with {' to '.join(map(str, span))} seeds a side" in text
        assert f"power with {pair['episodes_for_margin']:,} episodes" in text


def test_check_shows_verdicts_and_fails_ci_on_published_records_only() -> None:
    shown = run("check", "--from", "results", "--dataset", "mini-imagenet")
    assert shown.exit_code == 0
    assert "equivalent within" in shown.stdout and "Holm" in shown.stdout
    assert ": higher" in shown.stdout
    assert "re-run with recipe port" in shown.stdout
    assert (
        run("check", "--from", "results", "--dataset", "mini-imagenet", "--strict").exit_code == 1
    )


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_a_plain_one(encoding: str) -> None:
    words = ["table", "--dataset", "mini-imagenet", "--from", "results"]
    done = subprocess.run(
        [sys.executable, "-m", "repro", *words],
        capture_output=True, check=False, env={**os.environ, "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.decode(encoding)
    assert "57.42 ± 0.73" in told and "?" not in told
    assert ("√n" if encoding == "utf-8" else "sqrtn") in told


def test_a_margin_is_told_as_it_was_asked_for() -> None:
    words = ["--dataset", "mini-imagenet", "--from", "results", "--margin", "0.25"]
    assert "the margin of 0.25 is not met" in " ".join(run("table", *words).stdout.split())
    assert "within 0.25 points" in run("power", *words).stdout
