"""From names and files to rows: what is refused in one sentence, and what moves a digest."""

import sys
from pathlib import Path

import pytest
import torch

from repro import records
from repro.episodes import EpisodeSampler
from repro.methods import own_code, registry
from repro.methods.base import Stackable
from repro.methods.registry import find, resolve
from repro.papers import config, paper
from repro.papers.catalogue import BUILT_IN
from repro.papers.config import BUDGETS, EpisodeSpec, RunConfig, TrainingConfig
from repro.papers.method_names import PRETRAIN
from repro.papers.method_spec import MethodSpec, from_record
from repro.records import Record, publishing
from repro.run.cell import RunContext, plan, run_cell
from repro.system.errors import MethodError, RecordError, ReproError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.analysis.analysis_doubles import reseal
from tests.conftest import TINY

CHANCE = """
import torch
class MyChance:
    def __init__(self, setting): pass
    def predict(self, episode, images):
        return torch.full((len(episode.query), 5), 0.2).log()
"""
ON_FEATURES = """
import torch
class Last(torch.nn.Module):
    name, title, training = "last_class", "Last class", "pretrain"
    def __init__(self, setting): super().__init__()
    def load_state(self, state): self.params = state["params"]
    def predict(self, episode, images):
        scores = torch.zeros(len(episode.query), 5)
        scores[:, -1] = float(self.params.abs().sum())
        return scores.log_softmax(1)
"""


def written(folder: Path, source: str = CHANCE, name: str = "MyChance") -> str:
    folder.mkdir(exist_ok=True)
    (folder / "own.py").write_text(source)
    return f"{folder / 'own.py'}:{name}"


def cell(row: MethodSpec, pack: Path, budget: config.Budget = TINY) -> RunConfig:
    recipe = config.recipe("authors-code")
    (found,) = plan("tiny", pack, [row], [5], [0], recipe, budget, "fp32", "cpu")
    return found


def trained(found: RunConfig) -> TrainingConfig:
    training = found.training()
    assert training is not None
    return training


def finish(runs: Path, pack: Path, found: RunConfig) -> Record:
    return run_cell(found, RunContext(runs, pack, 1, "cpu"), Silent(), StopRequest(), "repro test")


@pytest.mark.parametrize(
    ("source", "word", "said"),
    [
        (CHANCE, "gone.py:MyChance", "cannot be read"),
        (CHANCE, "own.py:Chance", r"no class Chance \(its classes: MyChance\)"),
        (CHANCE, "own.py:torch", "has no class torch"),
        ("import nowhere", "own.py:X", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def f(:\n", "own.py:X", "SyntaxError: line 1: invalid syntax"),
        ("class X:\n    pass", "own.py:X", "it has no predict"),
        (CHANCE.replace("def __init__", "training = 'own'\n    def __init__"), "own.py:MyChance",
         "it has no train_step"),
        (CHANCE.replace("def __init__", "training = 'fast'\n    def __init__"), "own.py:MyChance",
         "training = 'fast'"),
        (CHANCE.replace("def __init__", "name = 'meta_lstm'\n    def __init__"), "own.py:MyChance",
         "has the name of a built-in method"),
        (CHANCE.replace("def __init__", "name = 'My-Net'\n    def __init__"), "own.py:MyChance",
         "small letters"),
        (CHANCE.replace("def __init__", "name = 'all'\n    def __init__"), "own.py:MyChance",
         "none of all, figures"),
        (CHANCE.replace("def __init__", "title = 'a\\nb'\n    def __init__"), "own.py:MyChance",
         "printable"),
        (CHANCE.replace("def __init__", "train_shot = 'ten'\n    def __init__"), "own.py:MyChance",
         "train_shot = 'ten'"),
        (CHANCE + "    n_step = 0\n    train_step = state = load_state = predict",
         "own.py:MyChance", "n_step of my_chance is a whole number"),
        (CHANCE + "    n_step = {'quik': 3}\n    train_step = state = load_state = predict",
         "own.py:MyChance", "did you mean 'quick'"),
        (CHANCE, "own.py", r"path/to/file\.py:Class"),
        (CHANCE, "meta_lst", "did you mean 'meta_lstm'"),
    ],
)  # fmt: skip
def test_what_is_no_method_is_one_sentence(
    source: str, word: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, source)
    with pytest.raises(ReproError, match=said) as caught:
        find(word)
    assert "\n" not in str(caught.value)


def test_lists_name_each_row_once_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "a")
    found = resolve(["paper", "my_chance", "finetune"], [one])
    assert [row.name for row in found] == [*paper.METHODS, "my_chance"]
    assert found[-1].title == "My chance"
    named = [row.name for row in resolve(["all"])]
    assert named[: len(BUILT_IN)] == list(BUILT_IN)
    other = written(tmp_path / "b", CHANCE + "# another\n")
    with pytest.raises(UsageError, match="two methods are called my_chance"):
        resolve([one, other])


def test_the_source_is_in_the_digests_and_the_same_source_elsewhere_is_the_same_run(
    tmp_path: Path, tiny_pack: Path
) -> None:
    learning = CHANCE + "    train_step = state = load_state = predict\n"
    first, same, other = (
        cell(find(written(tmp_path / name, source)), tiny_pack, BUDGETS["smoke"])
        for name, source in (("a", learning), ("b", learning), ("c", learning + "# another\n"))
    )
    assert first.digest == same.digest != other.digest
    assert trained(first).digest == trained(same).digest != trained(other).digest
    assert trained(first).n_step == BUDGETS["smoke"].matching_net
    more = config.budget("smoke,my_chance=7,n_test_episode=9", [first.row])
    assert more.name == "smoke-custom"
    assert trained(cell(first.row, tiny_pack, more)).n_step == 7
    with pytest.raises(UsageError, match="whole number from 1"):
        config.budget("smoke,my_chance=none", [first.row])
    with pytest.raises(UsageError, match="did you mean 'my_chance'"):
        config.budget("smoke,my_chanc=7", [first.row])


def test_a_method_on_the_shared_features_adds_no_training(tmp_path: Path, tiny_pack: Path) -> None:
    row = find(written(tmp_path, ON_FEATURES, "Last"))
    found = cell(row, tiny_pack)
    baseline = cell(BUILT_IN["nearest_neighbor"], tiny_pack)
    assert trained(found).training == PRETRAIN
    assert trained(found).digest == trained(baseline).digest
    record = finish(tmp_path / "runs", tiny_pack, found)
    assert record.accuracy.tolist() == [0.2] * TINY.n_test_episode


def test_a_record_without_the_method_is_read_and_published(tmp_path: Path, tiny_pack: Path) -> None:
    row = find(written(tmp_path))
    record = finish(tmp_path / "runs", tiny_pack, cell(row, tiny_pack))
    assert (record.title, record.in_paper) == ("My chance", False)
    again = records.config_of(record)
    assert again.digest == record.digests["config"]
    assert again.row == row
    assert again.row.source is not None
    assert again.row.source.path == ""
    path = record.path / "record.json"
    reseal(record.path, dirty=False)
    (target,) = publishing.publish(tmp_path / "runs", tmp_path / "results", "tiny")
    assert not (target / "model.safetensors").exists()
    path.write_text(path.read_text().replace("My chance", "<b>\\n"))
    with pytest.raises(RecordError):
        records.read_record(record.path)
    with pytest.raises(ValueError, match="train_shot"):
        from_record("x", {**row.describe(), "train_shot": "ten"})


def test_failures_in_a_run_name_method_episode_and_line(
    tmp_path: Path, tiny_pack: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    failing = "if episode.index == 3: raise KeyError('x')\n        return torch"
    row = find(written(tmp_path, CHANCE.replace("return torch", failing)))
    found = cell(row, tiny_pack)
    said = r"the method my_chance raised KeyError: 'x' in predict at episode 3 \(own\.py:6\)"
    with pytest.raises(MethodError, match=said):
        finish(tmp_path / "runs", tiny_pack, found)
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("REPRO_DEBUG", "1")
    with pytest.raises(MethodError, match=said):
        finish(tmp_path / "runs", tiny_pack, found)
    assert "Traceback" in capsys.readouterr().err
    for new, told in (("(3, 5)", r"shape \(3, 5\)"), ("(75, 5), float('nan')).log() #", "NaN")):
        source = CHANCE.replace("(len(episode.query), 5)", new)
        row = find(written(tmp_path, source))
        with pytest.raises(MethodError, match=f"my_chance gave .*{told}.* predict at episode 0"):
            finish(tmp_path / "runs", tiny_pack, cell(row, tiny_pack))
    assert not list(tmp_path.rglob("record.json"))


def test_a_file_changed_under_a_run_is_refused(tmp_path: Path, tiny_pack: Path) -> None:
    row = find(written(tmp_path))
    written(tmp_path, CHANCE + "# changed\n")
    with pytest.raises(MethodError, match="was changed since the command began"):
        finish(tmp_path / "runs", tiny_pack, cell(row, tiny_pack))
    (tmp_path / "own.py").unlink()
    with pytest.raises(MethodError, match="same place on every machine, or install it"):
        finish(tmp_path / "runs", tiny_pack, cell(row, tiny_pack))


def test_a_package_counts_with_all_its_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "__init__.py").write_text("from ours.net import Net")
    (folder / "net.py").write_text("class Net: pass")
    monkeypatch.syspath_prepend(tmp_path)
    import ours  # type: ignore[import-not-found]

    before = own_code.package_digest(ours.Net)
    (folder / "helper.py").write_text("x = 1")
    assert own_code.package_digest(ours.Net) != before
    (folder / "helper.py").unlink()
    assert own_code.package_digest(ours.Net) == before
    for name in ("ours", "ours.net"):
        del sys.modules[name]


def test_predictions_that_are_stacked_are_asked_for_together(tmp_path: Path) -> None:
    stacked = CHANCE + (
        "    def predict_many(self, episodes, images):\n"
        "        return torch.stack([self.predict(e, images) for e in episodes])[:, :3]\n"
    )
    row = find(written(tmp_path, stacked))
    made = registry.build(row, None)  # type: ignore[arg-type]
    assert isinstance(made, Stackable)
    assert not isinstance(registry.build(find(written(tmp_path)), None), Stackable)  # type: ignore[arg-type]
    drawn = EpisodeSampler(((0, 25),) * 5, "test", EpisodeSpec(), 0).first(2)
    with pytest.raises(MethodError, match=r"shape \(2, 3, 5\) in predict_many at episodes 0 to 1"):
        made.predict_many(drawn, None)  # type: ignore[arg-type]
    assert torch.is_grad_enabled()


def test_what_a_method_does_to_an_episode_stays_with_it(tmp_path: Path) -> None:
    source = CHANCE.replace("return torch", "episode.query_rows[:] = -1\n        return torch")
    made = registry.build(find(written(tmp_path, source)), None)  # type: ignore[arg-type]
    (drawn,) = EpisodeSampler(((0, 25),) * 5, "test", EpisodeSpec(), 0).first(1)
    made.predict(drawn, None)  # type: ignore[arg-type]
    assert drawn.query_rows.min() >= 0
