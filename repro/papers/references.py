"""Methods that are not in the paper's Table 1: their authors' numbers and protocols.

Each number has its source and the protocol behind it, as far as it moves numbers; a run of any
other protocol is not comparable. Accuracies are fractions. The settings of the methods stand here,
too, so that no number of a publication is written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro.papers.paper import MAX_SHOT, N_QUERY, N_WAY, Reported

# Prototypical Networks (Sec. 3.2; the halving is in the authors' code, too).
PROTO_NET_LR = 1e-3
PROTO_NET_HALVED_EVERY = 2000  # episodes
PROTO_NET_N_WAY = {1: 30, 5: 20}  # classes of training episodes, by shot
# MAML (App. A.1: inner step, steps, meta-batches, iterations; the rest from the authors' code).
MAML_INNER_LR = 0.01
MAML_INNER_STEPS = 5
MAML_TEST_STEPS = 10
MAML_META_BATCH = {1: 4, 5: 2}  # episodes of a meta-training step, by shot
MAML_META_LR = 1e-3
MAML_CLIP_VALUE = 10.0  # of each entry of the meta-gradient
# Frozen features.
COSINE_SCALE = 10.0  # Chen et al. 2021, Meta-Baseline, Sec. 3
LOGISTIC_C = 1.0  # Tian et al. 2020, the authors' code

_SNELL = "Snell et al. 2017, Prototypical Networks, Table 2"
_FINN = "Finn et al. 2017, MAML, Table 1"
PUBLISHED: dict[tuple[str, int], Reported] = {
    ("proto_net", 1): Reported(0.4942, 0.0078, _SNELL),
    ("proto_net", 5): Reported(0.6820, 0.0066, _SNELL),
    ("proto_net_wide", 1): Reported(0.4942, 0.0078, _SNELL),
    ("proto_net_wide", 5): Reported(0.6820, 0.0066, _SNELL),
    ("maml", 1): Reported(0.4870, 0.0184, _FINN),
    ("maml", 5): Reported(0.6311, 0.0092, _FINN),
    ("fomaml", 1): Reported(0.4807, 0.0175, _FINN),
    ("fomaml", 5): Reported(0.6315, 0.0091, _FINN),
}


# What a fact of a protocol is called in a sentence.
_WORDS = {
    "train_n_way": "classes of training episodes",
    "meta_gradient": "meta-gradient",
    "inner_steps": "inner steps in training",
    "test_steps": "inner steps at test",
    "meta_batch": "episodes of a meta-batch",
    "query_batch_norm": "batch norm of the queries",
    "n_query": "queries a class at test",
}


def by_shot(k_shot: int) -> int:
    """Which of the two published shots a shot takes its settings from."""
    return 1 if k_shot < MAX_SHOT else 5


def _maml(method: str, k_shot: int) -> dict[str, Any]:
    return {
        "meta_gradient": "second-order" if method == "maml" else "first-order",
        "inner_steps": MAML_INNER_STEPS,
        "test_steps": MAML_TEST_STEPS,
        "meta_batch": MAML_META_BATCH[by_shot(k_shot)],
        "query_batch_norm": "transductive",
    }


def settings(method: str, k_shot: int, n_way: int = N_WAY) -> dict[str, Any]:
    """All that a row is trained and tested with and no recipe says, as JSON; it is in the digests.

    Args:
        k_shot: support images per class that the method is trained for.
    """
    if method in ("proto_net", "proto_net_wide"):
        wide = method == "proto_net_wide"
        return {
            "train_n_way": PROTO_NET_N_WAY[by_shot(k_shot)] if wide else n_way,
            "lr": PROTO_NET_LR,
            "halved_every": PROTO_NET_HALVED_EVERY,
        }
    if method in ("maml", "fomaml"):
        return {
            **_maml(method, k_shot),
            "inner_lr": MAML_INNER_LR,
            "meta_lr": MAML_META_LR,
            "clip_value": MAML_CLIP_VALUE,
        }
    if method == "pretrained_cosine":
        return {"scale": COSINE_SCALE}
    return {"c": LOGISTIC_C} if method == "pretrained_logistic" else {}


def protocol(method: str, k_shot: int) -> dict[str, Any]:
    """How a published number came about, as far as that can move it.

    MAML's authors test with as many queries as support images (their code; their intervals are
    those of 5 and of 25 queries an episode), and the statistics of that batch normalise it.
    """
    if method in ("proto_net", "proto_net_wide"):
        return {"train_n_way": PROTO_NET_N_WAY[by_shot(k_shot)], "n_query": N_QUERY}
    if method in ("maml", "fomaml"):
        return {**_maml(method, k_shot), "n_query": k_shot}
    return {}


def other_protocol(published: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """A reason for each fact of a published protocol that ours does not share."""
    return [
        f"{_WORDS[fact]}: {ours.get(fact, 'unknown')}, published with {value}"
        for fact, value in published.items()
        if ours.get(fact) != value
    ]
