"""Episodes with their images: pixels, labels and digests are those of the runs."""

from typing import Any

import numpy as np
import pytest

import repro
from repro.papers import paper
from repro.system import storage
from repro.system.errors import DataError, UsageError


def test_images_and_labels_are_those_of_the_rows() -> None:
    episodes = repro.episodes("glyphs", "val", k_shot=5, n_episode=3)
    one = episodes[2]
    assert list(one.episode.support) == list(episodes.sampler[2].support)
    for part, rows in ((one.support, one.episode.support), (one.query, one.episode.query)):
        images, labels = part
        wanted = episodes.split.images[rows].transpose(0, 3, 1, 2).astype(np.float64) / 255
        np.testing.assert_allclose(images.numpy(), wanted, atol=1e-7)
        first = [first for first, _ in episodes.split.class_rows]
        for row, label in zip(rows, labels.tolist(), strict=True):
            class_index = np.searchsorted(first, row, side="right") - 1
            assert episodes.split.class_ids[class_index] == one.class_ids[label]


def test_the_test_episodes_are_the_pinned_ones() -> None:
    from pathlib import Path

    import repro.episodes.sampler

    pinned = storage.read_json(
        Path(repro.episodes.sampler.__file__).with_name("pinned_episodes.json")
    )
    for k_shot in paper.SHOTS:
        assert repro.episodes("glyphs", k_shot=k_shot).digest == pinned["glyphs"][str(k_shot)]


def test_a_slice_is_the_first_episodes_of_a_budget_of_that_size() -> None:
    episodes = repro.episodes("glyphs", k_shot=1, budget="smoke")
    assert len(episodes) == 60
    few = episodes[:10]
    assert few.digest == repro.episodes("glyphs", k_shot=1, budget="smoke", n_episode=10).digest
    assert few.budget.name == "smoke-custom"
    assert episodes[:60].budget.name == "smoke"
    assert episodes[-1].index == 59
    with pytest.raises(UsageError, match="sliced from the beginning"):
        episodes[5:10]
    with pytest.raises(IndexError):
        episodes[60]


def test_what_is_not_there_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="did you mean 'glyphs'"):
        repro.episodes("glyphz")
    with pytest.raises(UsageError, match="unknown split"):
        repro.episodes("glyphs", "tests")
    with pytest.raises(UsageError, match="k_shot is a whole number from 1, not 0"):
        repro.episodes("glyphs", k_shot=0)
    with pytest.raises(DataError, match="has not been prepared"):
        repro.episodes("omniglot")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"seed": -1}, "seed is a whole number from 0, not -1"),
        ({"seed": "a"}, "seed is a whole number from 0, not 'a'"),
        ({"k_shot": "5"}, "k_shot is a whole number from 1, not '5'"),
        ({"n_way": 5.0}, "n_way is a whole number from 2, not 5.0"),
        ({"n_query": True}, "n_query is a whole number from 1, not True"),
        ({"n_way": 257}, "at most 256 classes"),
        ({"n_episode": "3"}, "n_episode is a whole number from 1, not '3'"),
        ({"budget": None}, "budget is text, not None"),
    ],
)
def test_a_size_that_is_no_whole_number_is_refused_in_a_sentence(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        repro.episodes("glyphs", **options)


def test_sizes_of_numpy_are_those_of_python() -> None:
    sizes = {"k_shot": 1, "n_way": 4, "n_query": 3, "n_episode": 2, "seed": 5}
    numbers: dict[str, Any] = {name: np.int64(value) for name, value in sizes.items()}
    found, plain = repro.episodes(**numbers), repro.episodes(**sizes)  # type: ignore[arg-type]
    assert found.digest == plain.digest
    assert type(found.spec.n_way) is type(found.sampler.seed) is int
