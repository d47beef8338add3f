"""The formats of numbers: ±, p-values, zero and infinity. Here fractions become percent."""

from __future__ import annotations

import math

from repro.analysis.statistics.intervals import HasInterval

UNKNOWN = "unknown"  # what the records at hand leave open: a half-width or a margin without end


def fixed(value: float, digits: int, sign: str = "") -> str:
    """``value`` with so many digits; never ``-0.00``; :data:`UNKNOWN` where it is not finite."""
    if not math.isfinite(value):
        return UNKNOWN
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def percent(fraction: float, signed: bool = False, digits: int = 2) -> str:
    """``0.4344`` as ``43.44``, or ``+43.44`` when ``signed``; never ``-0.00``."""
    return fixed(100 * fraction, digits, "+" if signed else "")


def percent_interval(interval: HasInterval, signed: bool = False) -> str:
    """An interval of fractions in percent: ``43.44 ± 0.77``."""
    return f"{percent(interval.mean, signed)} ± {percent(interval.half_width)}"


def class_text(half_width: float | None) -> str:
    """``± 4.61``: the interval over the choice of classes; empty where there is none."""
    return "" if half_width is None else f"± {percent(half_width)}"


def share(fraction: float) -> str:
    """A share as ``36%``; never ``-0%``."""
    return f"{percent(fraction, digits=0)}%"


def points(margin: float) -> str:
    """A smallest margin in points, rounded up so that the claim holds: ``1.7``."""
    if not math.isfinite(margin):
        return UNKNOWN
    return f"{math.ceil(1000 * margin - 1e-6) / 10:.1f}"


def spread_text(seed_sd: float) -> str:
    """A spread of seeds up to which a claim holds, in points, rounded down so that it does."""
    return f"{math.floor(10_000 * seed_sd + 1e-6) / 100:.2f}"


def margin_text(margin: float) -> str:
    """A margin that was asked for, in points and as it was asked for: ``0.25`` or ``1``."""
    return f"{round(100 * margin, 10):g}"


def p_text(p: float) -> str:
    """A p-value with three digits; below 0.001 that alone is said."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seeds_text(seeds: set[int]) -> str:
    """``seed 3``, ``seeds 0, 1, 2`` or ``seeds 0 to 99``."""
    listed = sorted(seeds)
    if len(listed) > 5 and listed[-1] - listed[0] == len(listed) - 1:
        return f"seeds {listed[0]} to {listed[-1]}"
    return f"seed{'s' if len(listed) > 1 else ''} {', '.join(map(str, listed))}"
