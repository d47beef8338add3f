"""± classes: the interval of a mean accuracy over the choice of test classes.

The classes of each episode are drawn again from the record's own sampler, which needs no images.
The interval is the delete-one-class jackknife: U₋c is the mean accuracy of the episodes without
class c, and V = (C − 1)/C · Σ_c (U₋c − mean U)², with Student's t on C − 1 degrees of freedom
(Efron & Stein 1981: its expectation is not below the variance; episodes and images that are left
out with a class add to it, so it errs wide where classes differ little). Training seeds are no
part of it. Everything is a fraction.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from repro.analysis.statistics.paired import quantile
from repro.episodes import draw_classes
from repro.papers import paper

if TYPE_CHECKING:
    from repro.records import Record

Classes = npt.NDArray[np.int64]


def n_class(record: Record) -> int:
    """Test classes of the record's split; records of before it was written have 20."""
    return int(record.config.get("n_test_class") or paper.N_TEST_CLASS)


def episode_classes(record: Record) -> Classes | None:
    """Classes of the record's episodes, ``[n_episode, n_way]``; None where a draw needs more
    classes than there are."""
    way = int(record.config.get("n_way") or paper.N_WAY)
    if n_class(record) < way:
        return None
    seed = int(record.config.get("episode_seed", 0))
    drawn = record.episode_classes
    return _drawn(record.split, n_class(record), way, seed, drawn, record.n_episode)


@functools.lru_cache(maxsize=8)  # the cells of a table all see the same episodes
def _drawn(
    split: str, n_class: int, n_way: int, seed: int, classes: str, n_episode: int
) -> Classes:
    found = [draw_classes(split, n_class, n_way, seed, classes, i) for i in range(n_episode)]
    return np.stack(found)


def class_half_width(accuracy: npt.NDArray[Any], classes: Classes | None) -> float | None:
    """Half-width of the 95% interval over the choice of test classes.

    Args:
        accuracy: ``[n_episode]``, or ``[n_seed, n_episode]``, of which the mean is taken; of a
            difference as well.
        classes: ``[n_episode, n_way]``.
    Returns:
        None where no more classes than those of one episode were drawn, or one is in all episodes.
    """
    if classes is None:
        return None
    values = np.atleast_2d(np.asarray(accuracy, np.float64)).mean(0)
    member = np.zeros((len(values), int(classes.max()) + 1))
    np.put_along_axis(member, classes, 1.0, axis=1)
    member = member[:, member.any(0)]  # of a few episodes not every class is part
    count = member.shape[1]
    without = len(values) - member.sum(0)
    if count <= classes.shape[1] or not without.all():
        return None
    means = (values.sum() - values @ member) / without
    variance = (count - 1) / count * float(((means - means.mean()) ** 2).sum())
    return quantile(count - 1) * math.sqrt(variance)
