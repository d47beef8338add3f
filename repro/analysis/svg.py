"""Small charts as inline SVG: a handful of elements whose colours the page's style sets.

Unlike the figures of matplotlib these follow dark mode and keep their text at a readable size on a
phone. Text and attributes are escaped; the same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

Point = tuple[float, float]


def number(value: float) -> str:
    """Px with one decimal at most: ``12``, ``12.5``."""
    shown = f"{value:.1f}".removesuffix(".0")
    return "0" if shown == "-0" else shown


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """One element; children that are plain strings are escaped.

    A trailing underscore of a name falls away, others become hyphens.
    """
    listed = "".join(
        f' {name.rstrip("_").replace("_", "-")}="'
        f'{escape(number(value) if isinstance(value, int | float) else value)}"'
        for name, value in attributes.items()
    )
    inner = Markup("").join(children)
    return Markup(f"<{tag}{listed}>{inner}</{tag}>" if inner else f"<{tag}{listed}/>")


@dataclass(frozen=True)
class Frame:
    """A plotting area in px within a picture, and the data's ranges along it."""

    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    left: float = 42
    right: float = 8
    top: float = 8
    bottom: float = 26

    def x(self, value: float) -> float:
        low, high = self.x_range
        span = self.width - self.left - self.right
        return self.left + (value - low) / (high - low or 1) * span

    def y(self, value: float) -> float:
        low, high = self.y_range
        span = self.height - self.top - self.bottom
        return self.height - self.bottom - (value - low) / (high - low or 1) * span

    def line(self, points: Iterable[Point], **attributes: str | float) -> Markup:
        """A polyline through data points."""
        path = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)
        return element("polyline", points=path, **attributes)

    def area(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float],
             **attributes: str | float) -> Markup:  # fmt: skip
        """The band between two curves."""
        points = [*zip(xs, high, strict=True), *zip(reversed(xs), reversed(low), strict=True)]
        path = " ".join(f"{number(self.x(x))},{number(self.y(y))}" for x, y in points)
        return element("polygon", points=path, **attributes)

    def x_axis(self, ticks: Sequence[tuple[float, str]]) -> Markup:
        """Grid lines and labels along the bottom."""
        bottom = self.height - self.bottom
        parts = []
        for value, label in ticks:
            at = self.x(value)
            parts.append(element("line", x1=at, x2=at, y1=self.top, y2=bottom, class_="grid"))
            parts.append(element("text", label, x=at, y=bottom + 15, class_="tick middle"))
        parts.append(
            element("line", x1=self.left, x2=self.width - self.right, y1=bottom, y2=bottom,
                    class_="axis")
        )  # fmt: skip
        return Markup("").join(parts)

    def y_axis(self, ticks: Sequence[tuple[float, str]]) -> Markup:
        """Grid lines and labels along the left."""
        parts = []
        for value, label in ticks:
            at = self.y(value)
            right = self.width - self.right
            parts.append(element("line", x1=self.left, x2=right, y1=at, y2=at, class_="grid"))
            parts.append(element("text", label, x=self.left - 5, y=at + 4, class_="tick end"))
        return Markup("").join(parts)

    def picture(self, label: str, *children: str) -> Markup:
        """The whole SVG, announced to screen readers by ``label``."""
        view = f"0 0 {number(self.width)} {number(self.height)}"
        return element("svg", *children, viewBox=view, role="img", aria_label=label)
