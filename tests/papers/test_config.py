"""Names are checked with the near miss suggested; digests say what can move a number."""

import dataclasses
from pathlib import Path

import pytest

from repro import records
from repro.papers.config import (
    BUDGETS,
    RECIPES,
    EpisodeSpec,
    Recipe,
    RunConfig,
    TrainingConfig,
    budget,
    recipe,
)
from repro.system.errors import UsageError


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
        ("paper,passes_1shot=0", "at least 1"),
        ("paper,hidden_size=0", "at least 1"),
        ("paper,meta_episodes_5shot=-1", "at least 0"),
        ("paper,augmentation=flips", "did you mean 'flip'"),
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


def test_recipes_that_differ_in_tests_only_share_the_folder_of_the_training() -> None:
    root, own = Path("runs"), training("authors-code")
    transductive = training("authors-code,query_batch_norm=query")
    assert records.training_folder(root, transductive) == records.training_folder(root, own)
    assert own.recipe_name == training("authors-2016-11").recipe_name == "authors-code"
    other = training("authors-code,passes_5shot=5")
    assert other.recipe_name == "authors-code-custom"
    for name in ("paper", "port"):
        assert training(name).recipe_name == name


def training(text: str, budget_text: str = "paper", k_shot: int = 5) -> TrainingConfig:
    spec, wanted = EpisodeSpec(k_shot=k_shot), budget(budget_text)
    found = run_config(recipe=recipe(text), budget=wanted, spec=spec).training()
    assert found is not None
    return found


def test_published_records_have_the_digests_that_their_configs_give_today() -> None:
    root = Path(__file__).parents[2] / "results"
    found = [r for name in ("glyphs", "mini-imagenet") for r in records.read_records(root, name)]
    assert len(found) >= 20
    for record in found:
        config = records.config_of(record)
        assert config.digest == record.digests["config"], record.path
        own = config.training()
        assert (own.digest if own else None) == record.config["training"], record.path
        assert config.describe()["recipe"] == record.config["recipe"], record.path


def test_a_younger_switch_at_its_default_is_in_no_digest_and_at_another_value_in_all() -> None:
    older = {name for name in Recipe().describe() if name != "name"}
    younger = ("passes_1shot", "hidden_size", "meta_episodes_1shot", "meta_episodes_5shot")
    assert not older & set(younger)
    for name in younger:
        assert recipe(f"authors-code,{name}=7").switches().keys() == older | {name}
        assert run_config(recipe=recipe(f"authors-code,{name}=7")).digest != run_config().digest
    assert training("authors-code,hidden_size=1").digest != training("authors-code").digest
    ten = "authors-code,passes_1shot=10"
    assert training(ten).digest == training("authors-code").digest  # of a 5-shot training
    assert training(ten, k_shot=1).digest != training("authors-code", k_shot=1).digest


def test_a_recipe_s_episodes_replace_the_paper_s_full_length_only() -> None:
    asked = "authors-code,meta_episodes_5shot=400"
    assert training(asked).n_step == 400
    assert training(asked, k_shot=1).n_step == 75_000
    assert training(asked, "quick").n_step == 1200
    assert training(asked, "smoke").n_step == 250
    assert training(asked, "paper,meta_lstm_5shot=3000").n_step == 3000
    # The length alone says which training it is, whoever asked for it.
    assert training(asked).digest == training("authors-code", "paper,meta_lstm_5shot=400").digest


def test_presets_are_the_published_columns() -> None:
    assert RECIPES["authors-code"] == Recipe()
    assert RECIPES["port"].forget_bias_high == 6.0
    assert RECIPES["paper"].passes_5shot == 5
    early = RECIPES["authors-2016-11"]
    assert early.switches() == {
        **Recipe().switches(),
        **{"query_batch_norm": "query", "passes_1shot": 10},
        **{"meta_episodes_1shot": 70_000, "meta_episodes_5shot": 40_000},
    }
    assert [training("authors-2016-11", k_shot=k).n_step for k in (1, 5)] == [70_000, 40_000]
    assert BUDGETS["paper"].meta_lstm_1shot == 75_000
    assert BUDGETS["paper"].meta_lstm_5shot == 50_000
