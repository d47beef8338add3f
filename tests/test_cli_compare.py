"""compare and power on the published records, as a user types them."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from repro.cli import cli
from repro.records import read_record

RESULTS = Path(__file__).parent.parent / "results"


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
