"""What Figure 3 shows: the gates of a trained meta-LSTM over its updates, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from repro.episodes import Episode
from repro.learner.conv4 import LAYERS, BatchNormStatistics
from repro.methods.base import Setting, SplitImages
from repro.methods.meta_lstm import MetaLSTM
from repro.system.seeding import Stream, rng

PERCENTILES = (5, 25, 50, 75, 95)
Gates = dict[str, npt.NDArray[np.float32]]  # gate name -> [n_episode, n_step, n_coord]


def _record(method: MetaLSTM, episodes: Sequence[Episode], images: SplitImages) -> Gates:
    forget, enter = [], []
    for episode in episodes:
        statistics = BatchNormStatistics(method.learner.n_filter, method.theta_0.detach())
        found = method.adapt(episode, images, method.theta_0.detach(), statistics, trace=True)
        forget.append(torch.stack(found.forget_gates).cpu().numpy())
        enter.append(torch.stack(found.input_gates).cpu().numpy())
    return {"forget": np.stack(forget), "input": np.stack(enter)}


def _rounded(values: npt.NDArray[Any]) -> list[Any]:
    listed: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return listed


def gate_traces(
    trained: MetaLSTM, setting: Setting, episodes: Sequence[Episode], images: SplitImages
) -> dict[str, Any]:
    """Gates per layer as JSON: one random coordinate, percentiles of all, untrained values.

    The coordinate is the same for all episodes. ``episode_variance`` is the variance between
    episodes of the gate's mean over updates, averaged over the layer's coordinates.
    """
    layer_of = np.asarray(trained.learner.layer_of_coordinate())
    after, before = (_record(method, episodes, images) for method in (trained, MetaLSTM(setting)))
    stream = rng(setting.seed, Stream.GATE_COORDINATE)
    chosen = {}
    for layer in LAYERS:
        members = np.flatnonzero(layer_of == layer)
        chosen[layer] = int(members[stream.below(len(members))])
    gates: dict[str, dict[str, Any]] = {"forget": {}, "input": {}}
    for name, found in gates.items():
        for layer in LAYERS:
            members = layer_of == layer
            values = after[name][:, :, members]
            bands = np.percentile(values, PERCENTILES, axis=(0, 2))
            found[layer] = {
                "coordinate": chosen[layer],
                "trace": _rounded(after[name][:, :, chosen[layer]]),
                "band": {str(p): _rounded(b) for p, b in zip(PERCENTILES, bands, strict=True)},
                "untrained": _rounded(before[name][:, :, members].mean((0, 2))),
                "mean": float(values.mean(dtype=np.float64)),
                "untrained_mean": float(before[name][:, :, members].mean(dtype=np.float64)),
                "episode_variance": float(values.mean(1, dtype=np.float64).var(0, ddof=1).mean()),
            }
    return {
        "schema": 1,
        "k_shot": setting.k_shot,
        "n_step": int(after["forget"].shape[1]),
        "n_episode": len(episodes),
        "layers": list(LAYERS),
        "gates": gates,
    }
