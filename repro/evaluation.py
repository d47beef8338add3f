"""Method x episodes -> the predicted label of every query, and an accuracy per episode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from repro.episodes import Episode
from repro.errors import Interrupted, TrainingError
from repro.interrupts import StopRequest
from repro.methods.base import Method, SplitImages
from repro.progress import Reporter


def accuracies(
    predictions: npt.NDArray[np.uint8], episodes: Sequence[Episode]
) -> npt.NDArray[np.float64]:
    """Share of correct queries per episode, ``[n_episode]``."""
    labels = np.stack([episode.query_labels for episode in episodes])
    share: npt.NDArray[np.float64] = (predictions == labels).mean(1, dtype=np.float64)
    return share


def evaluate(
    method: Method,
    episodes: Sequence[Episode],
    images: SplitImages,
    reporter: Reporter,
    task: str,
    stop: StopRequest,
) -> npt.NDArray[np.uint8]:
    """Predicted labels, uint8 ``[n_episode, n_way * n_query]``.

    Raises:
        TrainingError: a method's output has another shape or is not a number.
        Interrupted: a stop was asked for between two episodes.
    """
    predictions = np.empty((len(episodes), len(episodes[0].query)), dtype=np.uint8)
    correct = 0.0
    for place, episode in enumerate(episodes):
        if stop:
            raise Interrupted(f"{task}: stopped at episode {place}; run again", stop.exit_code)
        scores = method.predict(episode, images)
        expected = (len(episode.query), len(episode.class_indices))
        if tuple(scores.shape) != expected or bool(scores.isnan().any()):
            raise TrainingError(
                f"{task}: predictions of episode {episode.index} must be finite log-probabilities "
                f"of shape {expected}, got shape {tuple(scores.shape)}; check the method"
            )
        predictions[place] = scores.argmax(1).cpu().numpy()
        correct += float((predictions[place] == episode.query_labels).mean())
        reporter.report(task, place + 1, len(episodes), f"accuracy {correct / (place + 1):.1%}")
    return predictions
