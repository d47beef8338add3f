"""One style for all figures, and image files whose bytes depend only on the numbers."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import seaborn
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter

from repro.analysis.text import percent
from repro.papers.catalogue import order
from repro.system import storage

# seaborn's colour-blind safe palette, by its own numbers; one colour per method, everywhere.
_PALETTE = seaborn.color_palette("colorblind").as_hex()
COLORS = {
    "finetune": _PALETTE[1],
    "nearest_neighbor": _PALETTE[9],
    "matching_net": _PALETTE[2],
    "matching_net_fce": _PALETTE[4],
    "meta_lstm": _PALETTE[0],
}
# For rows that the paper does not have: told from those above, from the ink and from one another
# with any kind of colour vision (a test computes it).
OTHERS = ("#603000", "#9000f0", "#183090", "#c0a860", "#784878", "#481860", "#9078f0", "#a86030")
INK = "#222222"
MUTED = "#767676"
ACCENT = _PALETTE[3]  # reference lines
SHADES = LinearSegmentedColormap.from_list("shades", ["white", _PALETTE[0]])
DPI = 150
HEADING_SIZE = 10  # points
_RC: Any = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "svg.fonttype": "path",
    "svg.hashsalt": "repro",
    "text.color": INK,
    "text.parse_math": False,  # titles and names are text, a $ in them too
    "xtick.color": INK,
    "xtick.labelsize": 8,
    "ytick.color": INK,
    "ytick.labelsize": 8,
}


def colors(methods: Iterable[str]) -> dict[str, str]:
    """A colour for each of the paper's rows and of ``methods``.

    A row that the paper does not have keeps its own, found by its name, wherever that is free;
    beyond as many as there are, colours repeat.
    """
    found = dict(COLORS)
    for method in sorted(set(methods) - set(COLORS), key=order):
        first = zlib.crc32(method.encode()) % len(OTHERS)
        turned = OTHERS[first:] + OTHERS[:first]
        found[method] = next((c for c in turned if c not in found.values()), turned[0])
    return found


@contextmanager
def applied() -> Iterator[None]:
    """Draw in the one style whatever the user's own settings are, and leave those as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) drawn by Agg, known to no window; use within :func:`applied`."""
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def heading(fig: Figure, text: str) -> None:
    """A title over the whole figure, in as many lines as its width asks for."""
    limit = 0.97 * fig.bbox.width
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(fig, longer) <= limit:
            lines[-1] = longer
        else:
            lines.append(word)
    while lines and any(_width(fig, line) > limit for line in lines):  # one word may be too long
        long = next(line for line in lines if _width(fig, line) > limit)
        at, half = lines.index(long), len(long) // 2
        lines[at : at + 1] = [long[:half], long[half:]]
    fig.suptitle("\n".join(lines), fontsize=HEADING_SIZE, parse_math=False)


def _width(fig: Figure, text: str) -> float:
    """Of one line of a heading, in pixels."""
    font = FontProperties(family=matplotlib.rcParams["font.family"], size=HEADING_SIZE)
    renderer: Any = fig.canvas.get_renderer()  # type: ignore[attr-defined]
    return float(renderer.get_text_width_height_descent(text, font, ismath=False)[0])


def percent_axis() -> FuncFormatter:
    """Labels of an axis of fractions, in percent."""
    return FuncFormatter(lambda value, _: f"{percent(value, digits=0)}%")


def inline(fig: Figure, label: str) -> Markup:
    """The figure as an SVG element for a page, announced to screen readers by ``label``.

    Text stays text, the ground is the page's, and ids of different labels differ. The same figure
    gives the same bytes.
    """
    buffer = io.StringIO()
    for patch in (fig.patch, *(axes.patch for axes in fig.axes)):
        patch.set_facecolor("none")
    with matplotlib.rc_context({"svg.hashsalt": label, "svg.fonttype": "none"}):
        # In place of savefig, which would draw twice.
        canvas: Any = FigureCanvasSVG(fig)
        canvas.print_svg(buffer, metadata={"Date": None})
    found = buffer.getvalue()
    view = re.search(r'viewBox="[^"]*"', found)
    assert view is not None
    body = found[found.index(">", found.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, count=1, flags=re.S)
    # Of groups; those of markers and clip paths are referred to, and hashed.
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    head = Markup('<svg {} role="img" aria-label="{}">').format(Markup(view[0]), label)
    return head + Markup(re.sub(r"\s*\n\s*", "\n", body).strip())


def save(fig: Figure, path: Path) -> list[Path]:
    """Write ``path`` + ``.png`` and ``.svg`` atomically; the same figure gives the same bytes.

    Raises:
        StorageError: the folder cannot be written.
    """
    # The empty entries keep date and version out of the files.
    metadata: dict[str, dict[str, None]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
    }
    written = []
    for kind, entries in metadata.items():
        buffer = io.BytesIO()
        with matplotlib.rc_context({"svg.hashsalt": "repro", "svg.fonttype": "path"}):
            fig.savefig(buffer, format=kind, dpi=DPI, metadata=entries)
        target = path.with_name(f"{path.name}.{kind}")
        storage.write_bytes(target, buffer.getvalue())
        written.append(target)
    return written
