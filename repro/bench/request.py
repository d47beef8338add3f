"""The request to a measuring process, and the number of operations of a unit of work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from repro.papers import paper


@dataclass(frozen=True)
class Request:
    """What a measuring process is asked for; ``pack`` None: random images."""

    work: str
    path: str
    precision: str
    threads: int
    image_size: int
    quick: bool
    pack: Path | None


def conv_flop(n_filter: int, image_size: int, n_image: int, training: bool) -> float:
    """Floating-point operations of the four convolutions, with backward where ``training``."""
    macs, n_input, first = 0.0, 3, 0.0
    for block in range(4):
        layer = (image_size >> block) ** 2 * n_input * n_filter * 9
        first = first or layer
        macs, n_input = macs + layer, n_filter
    # Backward is two more passes, but nobody asks for the gradient of the images.
    return 2.0 * n_image * ((3 * macs - first) if training else macs)


def cell_flop(n_coordinate: int, n_step: int, training: bool) -> float:
    """Matrix products of the coordinate-wise LSTM over an inner loop."""
    hidden = paper.N_HIDDEN
    forward = 2.0 * (4 * hidden * (4 + hidden) + 2 * (hidden + 2)) * n_coordinate * n_step
    return 3 * forward if training else forward
