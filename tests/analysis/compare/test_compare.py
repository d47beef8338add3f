"""Pairs of records: which are compared, which refused, and what their p-values are about."""

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from repro.analysis.compare import pairs as compare
from repro.analysis.compare import sides
from repro.analysis.compare.formats import counted, format_pairs
from repro.analysis.statistics.paired import compare_paired, holm
from repro.analysis.statistics.seeds import difference_of_seeds
from repro.records import Record
from repro.system.errors import RecordError, UsageError
from tests.analysis.analysis_doubles import record, spread


def made(method: str, mean: float, seed: int = 0, **fields: object) -> Record:
    noise = np.random.default_rng([len(method), seed]).normal(0, 0.03, 600)
    path = Path(f"{method}-{seed}-{fields.get('k_shot', 5)}")
    k_shot = fields.pop("k_shot", 5)
    return record(
        method, k_shot, accuracy=np.clip(spread(mean) + noise, 0, 1), seed=seed, path=path, **fields
    )  # type: ignore[arg-type]


def pairs(records: list[Record], *texts: str) -> list[compare.Comparison]:
    chosen = [sides.parse(text) for text in texts]
    groups = sides.gather(chosen, {"mini-imagenet": records}, "authors-code", None, {}, {})
    return compare.all_pairs(groups)


THREE = [made("finetune", 0.5), made("matching_net", 0.505), made("meta_lstm", 0.58)]


def test_a_pair_is_the_paired_comparison_in_blocks_of_four() -> None:
    (pair,) = pairs(THREE, "meta_lstm", "finetune")
    assert pair.paired == compare_paired(THREE[2].accuracy, THREE[0].accuracy, 4)
    assert (pair.covers, pair.p) == ("episodes", pair.paired.p_t)
    text = format_pairs([pair], "text")
    assert "meta_lstm − finetune" in text
    assert "about these two checkpoints" in " ".join(text.split())


def test_independent_sampling_has_single_episodes_as_unit() -> None:
    free = {"switches": {"episode_classes": "independent"}}
    records = [made("finetune", 0.5, **free), made("meta_lstm", 0.55, **free)]
    (pair,) = pairs(records, "meta_lstm", "finetune")
    assert (pair.paired.block, pair.paired.n_unit) == (1, 600)


def test_without_sides_all_pairs_of_methods_are_shown_and_holm_counts_them() -> None:
    found = pairs([*THREE, made("finetune", 0.3, k_shot=1), made("meta_lstm", 0.31, k_shot=1)])
    assert [(p.k_shot, p.first.label, p.second.label) for p in found] == [
        (1, "finetune", "meta_lstm"),
        (5, "finetune", "matching_net"),
        (5, "finetune", "meta_lstm"),
        (5, "matching_net", "meta_lstm"),
    ]
    assert [p.p_holm for p in found] == pytest.approx(holm([p.p for p in found]))


def test_several_seeds_on_both_sides_are_crossed() -> None:
    seeded = [made("meta_lstm", 0.58 + s / 200, s) for s in range(3)]
    others = [made("finetune", 0.5 + s / 300, s) for s in range(3)]
    (pair,) = pairs([*seeded, *others], "meta_lstm", "finetune")
    a, b = (np.stack([r.accuracy for r in rs]) for rs in (seeded, others))
    assert pair.crossed == difference_of_seeds(a, b, 4)
    assert (pair.interval, pair.p) == (pair.crossed.interval, pair.crossed.p)
    assert pair.content()["p_about"] == "seeds and episodes"
    assert (pair.borrowed, pair.content()["seed_variance_from"]) == (None, "each side")
    (pair,) = pairs([*seeded, *others], "meta_lstm@seed=1", "meta_lstm@seed=2")
    assert (pair.first.seeds, pair.second.seeds) == ((1,), (2,))


@pytest.mark.parametrize("seeded_first", [True, False])
def test_a_side_of_one_seed_borrows_the_others_seed_variance_and_it_is_told(
    seeded_first: bool,
) -> None:
    seeded = [made("meta_lstm", 0.58 + s / 200, s) for s in range(3)]
    single = made("finetune", 0.5)
    sides = ("meta_lstm", "finetune") if seeded_first else ("finetune", "meta_lstm")
    (pair,) = pairs([*seeded, single], *sides)
    a = np.stack([r.accuracy for r in seeded])
    expected = difference_of_seeds(a, single.accuracy[None], 4)
    assert pair.crossed is not None and pair.borrowed is not None
    sign = 1 if seeded_first else -1
    assert pair.interval.mean == pytest.approx(sign * expected.interval.mean)
    assert pair.interval.half_width == pytest.approx(expected.interval.half_width)
    assert pair.interval.half_width > pair.paired.interval.half_width
    content = pair.content()
    assert (content["covers"], content["p_about"]) == ("episodes and seeds", "seeds and episodes")
    assert content["seed_variance_from"] == "meta_lstm"
    told = " ".join(format_pairs([pair], "text").split())
    assert "One seed only: finetune 5-shot." in told
    assert "assumed to be that of 3 seeds of meta_lstm 5-shot;" in told
    assert "about these two checkpoints" not in told


def test_each_note_on_seeds_is_said_once_and_names_its_rows() -> None:
    seeded = [made("meta_lstm", 0.58 + s / 200, s) for s in range(3)]
    others = {"finetune": 0.5, "matching_net": 0.5, "nearest_neighbor": 0.9}
    rows = [*seeded, *(made(name, accuracy) for name, accuracy in others.items())]
    found = pairs(rows)
    told = " ".join(format_pairs(found, "text").split())
    assert "Where both sides have one training seed, ± covers episodes alone" in told
    assert "Where a side has several (3 seeds of meta_lstm 5-shot), ± and p t cover" in told
    assert told.count("One seed only") == 1
    (names,) = re.findall(r"One seed only: (.*?)\.", told)
    assert sorted(names.split(", ")) == [
        "finetune 5-shot", "matching_net 5-shot", "nearest_neighbor 5-shot"
    ]  # fmt: skip
    clear = [p for p in found if abs(p.interval.mean) > p.interval.half_width]
    classes = [p for p in clear if abs(p.interval.mean) > (p.class_half_width or 0)]
    assert 0 < len(classes) <= len(clear) < len(found) == 6
    assert (
        f"± excludes 0 in {len(clear)} of 6 pairs, and in {len(classes)} of these ± classes does"
        in told
    )


def test_an_unknown_interval_over_classes_is_not_counted_as_excluding_0() -> None:
    rows = [made("meta_lstm", 0.8), made("finetune", 0.5)]
    (known,) = pairs(rows)
    unknown = dataclasses.replace(known, class_half_width=None)
    count = "± excludes 0 in {} of 2 pairs, and in {} of these ± classes does, too."
    assert counted([known, unknown]) == count.format(2, 1)


@pytest.mark.parametrize("name", ["episodes", "data"])
def test_other_episodes_or_images_are_refused_by_digest(name: str) -> None:
    other = made("finetune", 0.5)
    other = dataclasses.replace(other, digests={**other.digests, name: "f" * 64})
    with pytest.raises(RecordError, match=f"different .*{name} digest (eeeeeeee|d)"):
        pairs([THREE[2], other], "meta_lstm", "finetune")


def test_other_numerics_revisions_are_refused() -> None:
    other = dataclasses.replace(made("finetune", 0.5), numerics_revision=0)
    with pytest.raises(RecordError, match="of numerics revision 0, this code's finetune is of 1"):
        pairs([THREE[2], other], "meta_lstm", "finetune")


def test_unfinished_trainings_are_told() -> None:
    half = dataclasses.replace(THREE[2], training={"n_step": 50_000, "reached_step": 20_000})
    text = format_pairs(pairs([half, THREE[0]], "meta_lstm", "finetune"), "markdown")
    assert "meta_lstm 5-shot seed 0 (20,000 of 50,000)" in text
    assert "Unfinished trainings" not in format_pairs(pairs(THREE), "markdown")


def of_training(seed: int, mean: float, at_step: int | None = None, **switches: str) -> Record:
    """A test of the training of a seed: at its end or at a milestone, with switches of the test."""
    steps = {"n_step": 50_000, "reached_step": at_step or 50_000}
    config = {"training": f"{seed} {switches.get('augmentation')}"}
    noise = np.random.default_rng([seed, at_step or 0]).normal(0, 0.03, 600)
    return record(
        accuracy=np.clip(spread(mean) + noise, 0, 1), seed=seed, switches=switches, training=steps,
        recipe="authors-code-custom" if switches else "authors-code",
        config={**config, **({"at_step": at_step} if at_step else {})},
        path=Path(f"{seed}-{at_step}-{'-'.join(switches)}"),
    )  # fmt: skip


QUERY = {"query_batch_norm": "query"}
ENDS = [of_training(seed, 0.57 + seed / 100) for seed in range(3)]
AT_40 = [of_training(seed, 0.58, 40_000) for seed in (1, 2)]
TRANSDUCTIVE = [of_training(seed, 0.59 + seed / 90, **QUERY) for seed in range(3)]
AUGMENTED = [of_training(0, 0.6, augmentation="port")]
TESTS = [*ENDS, *AT_40, *TRANSDUCTIVE, *AUGMENTED]


def test_switches_and_a_milestone_choose_the_records_of_a_side() -> None:
    for text, own in {
        "meta_lstm@query_batch_norm=running": ENDS,
        "meta_lstm@query_batch_norm=query": TRANSDUCTIVE,
        "meta_lstm@augmentation=port": AUGMENTED,
        "meta_lstm@at_step=40000": AT_40,
        "meta_lstm@at_step=40000,seed=2": AT_40[1:],
    }.items():
        selector = sides.parse(text)
        (side,) = sides.sides(selector, TESTS, "authors-code", None)
        assert list(side.records) == own
        # To publish a method without at_step means its milestones, too.
        also = AT_40 if own is ENDS else []
        assert [r for r in TESTS if selector.names(r)] == [*own, *also]
    with pytest.raises(RecordError, match="recipe authors-code,augmentation=flip"):
        pairs(TESTS, "meta_lstm", "meta_lstm@augmentation=flip")


def test_tests_of_the_same_trainings_are_compared_on_the_seeds_that_both_have() -> None:
    (pair,) = pairs(TESTS, "meta_lstm@at_step=40000", "meta_lstm")
    assert pair.first.seeds == pair.second.seeds == (1, 2)
    a, b = (np.stack([r.accuracy for r in rs]) for rs in (AT_40, ENDS[1:]))
    assert pair.crossed == difference_of_seeds(a, b, 4)
    text = " ".join(format_pairs([pair], "text").split())
    why = "not in meta_lstm@at_step=40000 − meta_lstm, as meta_lstm@at_step=40000 has no test"
    assert f"seed 0: {why} of this training" in text
    assert "seed 1: not in" not in text
    assert "meta_lstm@at_step=40000 5-shot seeds 1, 2 (milestone, 40,000 of 50,000" in text
    # Another recipe has trainings of its own: all seeds count.
    (pair,) = pairs(TESTS, "meta_lstm@augmentation=port", "meta_lstm")
    assert (pair.first.seeds, pair.second.seeds) == ((0,), (0, 1, 2))


def test_two_tests_of_one_trained_model_hold_whatever_the_seeds_do() -> None:
    (pair,) = pairs([ENDS[0], TRANSDUCTIVE[0]], "meta_lstm@query_batch_norm=query", "meta_lstm")
    assert pair.interval.excludes_zero and pair.holds_to_seed_sd is None
    assert "Two tests of one trained model" in format_pairs([pair], "text")
    (pair,) = pairs([ENDS[0], AUGMENTED[0]], "meta_lstm@augmentation=port", "meta_lstm")
    assert pair.holds_to_seed_sd is not None


def test_a_row_without_training_has_no_seed_that_could_vary() -> None:
    frozen = [
        made(name, mean, training={"n_step": 0})
        for name, mean in (("pretrained_cosine", 0.5), ("pretrained_logistic", 0.52))
    ]
    seeded = [made("proto_net", 0.55 + s / 100, s) for s in range(3)]
    (pair,) = pairs([*frozen, *seeded], "proto_net", "pretrained_cosine")
    # The same numbers under each seed of the other row: differences seed by seed.
    values = np.stack([r.accuracy - frozen[0].accuracy for r in seeded])
    assert pair.crossed is not None and pair.borrowed is None
    assert pair.crossed.interval == difference_of_seeds(values, np.zeros_like(values), 4).interval
    text = " ".join(format_pairs([pair], "text").split())
    assert "Without training, so without seeds: pretrained_cosine 5-shot." in text
    assert "One seed only" not in text
    (single,) = pairs([*frozen, seeded[0]], "proto_net", "pretrained_cosine")
    d, h = single.interval.mean, single.interval.half_width
    assert single.holds_to_seed_sd == pytest.approx(math.sqrt(d**2 - h**2) / 1.96)
    (two,) = pairs(frozen, "pretrained_cosine", "pretrained_logistic")
    assert two.interval.excludes_zero and two.holds_to_seed_sd is None
    assert "one training seed or none" in " ".join(format_pairs([two], "text").split())


def test_too_few_episodes_for_two_blocks_are_told() -> None:
    short = [
        record(m, accuracy=spread(0.5, 6), path=Path(m), config={"n_test_class": 20})
        for m in ("finetune", "meta_lstm")
    ]
    (pair,) = pairs(short, "finetune", "meta_lstm")
    text = " ".join(format_pairs([pair], "text").split())
    assert "± is unknown: finetune − meta_lstm 5-shot" in text
    assert "each block uses all test classes once" in text
    odd = [dataclasses.replace(r, config={**r.config, "n_test_class": 23}) for r in short]
    text = " ".join(format_pairs(pairs(odd, "finetune", "meta_lstm"), "text").split())
    assert "no block uses a class twice" in text


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'meta_lstm'"):
        sides.parse("meta_lst")
    with pytest.raises(UsageError, match="did you mean 'seed'"):
        sides.parse("meta_lstm@sed=1")
    with pytest.raises(UsageError, match="whole number"):
        sides.parse("meta_lstm@seed=x")
    with pytest.raises(UsageError, match="did you mean 'query_batch_norm'"):
        sides.parse("meta_lstm@query_batchnorm=query")
    with pytest.raises(UsageError, match="value of switch query_batch_norm 'qury'"):
        sides.parse("meta_lstm@query_batch_norm=qury")
    with pytest.raises(UsageError, match=r"no record\.json"):
        sides.parse("some/folder")
    with pytest.raises(RecordError, match="no record matches 'nearest_neighbor'"):
        pairs(THREE, "meta_lstm", "nearest_neighbor")
    with pytest.raises(RecordError, match="same record"):
        pairs(THREE, "meta_lstm", "meta_lstm@seed=0")
    with pytest.raises(RecordError, match="no two records"):
        pairs(THREE[:1])


def test_json_and_markdown_show_the_numbers_of_the_text() -> None:
    found = pairs(THREE)
    listed = json.loads(format_pairs(found, "json"))
    text, markdown = format_pairs(found, "text"), format_pairs(found, "markdown")
    for pair, item in zip(found, listed, strict=True):
        number = f"{100 * item['difference_mean']:+.2f} ± {100 * item['difference_half_width']:.2f}"
        assert number in text and number in markdown
        assert item["won"] + item["tied"] + item["lost"] == pytest.approx(1)
        assert item["narrower"] == pair.paired.narrower
    with pytest.raises(UsageError, match="unknown format"):
        format_pairs(found, "yaml")
