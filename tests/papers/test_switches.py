"""Which switches an ablation changes, to which values, and which need a training of their own."""

import dataclasses

import pytest

from repro.papers import config
from repro.papers.catalogue import built_in
from repro.papers.config import BUDGETS, EpisodeSpec, Recipe, RunConfig
from repro.papers.switches import concerning, other_values, parse, trained_as
from repro.system.errors import UsageError


def cell(method: str = "meta_lstm", recipe: str = "authors-code") -> RunConfig:
    spec = EpisodeSpec(k_shot=5)
    return RunConfig(
        "glyphs", "d" * 64, method, spec, config.recipe(recipe), BUDGETS["smoke"], 0, "fp32"
    )


def texts(switches: str, method: str = "meta_lstm", k_shot: int = 5) -> list[str]:
    return [switch.text for switch in parse(switches, "authors-code", built_in(method), k_shot)]


def test_all_switches_of_the_meta_lstm() -> None:
    assert texts("all") == [
        *("query_batch_norm=query", "query_batch_norm=support", "meta_episodes_5shot=40000"),
        *("gamma_init=one", "pixels=imagenet", "augmentation=flip", "augmentation=port"),
        *("eval_resize=96-crop-84", "parameters_tested=best", "episode_classes=independent"),
        *("gradient_over_batch=false", "gate_recurrence=gate", "passes_5shot=5", "hidden_size=1"),
        *("lstm_init=inv-sqrt-hidden", "forget_bias_high=6", "meta_gradient=second-order"),
        *("theta_0=random", "gates=constant"),
    ]
    of_5 = {"passes_5shot=5", "meta_episodes_5shot=40000"}
    of_1 = {"passes_1shot=10", "meta_episodes_1shot=70000"}
    assert set(texts("all")) - set(texts("all", k_shot=1)) == of_5
    assert set(texts("all", k_shot=1)) - set(texts("all")) == of_1
    assert texts("hidden_size=7,passes_1shot=3", k_shot=1) == ["hidden_size=7", "passes_1shot=3"]


def test_every_switch_concerns_a_method_and_the_others_are_left_alone() -> None:
    methods = ("finetune", "nearest_neighbor", "matching_net", "matching_net_fce", "meta_lstm")
    concerned = {
        name for method in methods for k in (1, 5) for name in concerning(built_in(method), k)
    }
    assert concerned == {field.name for field in dataclasses.fields(Recipe)} - {"name"}
    assert texts("all", "finetune") == [
        *("gamma_init=one", "pixels=imagenet", "augmentation=flip", "augmentation=port"),
        *("eval_resize=96-crop-84", "parameters_tested=best"),
    ]
    assert "fce_read=softmax" not in texts("all", "matching_net")
    assert "fce_read=softmax" in texts("all", "matching_net_fce")


def test_a_switch_changes_the_base_and_nothing_else() -> None:
    for switch in parse("all", "paper", built_in("meta_lstm"), 5):
        changed = config.recipe(f"paper,{switch.text}")
        assert (
            getattr(changed, switch.name)
            == switch.value
            != getattr(config.RECIPES["paper"], switch.name)
        )
        back = dataclasses.replace(
            changed, name="paper", **{switch.name: getattr(config.RECIPES["paper"], switch.name)}
        )
        assert back == config.RECIPES["paper"]
    assert [s.text for s in other_values(config.RECIPES["port"], "forget_bias_high")] == [
        "forget_bias_high=5"
    ]


@pytest.mark.parametrize(
    ("switches", "said"),
    [
        ("gate", "did you mean 'gates'"),
        ("gates=constnt", "did you mean 'constant'"),
        ("gates=learned", "what the base authors-code has already"),
        ("passes_1shot", "changes nothing for meta_lstm at 5-shot"),
        ("fce_read", "changes nothing for meta_lstm at 5-shot"),
        ("", "no switch in"),
    ],
)
def test_a_wrong_switch_is_refused_in_one_sentence(switches: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(switches, "authors-code", built_in("meta_lstm"), 5)


def test_a_recipe_s_episodes_are_ablated_where_the_budget_trains_at_full_length() -> None:
    row, name = built_in("meta_lstm"), "meta_episodes_5shot"
    (switch,) = parse(name, "authors-code", row, 5, BUDGETS["paper"])
    assert switch.text == f"{name}=40000"
    with pytest.raises(UsageError, match="meta_lstm at 5-shot in the budget smoke"):
        parse(name, "authors-code", row, 5, BUDGETS["smoke"])
    names = {switch.name for switch in parse("all", "authors-code", row, 5, BUDGETS["smoke"])}
    assert name not in names


def test_only_what_moves_the_parameters_needs_a_training_of_its_own() -> None:
    base = cell()
    shared = {
        switch.text
        for switch in parse("all", "authors-code", built_in("meta_lstm"), 5, BUDGETS["smoke"])
        if trained_as(base, cell(recipe=f"authors-code,{switch.text}")) is base
    }
    assert shared == {
        *("query_batch_norm=query", "query_batch_norm=support"),
        *("parameters_tested=best", "eval_resize=96-crop-84"),
    }
    best = cell(recipe="authors-code,parameters_tested=best")
    resized = cell(recipe="authors-code,parameters_tested=best,eval_resize=96-crop-84")
    assert trained_as(best, resized) is resized  # other validation images choose the best
    pixels = cell("nearest_neighbor", "authors-code,neighbor_features=pixels")
    assert trained_as(cell("nearest_neighbor"), pixels) is pixels
