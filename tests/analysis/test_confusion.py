"""Confusions: classes drawn again from seeds alone, counts against a plain loop."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from repro import records
from repro.analysis import confusion
from repro.data.mini_imagenet.ravi import RAVI_SPLIT
from repro.episodes import EpisodeSampler
from repro.papers.config import EpisodeSpec
from repro.system.errors import RecordError
from tests.analysis.analysis_doubles import N_PREDICTED, with_predictions


def test_counts_are_those_of_a_loop_over_queries(tmp_path: Path) -> None:
    made = with_predictions(tmp_path)
    found = confusion.confusion(made)
    assert found is not None
    rows = [(600 * i, 600) for i in range(20)]
    sampler = EpisodeSampler(rows, "test", EpisodeSpec(k_shot=5), 0)
    chosen: Counter[tuple[int, int]] = Counter()
    offered: Counter[tuple[int, int]] = Counter()
    for index, labels in enumerate(np.load(tmp_path / "predictions.npy").tolist()):
        classes = [row // 600 for row in sampler[index].query_rows[:, 0].tolist()]
        for query, label in enumerate(labels):
            chosen[classes[query // 15], classes[label]] += 1
            for other in classes:
                offered[classes[query // 15], other] += 1
    for i in range(20):
        for j in range(20):
            assert found.chosen[i, j] == chosen[i, j]
            assert found.offered[i, j] == offered[i, j]
    assert found.chosen.sum() == 75 * N_PREDICTED
    assert np.trace(found.chosen) == pytest.approx(75 * made.accuracy.sum())


def test_the_class_most_often_taken_is_the_largest_off_the_diagonal() -> None:
    found = confusion.Confusion(
        ("a", "b", "c"),
        np.array([[9, 2, 4], [0, 15, 0], [0, 0, 0]]),
        np.array([[15, 5, 15], [5, 15, 0], [15, 0, 15]]),
    )
    assert found.worst(0) == (1, 0.4)
    assert found.worst(1) is None
    assert np.isnan(found.share[2, 1])


def test_other_episodes_are_not_trusted(tmp_path: Path) -> None:
    made = with_predictions(tmp_path)
    made.digests["episodes"] = "0" * 64
    assert confusion.confusion(made) is None
    assert confusion.confusion(with_predictions(tmp_path, dataset="of-a-user")) is None


def test_changed_predictions_are_refused(tmp_path: Path) -> None:
    made = with_predictions(tmp_path)
    assert confusion.read_predictions(made).shape == (N_PREDICTED, 75)
    changed = np.load(tmp_path / "predictions.npy")
    changed[3, :15] = 4 - changed[3, :15]
    np.save(tmp_path / "predictions.npy", changed)
    with pytest.raises(RecordError, match=r"predictions\.npy"):
        confusion.read_predictions(made)
    (tmp_path / "predictions.npy").write_bytes(b"nothing")
    with pytest.raises(RecordError, match=r"predictions\.npy"):
        confusion.read_predictions(made)
    (tmp_path / "predictions.npy").unlink()
    with pytest.raises(RecordError, match=r"predictions\.npy"):
        confusion.read_predictions(made)


def test_built_in_data_sets_have_a_name_for_each_test_class() -> None:
    for dataset in ("glyphs", "mini-imagenet"):
        assert len(set(confusion.class_names(dataset))) == 20
    assert list(RAVI_SPLIT["test"]) == sorted(RAVI_SPLIT["test"])
    of = dict(zip(RAVI_SPLIT["test"], confusion.class_names("mini-imagenet"), strict=True))
    assert of["n02129165"] == "lion"
    assert of["n04146614"] == "school bus"
    assert of["n07613480"] == "trifle"


def test_every_published_record_has_a_confusion_with_its_accuracy() -> None:
    root = Path(__file__).parents[2] / "results"
    found = [r for name in ("glyphs", "mini-imagenet") for r in records.read_records(root, name)]
    assert found
    for one in found:
        counted = confusion.confusion(one)
        assert counted is not None, one.path
        share = np.trace(counted.chosen) / counted.chosen.sum()
        assert share == pytest.approx(one.accuracy.mean(), abs=1e-9), one.path
