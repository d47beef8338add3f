"""The gates of a trained meta-LSTM over its updates, recorded for Figure 3."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from repro.learner.conv4 import LAYERS, Conv4
from repro.system.seeding import Stream, rng

PERCENTILES = (5, 25, 50, 75, 95)
Gates = dict[str, npt.NDArray[np.float32]]  # gate name -> [n_episode, n_step, n_coord]


def _rounded(values: npt.NDArray[Any]) -> list[Any]:
    listed: list[Any] = np.round(values.astype(np.float64), 6).tolist()
    return listed


def gate_traces(
    trained: Gates, untrained: Gates, learner: Conv4, k_shot: int, seed: int
) -> dict[str, Any]:
    """Gates per layer as JSON: one random coordinate, percentiles of all, untrained values.

    The coordinate is the same for all episodes. ``episode_variance`` is the variance between
    episodes of the gate's mean over updates, averaged over the layer's coordinates.
    """
    layer_of = np.asarray(learner.layer_of_coordinate())
    stream = rng(seed, Stream.GATE_COORDINATE)
    chosen = {}
    for layer in LAYERS:
        members = np.flatnonzero(layer_of == layer)
        chosen[layer] = int(members[stream.below(len(members))])
    gates: dict[str, dict[str, Any]] = {"forget": {}, "input": {}}
    for name, found in gates.items():
        for layer in LAYERS:
            members = layer_of == layer
            values, before = trained[name][:, :, members], untrained[name][:, :, members]
            bands = np.percentile(values, PERCENTILES, axis=(0, 2))
            found[layer] = {
                "coordinate": chosen[layer],
                "trace": _rounded(trained[name][:, :, chosen[layer]]),
                "band": {str(p): _rounded(b) for p, b in zip(PERCENTILES, bands, strict=True)},
                "untrained": _rounded(before.mean((0, 2))),
                "mean": float(values.mean(dtype=np.float64)),
                "untrained_mean": float(before.mean(dtype=np.float64)),
                "episode_variance": float(values.mean(1, dtype=np.float64).var(0, ddof=1).mean()),
            }
    n_episode, n_step = trained["forget"].shape[:2]
    return {
        "schema": 1,
        "k_shot": k_shot,
        "n_step": n_step,
        "n_episode": n_episode,
        "layers": list(LAYERS),
        "gates": gates,
    }
