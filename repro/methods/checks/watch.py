"""What a method does beside answering: files it opens, settings of torch it changes, and numbers
that it keeps where no state holds them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import repro
from repro.data.pack import SPLITS
from repro.learner.kernels import library
from repro.methods.optimizers import Optimizer

_HOME = Path(repro.__file__).parent
_SYSTEM = tuple(
    Path(folder).resolve()
    for folder in (sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/etc", "/usr", _HOME)
)
_DEPTH = 6  # of objects in objects that are looked at
_listening: list[list[Path]] = []
_installed = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" or not _listening or not isinstance(args[0], (str, bytes)):
        return
    flags = args[2] if len(args) > 2 and isinstance(args[2], int) else 0
    if flags & (os.O_WRONLY | os.O_CREAT) == 0:
        for opened in _listening:
            opened.append(Path(os.fsdecode(args[0])))


@contextlib.contextmanager
def opened() -> Iterator[list[Path]]:
    """The files that are opened for reading while the block runs, by Python's own functions."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)  # can never be taken away again
        _installed = True
    found: list[Path] = []
    _listening.append(found)
    try:
        yield found
    finally:
        _listening.remove(found)


def images_of(paths: Iterable[Path]) -> list[Path]:
    """Those that hold a split of a data set."""
    names = {f"{split}.npy" for split in SPLITS}
    return [path for path in paths if path.name in names]


def foreign(paths: Iterable[Path], covered: Iterable[Path], since: float) -> list[Path]:
    """Those that a method's digest does not cover and that are of no library.

    Args:
        covered: files of the digest. since: when the check began (what it made itself is none).
    """
    known, found = {path.resolve() for path in covered}, dict[Path, None]()
    for path in paths:
        if path.name == "pack.json" or images_of([path]):
            continue
        source = path
        if path.suffix == ".pyc":
            with contextlib.suppress(ValueError, NotImplementedError):
                source = Path(importlib.util.source_from_cache(str(path)))
        source = source.resolve()
        ours = source.is_relative_to(library.folder().resolve())  # native kernels
        installed = (
            ours
            or any(source.is_relative_to(folder) for folder in _SYSTEM)
            or any(
                part == "site-packages" or part.endswith((".dist-info", ".egg-info"))
                for part in source.parts
            )
        )
        if source in known or installed or not source.is_file():
            continue
        if source.stat().st_ctime < since:
            found[source] = None
    return list(found)


def settings() -> dict[str, Any]:
    """torch's global settings that move numbers or hold for whoever comes next."""
    cudnn = torch.backends.cudnn
    return {
        "torch.backends.mkldnn.enabled": torch.backends.mkldnn.enabled,
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.are_deterministic_algorithms_enabled()": (
            torch.are_deterministic_algorithms_enabled()
        ),
        "torch.get_float32_matmul_precision()": torch.get_float32_matmul_precision(),
        "torch.backends.cudnn.enabled": cudnn.enabled,
        "torch.backends.cudnn.benchmark": cudnn.benchmark,
        "torch.backends.cudnn.deterministic": cudnn.deterministic,
        "torch.backends.cudnn.allow_tf32": cudnn.allow_tf32,
    }


def changed(before: dict[str, Any]) -> list[str]:
    """Each setting that is another one now, with both values."""
    now = settings()
    return [f"{name} from {old} to {now[name]}" for name, old in before.items() if now[name] != old]


def hidden_numbers(one: Any, other: Any) -> list[str]:
    """Numbers and words at the same place in two objects that differ, tensors left out."""
    ours, theirs = (dict(_plain(found, "", _DEPTH, set())) for found in (one, other))
    return [
        f"{place} ({value} and {theirs[place]})"
        for place, value in ours.items()
        if place in theirs and theirs[place] != value
    ]


def _plain(found: Any, place: str, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(found, (bool, int, float, str)):
        yield place, found
        return
    # An Optimizer of this package: its state is in state(), its rate an argument of each step.
    if depth == 0 or id(found) in seen or isinstance(found, (Tensor, type, Optimizer)):
        return
    seen.add(id(found))
    if isinstance(found, dict):
        inner = [(str(k) if isinstance(k, str) else f"[{i}]", v)
                 for i, (k, v) in enumerate(found.items())]  # fmt: skip
    elif isinstance(found, (list, tuple)):
        inner = [(f"[{i}]", v) for i, v in enumerate(found)]
    else:
        inner = list(getattr(found, "__dict__", {}).items())
    for name, value in inner:
        yield from _plain(value, f"{place}.{name}" if place else name, depth - 1, seen)
