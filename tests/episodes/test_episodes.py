"""Episodes are the same everywhere, nested across shots, and never leak labels by order."""

import numpy as np
import pytest

from repro.episodes import EpisodeSampler, episodes_digest, manifest, verify_manifest
from repro.papers.config import EpisodeSpec
from repro.system.errors import DataError, RecordError, UsageError

CLASS_ROWS = [(i * 600, 600) for i in range(20)]
# The published protocol: 600 five-way test episodes of 20 classes of 600 images, episode seed 0.
GOLDEN = {
    1: "aabc1a6b57a70a18b8ee07cbaffbddd6adc2278cb79c4f1bde9a877471577880",
    5: "3ce42d929fd9076b25ece901302e449fd0700b9c667e19ef751c0b030c95bd4f",
}


def sampler(k_shot: int = 1, seed: int = 0, classes: str = "permutation") -> EpisodeSampler:
    return EpisodeSampler(CLASS_ROWS, "test", EpisodeSpec(k_shot=k_shot), seed, classes)


@pytest.mark.parametrize("k_shot", [1, 5])
def test_the_600_test_episodes_are_the_published_ones(k_shot: int) -> None:
    assert episodes_digest(sampler(k_shot).first(600)) == GOLDEN[k_shot]


def test_both_shots_share_classes_queries_and_the_first_support_image() -> None:
    for index in range(20):
        one, five = sampler(1)[index], sampler(5)[index]
        np.testing.assert_array_equal(one.class_indices, five.class_indices)
        np.testing.assert_array_equal(one.query_rows, five.query_rows)
        np.testing.assert_array_equal(one.support_rows[:, 0], five.support_rows[:, 0])


def test_an_episode_depends_on_seed_and_index_and_not_on_what_was_drawn_before() -> None:
    forward = sampler()
    listed = [episodes_digest([forward[i]]) for i in range(8)]
    backward = sampler()
    assert [episodes_digest([backward[i]]) for i in reversed(range(8))] == listed[::-1]
    assert len(set(listed)) == 8
    assert episodes_digest([sampler(seed=1)[0]]) != listed[0]


def test_rows_are_distinct_and_belong_to_their_class() -> None:
    for episode in sampler(5).first(40):
        rows = np.concatenate([episode.support_rows, episode.query_rows], axis=1)
        assert len(np.unique(rows)) == rows.size
        np.testing.assert_array_equal(
            rows // 600, np.repeat(episode.class_indices[:, None], rows.shape[1], 1)
        )


def test_a_permutation_block_of_four_episodes_uses_each_of_20_classes_once() -> None:
    drawn = sampler()
    for block in range(5):
        classes = [drawn[4 * block + i].class_indices for i in range(4)]
        assert sorted(np.concatenate(classes).tolist()) == list(range(20))


def test_support_order_is_a_permutation_and_labels_follow_it() -> None:
    for episode in sampler(5).first(10):
        assert sorted(episode.support_order.tolist()) == list(range(25))
        np.testing.assert_array_equal(
            episode.class_indices[episode.support_labels], episode.support // 600
        )
    assert any(np.any(np.diff(e.support_labels) < 0) for e in sampler(5).first(3))


def test_too_few_classes_or_images_are_refused_by_count() -> None:
    with pytest.raises(DataError, match="has 3"):
        EpisodeSampler([(0, 600)] * 3, "val", EpisodeSpec(), 0)
    with pytest.raises(DataError, match="at least 20 images, but class 5 of the val split has 19"):
        EpisodeSampler([(0, 600)] * 5 + [(0, 19)], "val", EpisodeSpec(k_shot=5), 0)


def test_1_shot_from_classes_of_16_images_takes_all_16_and_no_more() -> None:
    small = EpisodeSampler([(16 * c, 16) for c in range(6)], "test", EpisodeSpec(k_shot=1), 0)
    for episode in small.first(20):
        drawn = np.concatenate([episode.support_rows, episode.query_rows], axis=1)
        expected = 16 * episode.class_indices[:, None] + np.arange(16)
        np.testing.assert_array_equal(np.sort(drawn, axis=1), expected)
    with pytest.raises(DataError, match=r"at least 17 images.*--n-query"):
        EpisodeSampler([(0, 16)] * 6, "test", EpisodeSpec(k_shot=2), 0)


def test_shots_that_a_small_class_has_enough_for_share_their_queries() -> None:
    rows = [(18 * c, 18) for c in range(6)]
    one, three = (EpisodeSampler(rows, "test", EpisodeSpec(k_shot=k), 0)[4] for k in (1, 3))
    np.testing.assert_array_equal(one.query_rows, three.query_rows)
    np.testing.assert_array_equal(one.support_rows, three.support_rows[:, :1])


@pytest.mark.parametrize(("n_way", "k_shot", "n_query"), [(20, 3, 15), (2, 20, 1), (7, 10, 30)])
def test_an_episode_has_the_size_asked_for(n_way: int, k_shot: int, n_query: int) -> None:
    spec = EpisodeSpec(n_way, k_shot, n_query)
    episode = EpisodeSampler([(600 * c, 600) for c in range(20)], "test", spec, 0)[3]
    assert len(set(episode.class_indices.tolist())) == n_way
    drawn = np.concatenate([episode.support_rows.ravel(), episode.query_rows.ravel()])
    assert len(np.unique(drawn)) == n_way * (k_shot + n_query)
    assert np.bincount(episode.support_labels).tolist() == [k_shot] * n_way


def test_more_classes_than_a_label_of_a_byte_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 256 classes, not 257"):
        EpisodeSpec(n_way=257)


def test_a_changed_manifest_is_refused() -> None:
    content = manifest(sampler(5), 6, "glyphs")
    verify_manifest(content, sampler(5), "m.json")
    with pytest.raises(RecordError, match="episode 0 differs"):
        verify_manifest(content, sampler(5, seed=1), "m.json")
    content["episodes"][2]["query_rows"][0][0] += 1
    with pytest.raises(RecordError, match="damaged"):
        verify_manifest(content, sampler(5), "m.json")
