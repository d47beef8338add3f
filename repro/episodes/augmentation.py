"""Flips alone, and the public port's pipeline: random resized crop, flip, jitter; resize, crop.

The operations are torchvision's; the draws are ours, so that a step's images depend on seed and
step only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from repro.system.seeding import Rng

AREA = (0.08, 1.0)  # share of the image that a crop covers
ASPECT = (3 / 4, 4 / 3)
JITTER = 0.4  # brightness, contrast, saturation
HUE = 0.2
N_TRIAL = 10
RESIZE = 96 / 84  # the port resizes to 96 and crops the central 84


def _crop_box(rng: Rng, size: int) -> tuple[int, int, int, int]:
    """top, left, height, width of a random crop, as torchvision's RandomResizedCrop draws it."""
    for _ in range(N_TRIAL):
        share, log_aspect = rng.uniform(1, *AREA)[0], rng.uniform(1, *map(math.log, ASPECT))[0]
        area, aspect = share * size * size, math.exp(log_aspect)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= size and 0 < height <= size:
            return rng.below(size - height + 1), rng.below(size - width + 1), height, width
    return 0, 0, size, size


def augment(batch: Tensor, rng: Rng) -> Tensor:
    """Each image of ``[n, 3, size, size]``, in [0, 1], under a draw of its own."""
    size = batch.shape[-1]
    images = []
    for image in batch:
        drawn = transforms.resized_crop(
            image, *_crop_box(rng, size), size=[size, size], antialias=True
        )
        if rng.below(2):
            drawn = transforms.horizontal_flip(drawn)
        brightness, contrast, saturation = rng.uniform(3, 1 - JITTER, 1 + JITTER).tolist()
        hue = float(rng.uniform(1, -HUE, HUE)[0])
        for kind in rng.permutation(4):
            if kind == 0:
                drawn = transforms.adjust_brightness(drawn, brightness)
            elif kind == 1:
                drawn = transforms.adjust_contrast(drawn, contrast)
            elif kind == 2:
                drawn = transforms.adjust_saturation(drawn, saturation)
            else:
                drawn = transforms.adjust_hue(drawn, hue)
        images.append(drawn)
    return torch.stack(images)


def flip(batch: Tensor, rng: Rng) -> Tensor:
    """Each image of ``[n, 3, size, size]`` mirrored left to right with probability a half."""
    flipped = torch.tensor([bool(rng.below(2)) for _ in batch], device=batch.device)
    return torch.where(flipped[:, None, None, None], batch.flip(3), batch)


AUGMENTATIONS = {"flip": flip, "port": augment}


def resize_and_crop(batch: Tensor) -> Tensor:
    """Resize ``[n, 3, size, size]`` by 96/84 and cut out the centre, the size kept."""
    size = batch.shape[-1]
    larger = round(size * RESIZE)
    resized = transforms.resize(batch, [larger, larger], antialias=True)
    cropped: Tensor = transforms.center_crop(resized, [size, size])
    return cropped
