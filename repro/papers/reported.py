"""A published number, and how ``paper.toml`` spells cells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHOT = re.compile(r"([1-9]\d{0,3})-shot")


@dataclass(frozen=True)
class Reported:
    """A published accuracy: mean and half-width of the interval, both fractions.

    The half-width is infinite where none was printed. A re-run also names the recipe it followed,
    or why its protocol is another than any of ours.
    """

    mean: float
    half_width: float
    source: str
    recipe: str = ""
    other_protocol: str = ""
    transductive: bool = False


def shots(by_shot: Mapping[str, Any]) -> dict[int, Any]:
    """What is told by ``1-shot`` and ``5-shot``, by the numbers.

    Raises:
        ValueError: a name is no shot.
    """
    found = {}
    for name, value in by_shot.items():
        parts = _SHOT.fullmatch(name)
        if parts is None:
            raise ValueError(f"{name!r} is not a shot such as '1-shot'")
        found[int(parts[1])] = value
    return found


def fractions(cells: Mapping[str, tuple[float, ...]]) -> dict[int, tuple[float, float]]:
    """Mean and half-width by shot, fractions.

    Raises:
        ValueError: they are none, with what to write instead.
    """
    found = {}
    for k_shot, numbers in shots(cells).items():
        mean, half_width = (*numbers, math.inf)[:2]
        if 0 < mean < 1:
            raise ValueError(
                f"{k_shot}-shot is {mean:g}; accuracies are in percent, as printed: 43.44, not "
                "0.4344"
            )
        if not 0 <= mean <= 100 or not half_width >= 0:
            raise ValueError(f"{k_shot}-shot is {list(numbers)}, not [mean, half-width] in percent")
        # The nearest double of the printed number: 28.86 is 0.2886.
        found[k_shot] = (round(mean / 100, 8), round(half_width / 100, 8))
    if not found:
        raise ValueError("cells is empty; give some, such as { 1-shot = [43.44, 0.77] }")
    return found
