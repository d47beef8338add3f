"""Ravi & Larochelle 2017 under the names by which code knows its facts.

The numbers stand in ``ravi2017/paper.toml``, each once and with its source. Accuracies are
fractions.
"""

from __future__ import annotations

from typing import Any

from repro.papers import shelf
from repro.papers.reported import Reported, shots

__all__ = ["Reported"]

PACK = shelf.built_in(shelf.DEFAULT)
_TABLE = PACK.table()
# The rows of Table 1 in the table's order, and how the paper calls them.
METHODS = _TABLE.methods
ROW_TITLES = _TABLE.titles
SHOTS = _TABLE.shots
TABLE_1: dict[tuple[str, int], Reported] = {
    (row.key, k_shot): reported
    for row in _TABLE.rows
    for k_shot in row.shots
    if (reported := _TABLE.reported(row, k_shot))
}
# Public re-runs on 5-way mini-ImageNet.
RERUNS: dict[tuple[str, int], tuple[Reported, ...]] = {
    cell: found for cell in TABLE_1 if (found := _TABLE.reruns(*cell))
}


def _number(name: str) -> Any:
    """A number of ``[settings.GROUP]``, named as GROUP.NAME."""
    group, _, field = name.partition(".")
    return PACK.settings[group][field]


# Protocol constants (Sec. 5 of the paper; the authors' published configuration).
N_WAY: int = _TABLE.n_way
N_QUERY: int = _TABLE.n_query or 0
MAX_SHOT: int = max(SHOTS)
N_TEST_EPISODE: int = _TABLE.n_episode or 0
N_TEST_CLASS: int = _number("protocol.n_test_class")
N_GATE_EPISODE: int = _number("protocol.n_gate_episode")  # Figure 3
Z_95: float = _number("protocol.z")  # the paper's interval is mean +- 1.96 s / sqrt(n)
META_FILTERS: int = _number("networks.meta_filters")
BASELINE_FILTERS: int = _number("networks.baseline_filters")
BATCH_NORM_EPS: float = _number("networks.batch_norm_eps")
BASELINE_BATCH_NORM_MOMENTUM: float = _number("networks.baseline_batch_norm_momentum")
IMAGENET_MEAN: tuple[float, float, float] = tuple(_number("networks.imagenet_mean"))
IMAGENET_STD: tuple[float, float, float] = tuple(_number("networks.imagenet_std"))
PREPROCESS_P: float = _number("meta_lstm.preprocess_p")
N_HIDDEN = int(PACK.recipes["authors-code"]["hidden_size"])  # of the meta-learner's first layer
META_BATCH_NORM_MOMENTUM: dict[int, float] = shots(_number("meta_lstm.batch_norm_momentum"))
META_LR: float = _number("meta_lstm.lr")
META_CLIP_NORM: float = _number("meta_lstm.clip_norm")
CROSS_SHOT_PASSES: int = _number("meta_lstm.cross_shot_passes")
CROSS_SHOT_BATCH: int = _number("meta_lstm.cross_shot_batch")
PRETRAIN_LR: float = _number("pretrain.lr")
PRETRAIN_BATCH: int = _number("pretrain.batch")
PRETRAIN_PER_CLASS: int = _number("pretrain.per_class")
MATCHING_LR: float = _number("matching_net.lr")
MATCHING_DROPOUT: float = _number("matching_net.dropout")
FCE_READ_STEPS: int = _number("matching_net.fce_read_steps")
FCE_CLIP_NORM: float = _number("matching_net.fce_clip_norm")
FINETUNE_UPDATES: int = _number("finetune.updates")
FINETUNE_LRS = tuple(map(float, _number("finetune.lrs")))
FINETUNE_DECAYS = tuple(map(float, _number("finetune.decays")))
