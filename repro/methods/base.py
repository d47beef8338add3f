"""What a row of the table is: the Method protocol, and the pieces every method shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from repro.data.pack import ImageSplit
from repro.episodes import Episode
from repro.episodes.augmentation import AUGMENTATIONS, resize_and_crop
from repro.papers import paper
from repro.papers.config import Recipe
from repro.papers.presets import GridPoint
from repro.system.seeding import Rng, Stream, rng

EMBED_BUFFER_BYTES = 32 * 2**20  # larger buffers go back to the kernel after every layer


@dataclass(frozen=True)
class Setting:
    """What a method is built from.

    Attributes:
        n_class: classes of the meta-train split. k_shot: the shot it is (or was) trained for; 0
            where training has no episodes. n_way, n_query: of the episodes of its own training; a
            test's may have another size, which is in the episode itself.
        n_step: steps of its whole training, for schedules; 0 where nothing is trained.
        precision: ``fp32`` or ``bf16`` (autocast of the learner only).
    """

    image_size: int
    n_class: int
    n_way: int
    k_shot: int
    recipe: Recipe
    seed: int
    precision: str = "fp32"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    n_step: int = 0
    n_query: int = paper.N_QUERY

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 for the learner's convolutions where the run's precision says so."""
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )


class SplitImages:
    """Images of a split as normalised batches, with features that are computed once.

    What is kept here are functions of single images; nothing of an episode.
    """

    def __init__(self, split: ImageSplit, setting: Setting) -> None:
        self.split, self.setting = split, setting
        self._features: dict[str, Tensor] = {}
        self._known: dict[str, Tensor] = {}
        shift, scale = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if setting.recipe.pixels == "imagenet":
            shift, scale = paper.IMAGENET_MEAN, paper.IMAGENET_STD
        self._shift = torch.tensor(shift, device=setting.device).view(1, 3, 1, 1)
        self._scale = torch.tensor(scale, device=setting.device).view(1, 3, 1, 1)

        self._resident: Tensor | None = None

    def _pixels(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """uint8 ``[n, H, W, 3]``; an accelerator holds the whole split from the first use on."""
        if self.setting.device.type == "cpu":
            return torch.from_numpy(self.split.images[rows])
        if self._resident is None:
            self._resident = torch.from_numpy(np.array(self.split.images)).to(self.setting.device)
        return self._resident[torch.from_numpy(rows).to(self.setting.device)]

    def labels(self, labels: npt.NDArray[np.int64]) -> Tensor:
        """Labels where the method computes."""
        return torch.from_numpy(labels).to(self.setting.device)

    def normalise(self, pixels: Tensor, augmentation: Rng | None = None) -> Tensor:
        """uint8 ``[n, H, W, 3]`` to float ``[n, 3, H, W]``, channels last in memory."""
        batch = pixels.permute(0, 3, 1, 2).float()
        batch /= 255
        if self.setting.recipe.eval_resize != "none" and self.split.split != "train":
            batch = resize_and_crop(batch)
        if augmentation is not None:
            batch = AUGMENTATIONS[self.setting.recipe.augmentation](batch, augmentation)
        if self.setting.recipe.pixels == "imagenet":
            batch = (batch - self._shift) / self._scale
        return batch

    def gather(self, rows: npt.NDArray[np.int64], augmentation: Rng | None = None) -> Tensor:
        """The images of ``rows`` ``[n]`` as float ``[n, 3, H, W]``.

        Args:
            augmentation: draws of a training step's augmentation; None for none.
        """
        return self.normalise(self._pixels(rows), augmentation)

    def gather_many(self, rows: Sequence[npt.NDArray[np.int64]]) -> Tensor:
        """Equally many rows of several episodes, float ``[n_episode, n, 3, H, W]``."""
        batch = self.gather(np.concatenate(rows))
        return batch.view(len(rows), len(rows[0]), *batch.shape[1:])

    def augmentation(self, step: int) -> Rng | None:
        """The draws for a training step, or None where the recipe has no augmentation."""
        if self.setting.recipe.augmentation == "none":
            return None
        return rng(self.setting.seed, Stream.AUGMENTATION, step)

    def forget(self) -> None:
        """Drop the features kept so far."""
        self._features.clear()
        self._known.clear()

    def embedded(
        self, key: str, embed: Callable[[Tensor], Tensor], rows: npt.NDArray[np.int64]
    ) -> Tensor:
        """``embed`` of the images of ``rows``, ``[n, n_feature]``; each image once per ``key``."""
        index = torch.from_numpy(rows)
        if key not in self._features:
            n_feature = embed(self.gather(rows[:1])).shape[1]
            n_image = len(self.split.images)
            self._features[key] = torch.empty(n_image, n_feature, device=self.setting.device)
            self._known[key] = torch.zeros(n_image, dtype=torch.bool)
        features, known = self._features[key], self._known[key]
        missing = np.unique(rows[~known[index].numpy()])
        # The largest buffer is the first block's output.
        per_image = paper.BASELINE_FILTERS * self.split.image_size**2 * 4
        size = max(1, EMBED_BUFFER_BYTES // per_image)
        for first in range(0, len(missing), size):
            part = missing[first : first + size]
            features[torch.from_numpy(part)] = embed(self.gather(part)).float()
            known[torch.from_numpy(part)] = True
        return features[index]


@dataclass(frozen=True)
class StepResult:
    """Of one training step: mean loss (nats) and accuracy (a fraction)."""

    loss: float
    accuracy: float


class Method(Protocol):
    """One row of the table: what comes with this package, and a class of anyone's own.

    It is built from a :class:`Setting`. A class of one's own (:mod:`repro.methods.registry`) may
    say more about itself, as attributes:

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


class Optimizer:
    """An optimizer of torch over named tensors, with a state that is tensors only.

    Args:
        make: the optimizer of a list of tensors, for instance
            ``lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9)``.
    """

    prefix = "optimizer"  # of its entries in the state, which records leave out

    def __init__(
        self, params: dict[str, Tensor], make: Callable[[list[Tensor]], torch.optim.Optimizer]
    ) -> None:
        self.params = params
        for param in params.values():
            param.requires_grad_()
        self.inner = make(list(params.values()))

    def step(self, lr: float | None = None) -> None:
        """Update the parameters in place from their ``grad`` and clear it.

        Args:
            lr: the learning rate from now on; None leaves it. No part of the state.
        """
        if lr is not None:
            for group in self.inner.param_groups:
                group["lr"] = lr
        self.inner.step()
        self.inner.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Parameters and, as ``<prefix>.<name>.<entry>``, what the optimizer keeps of each.

        Raises:
            TypeError: the optimizer keeps something else than tensors (L-BFGS does).
        """
        found = {name: param.detach() for name, param in self.params.items()}
        for name, param in self.params.items():
            for entry, value in self.inner.state[param].items():
                if value is None:  # SGD without momentum
                    continue
                if not isinstance(value, Tensor):
                    raise TypeError(
                        f"{type(self.inner).__name__} keeps {entry}, a {type(value).__name__}; a "
                        "state is tensors only"
                    )
                found[f"{self.prefix}.{name}.{entry}"] = value.detach()
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` gave."""
        for name, param in self.params.items():
            with torch.no_grad():
                param.copy_(state[name])
            prefix = f"{self.prefix}.{name}."
            self.inner.state[param] = {
                key.removeprefix(prefix): value.to(param.device, copy=True)
                for key, value in state.items()
                if key.startswith(prefix)
            }


class Adam(Optimizer):
    """torch's Adam over named tensors, with a state that is tensors only.

    It adds ε to the root of the corrected second moment; Torch7's adds it to the root of the
    uncorrected one, so its ε is 1/√(1 - 0.999^t) times as large: 32 times at t = 1. It moves those
    coordinates whose gradient is not far above that ε. In a training of a Matching Network
    on mini-ImageNet 13% of the updates differ by more than 1% of the learning rate in the first
    step, 1% in the tenth and 0.07% in the hundredth; so it is left as torch has it.
    """

    prefix = "adam"

    def __init__(
        self, params: dict[str, Tensor], lr: float, fused: bool = False, prefix: str = "adam"
    ) -> None:
        """
        Args:
            fused: read and write each tensor once a step: for many parameters, other bits.
            prefix: of the names of the moments in the state; it begins with ``adam``.
        """
        self.prefix = prefix
        on_gpu = next(iter(params.values())).device.type == "cuda"
        super().__init__(
            params,
            lambda ps: torch.optim.Adam(ps, lr=lr, capturable=on_gpu, fused=fused or None),
        )


OPTIMIZERS = tuple(f"{kind.prefix}." for kind in (Adam, Optimizer))


def accuracy(scores: Tensor, labels: Tensor) -> float:
    """Share of rows of ``scores`` ``[n, n_way]`` whose largest entry is at ``labels`` ``[n]``."""
    return float((scores.argmax(1) == labels).float().mean())
