"""`repro verify` repeats a record's test, and tells what does not hold."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from repro import records
from repro.data.pack_builder import build_pack
from repro.papers import config, paper
from repro.records import Record
from repro.run.cell import RunContext, plan, run_cell
from repro.run.verify import MEAN_TOLERANCE, Verdict, allowed_mean, verify
from repro.system import storage
from repro.system.errors import RecordError, UsageError
from repro.system.interrupts import StopRequest
from repro.system.progress import Silent
from tests.conftest import TINY, tiny_plans


def recorded(runs: Path, pack: Path, method: str) -> Record:
    recipe = config.recipe("authors-code")
    (cell,) = plan("tiny", pack, [method], [5], [0], recipe, TINY, "fp32", "cpu")
    return run_cell(cell, RunContext(runs, pack, 1, "cpu"), Silent(), StopRequest(), "repro test")


def again(record: Record, pack: Path, n_episode: int | None = None) -> Verdict:
    return verify(record.path, pack, Silent(), StopRequest(), n_episode)


@pytest.mark.parametrize("method", paper.METHODS)
def test_every_row_is_verified_to_the_bit(method: str, tmp_path: Path, tiny_pack: Path) -> None:
    record = recorded(tmp_path, tiny_pack, method)
    assert again(record, tiny_pack) == Verdict(TINY.n_test_episode, 0, 0.0, 0.0, True, True)
    assert again(record, tiny_pack, 2).n_episode == 2


def rewrite(record: Record, **changed: object) -> None:
    """Change a record as someone would who also repairs its digest."""
    content = storage.read_json(record.path / "record.json") | changed
    predictions = np.load(record.path / "predictions.npy", allow_pickle=False)
    records.write_record(record.path, content, predictions)


def change(record: Record, n: int) -> None:
    """``n`` queries more or fewer right in the first episode."""
    predictions = np.load(record.path / "predictions.npy", allow_pickle=False)
    labels = np.repeat(np.arange(5), 15)
    right = predictions[0] == labels
    places = np.flatnonzero(right if right.sum() > 37 else ~right)[:n]
    predictions[0, places] = (labels[places] + right[places]) % 5
    content = storage.read_json(record.path / "record.json")
    content["accuracy"] = (predictions == labels).mean(1).tolist()
    records.write_record(record.path, content, predictions)


def test_one_episode_that_differs_fails_here_and_within_the_tolerance_passes_elsewhere(
    tmp_path: Path, tiny_pack: Path
) -> None:
    record = recorded(tmp_path, tiny_pack, "nearest_neighbor")
    change(record, 1)  # one query of one episode
    verdict = again(record, tiny_pack)
    assert (verdict.n_differing, verdict.same_place, verdict.ok) == (1, True, False)
    assert "FAILED: 1 of" in verdict.sentence(record.path)
    rewrite(record, versions={**record.versions, "torch": "1.0"})
    elsewhere = again(record, tiny_pack)
    assert (elsewhere.n_differing, elsewhere.same_place, elsewhere.ok) == (1, False, True)
    change(record, 10)
    assert not again(record, tiny_pack).ok


def test_parameters_of_another_kind_or_shape_are_refused(tmp_path: Path, tiny_pack: Path) -> None:
    record = recorded(tmp_path, tiny_pack, "finetune")
    model = record.path / records.MODEL
    state = load_file(model)
    for changed, said in (
        ({name: tensor.long() for name, tensor in state.items()}, "torch.int64"),
        ({**state, "mean": state["mean"][:2]}, "is not this method's parameters"),
        ({"other": state["mean"]}, "is not this method's parameters"),
    ):
        save_file(changed, model)
        content = storage.read_json(record.path / "record.json")
        content["digests"]["model"] = storage.file_digest(model)
        rewrite(record, digests=content["digests"])
        with pytest.raises(RecordError, match=said):
            again(record, tiny_pack)


def test_what_cannot_be_verified_is_named(
    tmp_path: Path, tiny_pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = recorded(tmp_path / "runs", tiny_pack, "meta_lstm")
    model = record.path / records.MODEL
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"?")
    with pytest.raises(RecordError, match=r"model\.safetensors is damaged"):
        again(record, tiny_pack)
    model.unlink()
    with pytest.raises(RecordError, match="published without parameters"):
        again(record, tiny_pack)
    model.write_bytes(content)
    monkeypatch.setenv("REPRO_CACHE", str(tmp_path))
    other = build_pack("other", 16, tiny_plans(), "made up")
    with pytest.raises(RecordError, match="made on other images"):
        again(record, other)
    changed = json.loads((record.path / "record.json").read_text())
    changed["config"]["seed"] = 1
    rewrite(record, config=changed["config"])
    with pytest.raises(RecordError, match="does not have the digest"):
        again(record, tiny_pack)


def test_few_episodes_raise_no_more_false_alarms_than_many_and_many_find_a_real_shift() -> None:
    """Simulated in float64: queries flip by rounding, with a true shift up to the tolerance."""
    generator = np.random.default_rng(0)

    def alarms(n: int, gained: float, lost: float) -> float:
        told = []
        for _ in range(2000):
            up, down = (generator.binomial(75, rate, n) for rate in (gained, lost))
            difference = (up - down) / 75
            told.append(abs(difference.mean()) > allowed_mean(difference, 75))
        return float(np.mean(told))

    for n in (1, 2, 4, 20, 100, 600):
        for noise in (0.0, 0.002, 0.01):
            assert alarms(n, noise, noise) <= 0.02, (n, noise)
            assert alarms(n, noise + MEAN_TOLERANCE, noise) <= 0.02, (n, noise)
    assert alarms(600, 0.03, 0.01) > 0.99  # two points
    assert alarms(20, 0.05, 0.0) > 0.95  # five


def test_the_sentence_says_how_far_the_mean_may_be_off(tmp_path: Path) -> None:
    said = Verdict(4, 2, 0.0067, 0.027, False, True).sentence(tmp_path)
    assert "ok: 2 of 4 episodes differ, the mean by +0.67 points (allowed: 2.70)" in said


@pytest.mark.parametrize("n_episode", [0, -1])
def test_no_episode_at_all_is_refused_in_one_sentence(n_episode: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"on at least one episode, not on {n_episode}; give n"):
        verify(tmp_path, tmp_path, Silent(), StopRequest(), n_episode)
