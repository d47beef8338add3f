"""Backbones of others: torchvision's and timm's networks without their last layer, and pixels.

Nothing is downloaded: the weights are a file that is named, or in the cache where the library
itself would have put them. They are read as tensors only (safetensors, or ``torch.load`` with
``weights_only``, which runs no code of the file).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.papers import paper
from repro.system import storage
from repro.system.errors import DataError, UsageError, text_of, unknown

PIXELS_PX = 16  # images are averaged to this size, so that there are 768 features
LIBRARIES = ("torchvision", "timm")
Embed = Callable[[npt.NDArray[np.uint8]], Tensor]  # [n, h, w, 3] -> float32 [n, n_feature]


@dataclass(frozen=True)
class Backbone:
    """A network that turns images into features, before it is built.

    Attributes:
        told: for people, with the digest of the weights.
        identity: all that its features depend on but the images, as JSON.
        build: on a device.
    """

    told: str
    identity: dict[str, Any]
    build: Callable[[str], Embed]


def find(word: str, weights: Path | None, input_size: int | None) -> Backbone:
    """The backbone ``torchvision:NAME``, ``timm:NAME`` or ``pixels``.

    Args:
        weights: file; None: what the library keeps in its cache.
        input_size: to which images are resized, px; None: they stay as they are.
    Raises:
        UsageError: there is none of this name, or its library is not installed.
        DataError: its weights are not here, or are of another network.
    """
    library, _, name = word.partition(":")
    if word == "pixels":
        identity = {"backbone": word, "size": PIXELS_PX}
        return Backbone(f"pixels of {PIXELS_PX} px", identity, lambda device: _pixels)
    if library not in LIBRARIES or not name:
        known = ("pixels", "pretrain", "torchvision:resnet18", "timm:resnet18")
        raise unknown("backbone", word, known)
    network, mean, std, head, cached = _LIBRARY[library](name)
    path = weights or cached()
    try:
        digest = storage.file_digest(path)
    except OSError as error:
        raise DataError(
            f"the weights of {word} cannot be read at {path} ({error.strerror}); put them there or "
            "give --weights FILE; nothing is downloaded"
        ) from error
    identity = {"backbone": word, "weights": digest, "input_size": input_size}

    def build(device: str) -> Embed:
        model = network()
        _load(model, path, head(model), word)
        return _embedding(model.eval().to(device), word, input_size, mean, std, device)

    return Backbone(f"{word}, weights {digest[:8]}", identity, build)


def _pixels(images: npt.NDArray[np.uint8]) -> Tensor:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return F.adaptive_avg_pool2d(batch, min(PIXELS_PX, batch.shape[-1])).flatten(1)


# (builds the network, mean, std, gives the prefix of its last layer, the file in the cache)
_Found = tuple[
    Callable[[], nn.Module],
    tuple[float, ...],
    tuple[float, ...],
    Callable[[nn.Module], str],
    Callable[[], Path],
]


def _torchvision(name: str) -> _Found:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown("model of torchvision", name, known)

    def cached() -> Path:
        url = str(models.get_model_weights(name).DEFAULT.url)
        return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]

    def network() -> nn.Module:
        model: nn.Module = models.get_model(name, weights=None)
        return model

    return network, paper.IMAGENET_MEAN, paper.IMAGENET_STD, _cut, cached


def _cut(model: nn.Module) -> str:
    """Take off the last linear layer; returns the prefix of its parameters."""
    last = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not last:
        raise UsageError("this network has no linear layer at its end; choose another one")
    parent, _, own = last[-1].rpartition(".")
    setattr(model.get_submodule(parent), own, nn.Identity())
    return f"{last[-1]}."


def _timm(name: str) -> _Found:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError:
        raise UsageError(
            "timm is not installed; pip install 'repro-fewshot[timm]', or choose a network of "
            "torchvision"
        ) from None
    if not timm.is_model(name):
        raise unknown("model of timm", name, timm.list_models())
    told: Any = timm.get_pretrained_cfg(name)
    mean = tuple(told.mean) if told else paper.IMAGENET_MEAN
    std = tuple(told.std) if told else paper.IMAGENET_STD

    def network() -> nn.Module:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        return model

    words = told.classifier if told and told.classifier else "fc"
    prefix = f"{words if isinstance(words, str) else words[0]}."
    return network, mean, std, lambda model: prefix, lambda: _timm_cached(name, told)


def _timm_cached(name: str, told: Any) -> Path:
    """Where timm keeps the weights; a file that need not be there."""
    if told and told.hf_hub_id:
        hub: Any = importlib.import_module("huggingface_hub")
        found = hub.try_to_load_from_cache(told.hf_hub_id, "model.safetensors")
        cache = Path(hub.constants.HF_HUB_CACHE)
        return Path(found) if isinstance(found, str) else cache / told.hf_hub_id
    url = str(told.url) if told and told.url else name
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]


_LIBRARY: dict[str, Callable[[str], _Found]] = {"torchvision": _torchvision, "timm": _timm}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a file, of safetensors or of torch.

    Raises:
        DataError: it holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile, pickle and safetensors raise many types
        raise DataError(
            f"{path} is no file of weights that is read without running code "
            f"({type(error).__name__}); save the state_dict of the network as safetensors"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    named = found.items() if isinstance(found, dict) else ()
    kept = {str(k).removeprefix("module."): v for k, v in named if isinstance(v, Tensor)}
    if not kept:
        raise DataError(f"{path} holds no named tensors; save the state_dict of the network")
    return kept


def _load(model: nn.Module, path: Path, head: str, word: str) -> None:
    try:
        missing, surplus = model.load_state_dict(read_weights(path), strict=False)
    except RuntimeError as error:
        raise DataError(f"{path} is not of {word} ({text_of(error)}: {_second(error)})") from error
    surplus = [name for name in surplus if not name.startswith(head)]
    if missing or surplus:
        told = [f"{len(missing)} of its tensors are missing"] if missing else []
        told += [f"{len(surplus)} are not its own"] if surplus else []
        raise DataError(
            f"{path} is not of {word}: {' and '.join(told)} ({[*missing, *surplus][0]} first); "
            "give the weights of this network"
        )


def _second(error: RuntimeError) -> str:
    """The line in which torch names the first tensor."""
    lines = [line.strip() for line in str(error).splitlines()[1:2]]
    return "".join(c for c in "".join(lines) if c.isprintable())


def _embedding(
    model: nn.Module,
    word: str,
    input_size: int | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    device: str,
) -> Embed:
    shift = torch.tensor(mean, device=device).view(1, 3, 1, 1)
    scale = torch.tensor(std, device=device).view(1, 3, 1, 1)

    def embed(images: npt.NDArray[np.uint8]) -> Tensor:
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        if input_size is not None and batch.shape[-1] != input_size:
            size = (input_size, input_size)
            batch = F.interpolate(batch, size, mode="bilinear", antialias=True)
        try:
            with torch.inference_mode():
                found = model((batch - shift) / scale)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UsageError(
                f"{word} does not take images of {batch.shape[-1]} px ({text_of(error)}); give "
                "the size that it was trained with, for instance --input-size 224"
            ) from error
        if not isinstance(found, Tensor) or found.ndim != 2:
            raise UsageError(f"{word} gives no vector for an image; choose another network")
        return found.float()

    return embed
