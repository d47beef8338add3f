"""Stray seeds: seeds whose accuracy is far from the others, for instance after a collapse.

The rule: sort the mean accuracies of a cell's seeds and split them at the widest gap. Where that
gap is wider than 5 points and wider than the spread within either group, the smaller group is
stray; of two equal groups, the lower. With seeds from one normal distribution it names a stray one
in at most 0.1% of cells for standard deviations up to 1 point, whatever the number of seeds; with 2
points, in 8% of cells of two seeds, 5% of three, 2% of five and 0.4% of ten.
"""

from __future__ import annotations

from collections.abc import Sequence

from repro.analysis.text import percent

APART = 0.05  # a fraction


def strays(means: Sequence[float]) -> tuple[int, ...]:
    """Places of the stray ones among mean accuracies (fractions); empty where there is none."""
    order = sorted(range(len(means)), key=lambda i: means[i])
    values = [means[i] for i in order]
    if len(values) < 2:
        return ()
    cut = max(range(1, len(values)), key=lambda i: values[i] - values[i - 1])
    gap = values[cut] - values[cut - 1]
    within = max(values[cut - 1] - values[0], values[-1] - values[cut])
    if gap <= max(APART, within):
        return ()
    return tuple(sorted(order[:cut] if cut <= len(values) - cut else order[cut:]))


def stray_note(name: str, seeds: Sequence[int], means: Sequence[float]) -> list[str]:
    """A sentence that names the stray seeds of a cell and where the others lie."""
    found = strays(means)
    if not found:
        return []
    listed = ", ".join(f"seed {seeds[i]} ({percent(means[i])})" for i in found)
    others = sorted(means[i] for i in range(len(means)) if i not in found)
    between = percent(others[0])
    if len(others) > 1:
        between += f" to {percent(others[-1])}"
    return [
        f"Stray seeds: {name} {listed}, against {between} of the other"
        f"{'s' if len(others) > 1 else ''}; the mean over seeds hides them."
    ]
