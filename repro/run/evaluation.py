"""Method x episodes -> the predicted label of every query, and an accuracy per episode."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from repro.episodes import Episode
from repro.methods.base import Method, Stackable
from repro.methods.split_images import SplitImages
from repro.run.context import Pace
from repro.system import storage
from repro.system.errors import Interrupted, TrainingError
from repro.system.interrupts import StopRequest
from repro.system.progress import Reporter
from repro.system.regular import read_file

EPISODES_AT_ONCE = 20


class Partial:
    """Predictions so far on disk, so that an interrupted test goes on at the next episode.

    Args:
        digest: of what is tested (config and checkpoint); a file of anything else is not used.
        pace: how often it is written.
    """

    def __init__(self, path: Path, digest: str, pace: Pace | None = None) -> None:
        self.path, self.digest, self.pace = path, digest, pace or Pace()
        self.spent = 0.0  # seconds that interrupted calls took
        self._began = self._last = time.monotonic()
        self._cost = 0.0

    def load(self, n_query: int) -> npt.NDArray[np.uint8]:
        """Rows ``[n_done, n_query]``; none where the file is absent, damaged or of another test."""
        nothing = np.empty((0, n_query), dtype=np.uint8)
        try:
            head, _, body = read_file(self.path).partition(b"\n")
            header = json.loads(head)
            spent = float(header.pop("wall_s", 0.0))
            if header != {"digest": self.digest, "sha256": hashlib.sha256(body).hexdigest()}:
                return nothing
            self.spent = spent if 0 <= spent < math.inf else 0.0
            return np.frombuffer(body, dtype=np.uint8).reshape(-1, n_query)
        except (OSError, ValueError, TypeError, AttributeError):
            return nothing

    def save(self, rows: npt.NDArray[np.uint8], now: bool = False) -> None:
        """Write when it is due."""
        began = time.monotonic()
        due = max(self.pace.partial_s, self.pace.cost * self._cost)
        if not now and began - self._last < due:
            return
        body = rows.tobytes()
        header: dict[str, Any] = {"digest": self.digest, "sha256": hashlib.sha256(body).hexdigest()}
        header["wall_s"] = round(self.spent + began - self._began, 3)
        storage.write_bytes(self.path, json.dumps(header).encode() + b"\n" + body)
        self._last = time.monotonic()
        self._cost = self._last - began

    def discard(self) -> None:
        """What was tested is recorded elsewhere now."""
        self.path.unlink(missing_ok=True)


def accuracies(
    predictions: npt.NDArray[np.uint8], episodes: Sequence[Episode]
) -> npt.NDArray[np.float64]:
    """Share of correct queries per episode, ``[n_episode]``."""
    rows = zip(predictions, episodes, strict=True)
    return np.array([_share(row, episode) for row, episode in rows], dtype=np.float64)


def _share(predicted: npt.NDArray[np.uint8], episode: Episode) -> float:
    # Per episode: stacking labels costs more than the counting, and progress asks each time.
    return int(np.count_nonzero(predicted == episode.query_labels)) / len(predicted)


def evaluate(
    method: Method,
    episodes: Sequence[Episode],
    images: SplitImages,
    reporter: Reporter,
    task: str,
    stop: StopRequest,
    partial: Partial | None = None,
) -> npt.NDArray[np.uint8]:
    """Predicted labels, uint8 ``[n_episode, n_way * n_query]``.

    With ``partial`` it goes on where an interrupted call stopped; the caller discards it once
    the outcome is recorded.

    Raises:
        TrainingError: a method's output has another shape or is not a number.
        Interrupted: a stop was asked for between two episodes.
    """
    predictions = np.empty((len(episodes), len(episodes[0].query)), dtype=np.uint8)
    done = 0
    if partial is not None:
        kept = partial.load(predictions.shape[1])[: len(episodes)]
        done = len(kept)
        predictions[:done] = kept
    correct = float(accuracies(predictions[:done], episodes[:done]).sum()) if done else 0.0
    at_once = _at_once(method, images)
    for context in range(done, len(episodes), at_once):
        if stop:
            if partial is not None:
                partial.save(predictions[:context], now=True)
            raise Interrupted(
                f"{task}: stopped at episode {context} of {len(episodes)}; run the same command to "
                "continue",
                stop.exit_code,
            )
        group = episodes[context : context + at_once]
        done = context + len(group)
        if at_once > 1 and isinstance(method, Stackable):
            scores = list(method.predict_many(group, images))
        else:
            scores = [method.predict(episode, images) for episode in group]
        for offset, (episode, found) in enumerate(zip(group, scores, strict=True)):
            predictions[context + offset] = _labels(found, episode, task)
        for row, episode in zip(predictions[context:done], group, strict=True):
            correct += _share(row, episode)
        if partial is not None:
            partial.save(predictions[:done])
        reporter.report(task, done, len(episodes), f"accuracy {correct / done:.1%}")
    if partial is not None:
        partial.save(predictions, now=True)
    return predictions


def _at_once(method: Method, images: SplitImages) -> int:
    """Episodes in one pass: an accelerator is not filled by one, a processor's cache is."""
    on_processor = images.setting.device.type == "cpu"
    return 1 if on_processor or not isinstance(method, Stackable) else EPISODES_AT_ONCE


def _labels(scores: Tensor, episode: Episode, task: str) -> npt.NDArray[np.uint8]:
    expected = (len(episode.query), len(episode.class_indices))
    if tuple(scores.shape) != expected or bool(scores.isnan().any()):
        raise TrainingError(
            f"{task}: predictions of episode {episode.index} must be finite log-probabilities "
            f"of shape {expected}, got shape {tuple(scores.shape)}; check the method"
        )
    labels: npt.NDArray[np.uint8] = scores.argmax(1).cpu().numpy().astype(np.uint8)
    return labels
