"""What a row of the table is: the Method protocol, and what else a method may be able to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from repro.episodes import Episode
from repro.methods.split_images import SplitImages
from repro.papers.budgets import GridPoint


@dataclass(frozen=True)
class StepResult:
    """Of one training step: mean loss (nats) and accuracy (a fraction)."""

    loss: float
    accuracy: float


class Method(Protocol):
    """One row of the table: what comes with this package, and a class of anyone's own.

    It is built from a :class:`repro.methods.setting.Setting`. A class of one's own
    (:mod:`repro.methods.registry`) may say more about itself, as attributes:

    - ``name`` (its row; by default the entry point's name, or the class's in small letters) and
      ``title`` (for people);
    - ``training``: ``"own"`` (the default where it has ``train_step``: see :class:`Trainable`),
      ``"pretrain"`` (it is given the state of the baselines' shared training: ``params``,
      ``mean``, ``variance``) or None;
    - ``n_step``: training steps, a number or ``{"smoke": …, "quick": …, "paper": …}``; by default
      as many as a Matching Network makes;
    - ``train_shot``: support images per class in training, the ``"task"``'s (default) or always
      ``"five"``, so that one training serves both columns;
    - ``train_way``: classes of training episodes, the ``"task"``'s (default) or always ``"five"``,
      where nothing of its state belongs to a number of classes;
    - ``switches``: names of the recipe's switches that its training depends on; by default all;
    - ``transductive``: whether a prediction depends on the other queries; the table says so;
    - ``files``: names of further files that it reads, from its module's folder; their content is
      part of its digest, as is what its module imports from beside it.

    Where it has no training of its own it may have ``fit(images)``: called once with the
    meta-train images, after ``load_state`` and before ``predict`` (for a mean to be taken off,
    for instance).

    Randomness comes from :func:`repro.system.seeding.rng` with ``setting.seed`` and
    ``Stream.OWN_METHOD``. `repro method check` puts all of this to the test.
    """

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """Log-probabilities ``[n_way * n_query, n_way]`` of the queries, class by class.

        No state survives the call, and the labels of the queries are not looked at.
        """
        ...


@runtime_checkable
class Stackable(Method, Protocol):
    """A method that can answer several episodes in one pass, which pays on an accelerator."""

    def predict_many(self, episodes: Sequence[Episode], images: SplitImages) -> Tensor:
        """Log-probabilities for episodes of one size, ``[n_episode, n_way * n_query, n_way]``."""
        ...

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """As :meth:`Method.predict`: an episode is a batch of one."""
        return self.predict_many([episode], images)[0]


class Trainable(Method, Protocol):
    """A method with a training of its own; each step depends on state and step number only."""

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """Training step number ``step`` (from 0) on the meta-train images."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything a training goes on from: parameters, statistics, optimizer."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` gave; optimizer entries may be missing for tests."""
        ...


@runtime_checkable
class Searching(Method, Protocol):
    """A method one point of whose grid is chosen on meta-validation: ``MethodSpec.searches``."""

    def choose(self, point: GridPoint, final: bool) -> None:
        """Predict with ``point`` from now on, in the search or, where ``final``, in the test."""
        ...


@runtime_checkable
class Diagnosing(Method, Protocol):
    """A method that leaves files beside the record of a test at the shot of its training."""

    def diagnostics(self, episodes: Sequence[Episode], images: SplitImages) -> dict[str, Any]:
        """Content by file name, as JSON, made on a few meta-validation episodes."""
        ...


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of ``scores`` ``[n, n_way]`` whose largest entry is at ``labels`` ``[n]``."""
    return float((scores.argmax(1) == labels).float().mean())
