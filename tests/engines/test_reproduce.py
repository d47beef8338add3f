"""``repro.reproduce``: the cells of the command, and classes as methods."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import repro
from repro.cli.main import cli
from repro.methods.nearest_neighbor import NearestNeighbor
from repro.methods.registry import from_class, load
from repro.papers.method_spec import SESSION
from repro.system.errors import MethodError, TrainingError, UsageError

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "own-method" / "class_means.py"
BUDGET = "smoke,n_test_episode=4,n_validation_episode=2,validate_every=2,pretrain=2"


def of_session(source: str) -> Any:
    """A class as a cell of a notebook defines it."""
    scope = {"__name__": "__main__", "torch": torch}
    exec(compile(source, "<cell>", "exec"), scope)
    return scope["Chance"]


CHANCE = """
class Chance:
    training, title = None, "{title}"
    def __init__(self, setting): self.setting = setting
    def predict(self, episode, images):
        return torch.full((len(episode.query), len(episode.class_indices)), 0.2).log()
"""


def reproduce(*words: Any, **options: Any) -> repro.Results:
    return repro.reproduce("glyphs", BUDGET, *words, progress=False, shots=[1], **options)


def test_the_digests_are_those_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    ours = reproduce("nearest_neighbor", runs=tmp_path / "ours", device="cpu")[0]
    words = ["evaluate", "nearest_neighbor", "--k-shot", "1", "--budget", BUDGET]
    done = CliRunner().invoke(cli, [*words, "--runs", str(tmp_path / "theirs")])
    assert done.exit_code == 0, done.output
    theirs = repro.results(tmp_path / "theirs")[0]
    assert ours.digests == theirs.digests
    assert ours.path.relative_to(tmp_path / "ours") == theirs.path.relative_to(tmp_path / "theirs")


def test_whole_numbers_of_numpy_are_those_of_python(tmp_path: Path) -> None:
    plain = {"n_way": 4, "n_query": 3, "seed": 2, "seeds": 1, "jobs": 1}
    numbers = {name: np.int64(value) for name, value in plain.items()}
    numbers["shots"] = np.array([1])
    first = reproduce("nearest_neighbor", runs=tmp_path, device="cpu", **plain)[0]
    same = repro.reproduce(
        "glyphs", BUDGET, "nearest_neighbor", runs=tmp_path, device="cpu", progress=False, **numbers
    )[0]
    assert (same.path, same.started_at) == (first.path, first.started_at)


def test_a_class_of_a_module_is_its_file_and_a_class_of_a_session_is_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLE.parent)
    import class_means  # type: ignore[import-not-found]

    row = from_class(class_means.ClassMeans)
    assert row == from_class(class_means.ClassMeans)
    assert row.source is not None
    assert row.source.path == str(EXAMPLE)
    sys.modules.pop("class_means")
    assert from_class(NearestNeighbor).source is None
    session = from_class(of_session(CHANCE.format(title="Chance")))
    assert session.source is not None
    assert session.source.package == SESSION
    assert session.source.target == "__main__:Chance"


def test_a_class_of_a_session_runs_and_changed_code_is_another_run(tmp_path: Path) -> None:
    first = reproduce([of_session(CHANCE.format(title="Chance"))], runs=tmp_path)[0]
    assert first.accuracy.tolist() == [0.2] * 4
    same = reproduce([of_session(CHANCE.format(title="Chance"))], runs=tmp_path)[0]
    assert (same.path, same.started_at) == (first.path, first.started_at)
    other = reproduce([of_session(CHANCE.format(title="Luck"))], runs=tmp_path)[0]
    assert other.path != first.path
    assert other.title == "Luck"


def test_recorded_code_of_another_session_is_told_to_be_in_no_file(tmp_path: Path) -> None:
    row = from_class(of_session(CHANCE.format(title="Gone")))
    from repro.methods import registry

    assert row.source is not None
    del registry._handed[row.source.digest]
    with pytest.raises(MethodError, match="its code is in no file; evaluate it again"):
        load(row)


def test_a_failed_cell_is_an_error_and_the_others_are_recorded(tmp_path: Path) -> None:
    broken = of_session(CHANCE.format(title="x").replace("return", "raise ValueError() #"))
    broken.name = "broken"
    with pytest.raises(TrainingError, match="broken raised ValueError in predict at episode 0"):
        reproduce([broken, of_session(CHANCE.format(title="y"))], runs=tmp_path)
    assert {record.method for record in repro.results(tmp_path)} == {"chance"}


MISTAKEN = Fraction(1)  # an instance, as C(None) in place of C


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"methods": "meta_lstn"}, "did you mean 'meta_lstm'"),
        ({"methods": []}, "at least one method"),
        ({"seed": True}, "seed is a whole number from 0, not True"),
        ({"seed": 2**70}, "seed is a whole number from 0 to 9223372036854775807, not one beyond"),
        ({"n_way": "5"}, "n_way is a whole number from 2, not '5'"),
        ({"shots": 1}, r"shots is a list of whole numbers such as \[1, 5\], not 1"),
        ({"shots": ["1"]}, "shots is a whole number from 1, not '1'"),
        ({"budget": None}, "budget is text, not None"),
        ({"runs": "s3://bucket/runs"}, "the command line takes URLs"),
        ({"seeds": 0}, "seeds is a whole number from 1, not 0"),
        ({"device": "tpu"}, "device is auto, cpu or cuda"),
        ({"recipe": "papper"}, "did you mean 'paper'"),
        ({"methods": [int]}, "int"),
        (
            {"methods": [MISTAKEN]},
            "names, FILE.py:CLASS or classes, and one is an object of Fraction;",
        ),
        ({"methods": ["finetune", MISTAKEN]}, "an object of Fraction; give the class itself"),
        ({"methods": MISTAKEN}, "an object of Fraction; give the class itself"),
    ],
)
def test_a_mistake_gets_one_sentence(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:  # fmt: skip
    asked = {"methods": "nearest_neighbor", "budget": BUDGET, "runs": tmp_path, "shots": [1]}
    with pytest.raises(repro.ReproError, match=sentence):
        repro.reproduce("glyphs", progress=False, **{**asked, **options})
    assert not list(tmp_path.iterdir())


def test_a_class_of_a_session_is_not_sent_to_other_processes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs in this process alone"):
        reproduce([of_session(CHANCE.format(title="Chance"))], runs=tmp_path, jobs=2)
