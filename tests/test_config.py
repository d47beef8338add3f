"""Names are checked with the near miss suggested; digests say what can move a number."""

import dataclasses

import pytest

from repro.config import BUDGETS, RECIPES, EpisodeSpec, Recipe, RunConfig, budget, recipe
from repro.errors import UsageError


def run_config(**changes: object) -> RunConfig:
    spec, quick = EpisodeSpec(k_shot=5), BUDGETS["quick"]
    base = RunConfig("glyphs", "d" * 64, "meta_lstm", spec, Recipe(), quick, 0, "fp32")
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("authors-cod", "did you mean 'authors-code'"),
        ("paper,passes=5", "did you mean 'passes_5shot'"),
        ("paper,fce_read=softmx", "did you mean 'softmax'"),
        ("paper,gradient_over_batch=maybe", "cannot be 'maybe'"),
        ("paper,passes_5shot", "name=value"),
        ("paper,passes_5shot=0", "at least 1"),
        ("port,forget_bias_high=nan", "a number from 4"),
        ("port,forget_bias_high=3", "a number from 4"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        recipe(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [("quik", "did you mean 'quick'"), ("quick,pretrain=x", "cannot be"),
     ("quick,pretrain=0", "from 1"), ("smoke,n_validation_episode=1", "from 2"),
     ("quick,finetune_grid=huge", "unknown finetune_grid")],
)  # fmt: skip
def test_a_wrong_budget_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        budget(text)


def test_changed_presets_are_named_custom() -> None:
    assert recipe("authors-code,passes_5shot=5").name == "authors-code-custom"
    assert recipe("paper").name == "paper"
    assert budget("quick,pretrain=7").pretrain == 7


def test_equal_configs_have_equal_digests_and_every_part_moves_it() -> None:
    base = run_config()
    assert run_config().digest == base.digest
    changes: list[dict[str, object]] = [
        {"seed": 1},
        {"precision": "bf16"},
        {"data_digest": "e" * 64},
        {"spec": EpisodeSpec(k_shot=1)},
        {"budget": BUDGETS["smoke"]},
        {"recipe": RECIPES["paper"]},
        {"episode_seed": 1},
        {"method": "finetune"},
    ]
    digests = {base.digest, *(run_config(**change).digest for change in changes)}
    assert len(digests) == len(changes) + 1


def test_a_switch_that_concerns_tests_only_leaves_the_training_alone() -> None:
    transductive = run_config(recipe=Recipe(query_batch_norm="query"))
    assert transductive.digest != run_config().digest
    mine, base = transductive.training(), run_config().training()
    assert mine is not None
    assert base is not None
    assert mine.digest == base.digest


def test_presets_are_the_published_columns() -> None:
    assert RECIPES["authors-code"] == Recipe()
    assert RECIPES["port"].forget_bias_high == 6.0
    assert RECIPES["paper"].passes_5shot == 5
    assert BUDGETS["paper"].meta_lstm_1shot == 75_000
    assert BUDGETS["paper"].meta_lstm_5shot == 50_000
