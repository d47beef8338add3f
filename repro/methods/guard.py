"""A wrapper around a user's method: its errors and wrong results become one sentence."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.episodes import Episode
from repro.methods.base import Stackable, StepResult
from repro.methods.setting import Setting
from repro.methods.split_images import SplitImages
from repro.papers.method_spec import MethodSpec
from repro.system.errors import MethodError, ReproError, text_of
from repro.system.interrupts import StopNow

_STORED = frozenset({  # by a safetensors file, where checkpoints are kept
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool,
    torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint64, torch.uint32, torch.uint16, torch.uint8,
    torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz,
})  # fmt: skip
DEBUG = "REPRO_DEBUG"  # set to anything: tracebacks of methods are shown, too


@contextlib.contextmanager
def explained(name: str, where: str) -> Iterator[None]:
    """Turn what a method's code raises into one sentence with the line of that code.

    Raises:
        MethodError: the code raised anything but a ReproError, ``sys.exit`` included.
    """
    try:
        yield
    except (ReproError, StopNow):
        raise  # one sentence already, and the user's own wish
    except BaseException as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        frames = traceback.extract_tb(error.__traceback__)
        home = str(Path(__file__).parents[1])
        theirs = [f for f in frames if not f.filename.startswith((home, sys.prefix))]
        line = f" ({Path(theirs[-1].filename).name}:{theirs[-1].lineno})" if theirs else ""
        message = text_of(error)
        raise MethodError(
            f"the method {name} raised {type(error).__name__}"
            + (f": {message}" if message else "")
            + f" in {where}{line}; --debug shows the traceback"
        ) from error


class Guarded:
    """A method of one's own, with everything that it gives looked at."""

    def __init__(self, row: MethodSpec, method: Any) -> None:
        self.row, self.method = row, method

    def predict(self, episode: Episode, images: SplitImages) -> Tensor:
        """As :meth:`repro.methods.base.Method.predict`.

        Raises:
            MethodError: it failed, or gave something else than scores of every query.
        """
        where = f"predict at episode {episode.index}"
        with explained(self.row.name, where):
            # Episodes are shared by all that see them; what is done to a copy harms nobody.
            scores = self.method.predict(copy.deepcopy(episode), images)
        shape = (len(episode.query), len(episode.class_indices))
        self._look_at(scores, shape, where)
        found: Tensor = scores.detach()
        return found

    def _look_at(self, scores: Any, shape: tuple[int, ...], where: str) -> None:
        problem = problem_of_scores(scores, shape)
        if problem:
            raise MethodError(
                f"the method {self.row.name} gave {problem} in {where}; expected are "
                f"log-probabilities of shape {shape} (`repro method check` says more)"
            )

    def train_step(self, images: SplitImages, step: int) -> StepResult:
        """As :meth:`repro.methods.base.Trainable.train_step`.

        Raises:
            MethodError: it failed or gave no result.
        """
        where = f"train_step at step {step}"
        with explained(self.row.name, where):
            result = self.method.train_step(images, step)
        try:
            return StepResult(float(result.loss), float(result.accuracy))
        except (AttributeError, TypeError, ValueError) as error:
            raise MethodError(
                f"the method {self.row.name} gave {_kind(result)} in {where}; expected is "
                "StepResult(loss, accuracy) with two numbers"
            ) from error

    def state(self) -> dict[str, Tensor]:
        """As :meth:`repro.methods.base.Trainable.state`, with tensors of their own.

        Raises:
            MethodError: it failed or holds anything but named tensors.
        """
        with explained(self.row.name, "state"):
            found = self.method.state()
        problem = problem_of_state(found)
        if problem:
            raise MethodError(
                f"the method {self.row.name} gave {problem} in state; expected are tensors by name"
            )
        # Tensors that share memory are not written by safetensors.
        return {name: tensor.detach().clone() for name, tensor in found.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """As :meth:`repro.methods.base.Trainable.load_state`.

        Raises:
            MethodError: it failed.
        """
        with explained(self.row.name, "load_state"):
            self.method.load_state(dict(state))

    def fit(self, images: SplitImages) -> None:
        """Show it the meta-train images, where it asks for them.

        Raises:
            MethodError: it failed.
        """
        if callable(getattr(self.method, "fit", None)):
            with explained(self.row.name, "fit"):
                self.method.fit(images)


class GuardedStackable(Guarded):
    """One that can answer several episodes at once."""

    def predict_many(self, episodes: Sequence[Episode], images: SplitImages) -> Tensor:
        """As :meth:`repro.methods.base.Stackable.predict_many`.

        Raises:
            MethodError: as :meth:`Guarded.predict`.
        """
        where = f"predict_many at episodes {episodes[0].index} to {episodes[-1].index}"
        with explained(self.row.name, where):
            scores = self.method.predict_many(copy.deepcopy(list(episodes)), images)
        first = episodes[0]
        shape = (len(episodes), len(first.query), len(first.class_indices))
        self._look_at(scores, shape, where)
        found: Tensor = scores.detach()
        return found


def guarded(row: MethodSpec, loaded: type, setting: Setting, needed: Sequence[str] = ()) -> Guarded:
    """Build a method of one's own.

    Args:
        needed: what it has to have beside ``predict``.
    Raises:
        MethodError: its ``__init__`` failed, or something is missing.
    """
    with explained(row.name, "__init__"):
        method = loaded(setting)
    missing = [name for name in needed if not callable(getattr(method, name, None))]
    if missing:
        raise MethodError(
            f"the method {row.name} is trained and has no {', '.join(missing)}; see "
            "repro.methods.base.Trainable"
        )
    kind = GuardedStackable if isinstance(method, Stackable) else Guarded
    return kind(row, method)


def problem_of_scores(scores: Any, shape: tuple[int, ...]) -> str:
    """What is wrong with scores of queries; empty when nothing is."""
    if not isinstance(scores, Tensor):
        return _kind(scores)
    if tuple(scores.shape) != shape:
        return f"a tensor of shape {tuple(scores.shape)}"
    if not scores.is_floating_point():
        return f"a tensor of {str(scores.dtype).removeprefix('torch.')}"
    if scores.is_meta:
        return "a tensor on the meta device, which has no values"
    if bool(torch.isnan(scores).any()):
        return f"NaN for {int(torch.isnan(scores).any(-1).sum())} of {shape[-2]} queries"
    if bool((scores == math.inf).any()):
        return "a score of +infinity"
    lost = (scores == -math.inf).all(-1)  # of some classes it is an answer: impossible
    if bool(lost.any()):
        return f"-infinity for every class of {int(lost.sum())} of {lost.numel()} queries"
    return ""


def problem_of_state(state: Any) -> str:
    """What is wrong with a state; empty when nothing is."""
    if not isinstance(state, dict):
        return _kind(state)
    for name, value in state.items():
        if not isinstance(name, str):
            return f"a name that is {_kind(name)}"
        if not isinstance(value, Tensor):
            return f"{_kind(value)} under {name!r}"
        odd = _not_storable(value)
        if odd or name == "__metadata__":
            return f"{odd or 'a tensor'} under {name!r} (a safetensors file cannot hold it)"
    return ""


def _not_storable(tensor: Tensor) -> str:
    """What a tensor is that a safetensors file cannot hold; empty for one that it can."""
    if tensor.is_meta:
        return "a meta tensor"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.layout != torch.strided:
        return f"a {str(tensor.layout).removeprefix('torch.')} tensor"
    if tensor.dtype not in _STORED:
        return f"a tensor of {str(tensor.dtype).removeprefix('torch.')}"
    return ""


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"a {type(value).__name__}"
