"""Predictions of others, checked query by query against the episodes that they are of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repro.system.errors import RecordError


@dataclass(frozen=True)
class Wanted:
    """What predictions have to be of.

    Attributes:
        n_query: of an episode, over all its classes.
        digest: short, as the export has it.
        told: the episodes, for people.
    """

    n_episode: int
    n_query: int
    n_way: int
    digest: str
    told: str

    def check(self, digest: str, source: str) -> None:
        """Refuse another digest.

        Raises:
            RecordError: it is of other images or episodes.
        """
        if digest != self.digest:
            raise RecordError(
                f"{source} has the digest {digest[:60]!r}, but {self.told} have {self.digest}; "
                "import with the data set, shot and budget of the export, or export these episodes "
                "and predict them"
            )

    def __str__(self) -> str:
        return f"{self.n_episode:,} episodes of {self.n_query} queries"


class Filled:
    """Predicted labels of every query, filled in the order of the export.

    Attributes:
        labels: uint8 ``[n_episode, n_query]``.
    """

    def __init__(self, wanted: Wanted, source: str) -> None:
        self.wanted, self.source = wanted, source
        self.labels = np.zeros((wanted.n_episode, wanted.n_query), dtype=np.uint8)
        self._seen = np.zeros(self.labels.shape, dtype=bool)
        self._next = 0  # the place that comes next in order
        self._disorder = ""
        self.declared = False  # whether the source named the episodes, and rightly

    def error(self, what: str) -> RecordError:
        """The sentence of a mistake, with the file's name."""
        return RecordError(f"{self.source}: {what}")

    def declare(self, digest: str) -> None:
        """The source says of which episodes it is.

        Raises:
            RecordError: they are others.
        """
        self.wanted.check(digest.strip(), self.source)
        self.declared = True

    def put(self, episode: int, query: int, label: int, where: str) -> None:
        """One query's label.

        Args:
            where: in the file, for people.
        Raises:
            RecordError: such an episode, query or label does not exist, or it is there already.
        """
        wanted = self.wanted
        for name, value, count in (
            ("episode", episode, wanted.n_episode), ("query", query, wanted.n_query),
        ):  # fmt: skip
            if not 0 <= value < count:
                raise self.error(
                    f"{where} is of {name} {shown_number(value)}, but there are {count:,}, counted "
                    f"from 0; expected are {wanted}"
                )
        if not 0 <= label < wanted.n_way:
            from_1 = " (counted from 1?)" if label == wanted.n_way else ""
            raise self.error(
                f"{where} has label {shown_number(label)}{from_1}, which is no class of the "
                f"episode; labels are 0 to {wanted.n_way - 1}, as in the export"
            )
        if self._seen[episode, query]:
            raise self.error(
                f"{where} has episode {episode}, query {query} again; give each query once"
            )
        place = episode * wanted.n_query + query
        if place != self._next and not self._disorder:
            there = divmod(self._next, wanted.n_query)
            self._disorder = (
                f"{where} has episode {episode}, query {query} where episode {there[0]}, query "
                f"{there[1]} comes in the export; write them in that order, sorted as numbers"
            )
        self._next = place + 1
        self._seen[episode, query] = True
        self.labels[episode, query] = label

    def scored(self, episode: int, query: int, scores: npt.NDArray[np.float64], where: str) -> None:
        """One query by its scores ``[n_way]``, the largest counts (of equal ones the first).

        Raises:
            RecordError: as :meth:`put`, or another number of scores, or NaN or +infinity among
                them, or -infinity for every class.
        """
        if scores.shape != (self.wanted.n_way,):
            raise self.error(
                f"{where} has {scores.size} scores; expected is one per class of the episode, "
                f"{self.wanted.n_way}"
            )
        if np.isnan(scores).any():
            raise self.error(
                f"{where} has a score that is NaN; give a number for every class of every query"
            )
        if np.isposinf(scores).any() or np.isneginf(scores).all():
            what = (
                "a score of +infinity" if np.isposinf(scores).any() else "only scores of -infinity"
            )
            raise self.error(
                f"{where} has {what}; give finite scores (-inf is for classes that are ruled out)"
            )
        self.put(episode, query, int(scores.argmax()), where)

    def whole(self) -> npt.NDArray[np.uint8]:
        """All labels.

        Raises:
            RecordError: some are missing, or they are not in the order of the export.
        """
        n_missing = int((~self._seen).sum())
        if n_missing:
            episode, query = np.argwhere(~self._seen)[0].tolist()
            empty = int((~self._seen).all(1).sum())
            raise self.error(
                f"{n_missing:,} of {self._seen.size:,} queries are missing (first: episode "
                f"{episode}, query {query}"
                + (f"; {empty:,} episodes are missing as a whole" if empty else "")
                + f"); expected are {self.wanted}"
            )
        if self._disorder:
            raise self.error(self._disorder)
        return self.labels


def shown_number(value: int) -> str:
    return str(value) if abs(value) < 10**9 else "out of any range"


def from_array(array: npt.NDArray[Any], filled: Filled) -> None:
    """An array of labels or scores, an episode at a time.

    Raises:
        RecordError: another shape or type, or as :meth:`Filled.put`.
    """
    wanted = filled.wanted
    labels, scores = (wanted.n_episode, wanted.n_query), (*filled.labels.shape, wanted.n_way)
    is_whole = np.issubdtype(array.dtype, np.integer)
    if array.shape == labels and is_whole:
        for episode, row in enumerate(array):
            for query, label in enumerate(row.tolist()):
                filled.put(episode, query, label, f"episode {episode}, query {query}")
    elif array.shape == scores and (is_whole or np.issubdtype(array.dtype, np.floating)):
        for episode, rows in enumerate(array):
            for query, values in enumerate(np.asarray(rows, dtype=np.float64)):
                filled.scored(episode, query, values, f"episode {episode}, query {query}")
    else:
        raise filled.error(
            f"it is an array of {array.dtype.name} of shape {array.shape}; expected are whole "
            f"labels of shape {labels} or scores of shape {scores}"
        )
