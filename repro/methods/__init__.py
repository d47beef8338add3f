"""The rows of the table, one file each, and how each is built."""

from __future__ import annotations

from collections.abc import Callable

from repro.methods.base import Setting, Trainable
from repro.methods.finetune import Finetune
from repro.methods.matching_net import MatchingNet
from repro.methods.meta_lstm import MetaLSTM
from repro.methods.nearest_neighbor import NearestNeighbor

# What is trained; the two baselines share "pretrain".
TRAINABLE: dict[str, Callable[[Setting], Trainable]] = {
    "pretrain": NearestNeighbor,
    "matching_net": MatchingNet,
    "matching_net_fce": lambda setting: MatchingNet(setting, full_context=True),
    "meta_lstm": MetaLSTM,
}
# What is tested, by row of the table.
ROWS: dict[str, Callable[[Setting], Finetune | Trainable]] = {
    "finetune": Finetune,
    "nearest_neighbor": NearestNeighbor,
    "matching_net": MatchingNet,
    "matching_net_fce": TRAINABLE["matching_net_fce"],
    "meta_lstm": MetaLSTM,
}
