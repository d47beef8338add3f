"""Methods that the paper's Table 1 does not have: what their authors published, and how.

Each number has its source and the protocol behind it, as far as it moves numbers; a run of any
other protocol is not comparable. Accuracies are fractions. The settings of the methods stand here,
too, so that no number of a publication is written twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro.paper import MAX_SHOT, N_QUERY, Reported

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


def _by_shot(k_shot: int) -> int:
    return 1 if k_shot < MAX_SHOT else 5


def _maml(k_shot: int, order: str) -> dict[str, Any]:
    return {
        "meta-gradient": order,
        "inner steps in training": MAML_INNER_STEPS,
        "inner steps at test": MAML_TEST_STEPS,
        "episodes of a meta-batch": MAML_META_BATCH[_by_shot(k_shot)],
        "query batch norm": "query batch (transductive)",
    }


def settings(method: str, k_shot: int, n_way: int) -> dict[str, Any]:
    """How a row is trained and tested here, in the words of :func:`protocol`."""
    if method == "proto_net":
        return {"classes of training episodes": n_way}
    if method == "proto_net_wide":
        return {"classes of training episodes": PROTO_NET_N_WAY[_by_shot(k_shot)]}
    if method in ("maml", "fomaml"):
        return _maml(k_shot, "second-order" if method == "maml" else "first-order")
    return {}


def protocol(method: str, k_shot: int) -> dict[str, Any]:
    """How a published number came about, as far as it is known to move it.

    MAML's authors test with as many queries as support images (their code; their intervals are
    those of 5 and of 25 queries an episode), and the statistics of that batch normalise it.
    """
    if method in ("proto_net", "proto_net_wide"):
        return {
            "classes of training episodes": PROTO_NET_N_WAY[_by_shot(k_shot)],
            "queries a class at test": N_QUERY,
        }
    if method in ("maml", "fomaml"):
        order = "second-order" if method == "maml" else "first-order"
        return {**_maml(k_shot, order), "queries a class at test": k_shot}
    return {}


def other_protocol(published: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """A reason for each fact of a published protocol that ours does not share."""
    return [
        f"{fact}: {ours.get(fact, 'unknown')}, published with {value}"
        for fact, value in published.items()
        if ours.get(fact) != value
    ]
