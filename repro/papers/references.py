"""What methods outside Ravi & Larochelle 2017 are trained and tested with.

The numbers of Prototypical Networks and MAML stand in the packs of their papers; those of methods
whose paper is no pack stand here, with their source. Accuracies are fractions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro.papers import shelf
from repro.papers.pack import FACTS
from repro.papers.paper import MAX_SHOT, N_WAY, SHOTS

_SNELL, _FINN = shelf.built_in("snell2017"), shelf.built_in("finn2017")
_PROTO_NET, _MAML = _SNELL.settings["proto_net"], _FINN.settings["maml"]


def _facts(paper: str, method: str, k_shot: int) -> dict[str, Any]:
    row = shelf.built_in(paper).table().row(method)
    return row.facts(k_shot) if row else {}


# Prototypical Networks.
PROTO_NET_LR: float = _PROTO_NET["lr"]
PROTO_NET_HALVED_EVERY: int = _PROTO_NET["halved_every"]  # episodes
PROTO_NET_N_WAY: dict[int, int] = {  # classes of training episodes, by shot
    k: _facts("snell2017", "proto_net_wide", k)["train_n_way"] for k in SHOTS
}
# MAML.
MAML_STEPS: int = _MAML["n_iteration"]
MAML_INNER_LR: float = _MAML["inner_lr"]
MAML_INNER_STEPS: int = _facts("finn2017", "maml", 1)["inner_steps"]
MAML_TEST_STEPS: int = _facts("finn2017", "maml", 1)["test_steps"]
MAML_META_BATCH: dict[int, int] = {  # episodes of a meta-training step, by shot
    k: _facts("finn2017", "maml", k)["meta_batch"] for k in SHOTS
}
MAML_META_LR: float = _MAML["meta_lr"]
MAML_CLIP_VALUE: float = _MAML["clip_value"]  # of each entry of the meta-gradient
# Frozen features.
COSINE_SCALE = 10.0  # Chen et al. 2021, Meta-Baseline, Sec. 3
LOGISTIC_C = 1.0  # Tian et al. 2020, the authors' code
RIDGE_PENALTY = 1.0  # ours: Bertinetto et al. 2019 learn it; with features of length 1
# Ren et al. 2018 make one step on trained features; on frozen ones a few more settle it. Ours.
SOFT_KMEANS_STEPS = 10


def by_shot(k_shot: int) -> int:
    """Which of the two published shots a shot takes its settings from."""
    return 1 if k_shot < MAX_SHOT else 5


# Of rows on frozen features and of heads. Whoever changes the arithmetic of a head says so here:
# its rows have no numerics revision.
_FROZEN: dict[str, dict[str, Any]] = {
    "pretrained_cosine": {"scale": COSINE_SCALE},
    "pretrained_logistic": {"c": LOGISTIC_C},
    "cosine": {"scale": COSINE_SCALE},
    "logistic": {"c": LOGISTIC_C},
    "ridge": {"penalty": RIDGE_PENALTY},
    "transductive_kmeans": {"scale": COSINE_SCALE, "steps": SOFT_KMEANS_STEPS},
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
        facts = _facts("finn2017", method, by_shot(k_shot))
        return {
            **{fact: value for fact, value in facts.items() if fact != "n_query"},
            "inner_lr": MAML_INNER_LR,
            "meta_lr": MAML_META_LR,
            "clip_value": MAML_CLIP_VALUE,
        }
    return dict(_FROZEN.get(method, {}))


def other_protocol(published: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """A reason for each fact of a published protocol that ours does not share."""
    return [
        f"{FACTS[fact]}: {ours.get(fact, 'unknown')}, published with {value}"
        for fact, value in published.items()
        if ours.get(fact) != value
    ]
