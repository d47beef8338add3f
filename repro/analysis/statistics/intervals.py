"""Means with 95% intervals, as the paper prints them. All values are fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from repro.papers.paper import Z_95


class HasInterval(Protocol):
    """A mean and the half-width of its 95% interval, for instance ``paper.Reported``."""

    @property
    def mean(self) -> float: ...

    @property
    def half_width(self) -> float: ...


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95% interval, both fractions."""

    mean: float
    half_width: float

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies strictly outside the interval."""
        return self.low > 0 or self.high < 0


def mean_interval(values: npt.NDArray[Any]) -> Interval:
    """Mean +- 1.96 s / sqrt(n) with the unbiased s (Ravi & Larochelle 2017, Table 1).

    One value alone says nothing about its spread: its half-width is infinite.

    Raises:
        ValueError: no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"expected a list of at least one value, got shape {values.shape}")
    if len(values) == 1:
        return Interval(float(values[0]), math.inf)
    half_width = Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return Interval(float(values.mean()), half_width)


def accuracy_histogram(
    accuracy: npt.NDArray[Any], n_query: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Episodes per bin ``[n_bin]`` and the bins' edges ``[n_bin + 1]``, 0 to 1.

    Two queries to a bin: accuracies are whole queries, finer bins would show gaps.
    """
    n_bin = max(1, (n_query + 1) // 2)
    counts, edges = np.histogram(accuracy, np.arange(n_bin + 1) / n_bin)
    return counts.astype(np.int64), edges
