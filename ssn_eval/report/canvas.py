"""The functions that all figures share: colours, markers, an empty figure, axis styling, and SVG and PNG bytes.

The colours are the colour-blind-safe palette of Okabe and Ito, and every series has its own marker too. On the page, text
and lines follow the light or dark scheme of the reader; in the files they are black on white.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""placeholder for the colour of text and lines; `inline` replaces it by the colour of the page"""
COLOURS = (INK, "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = "osD^vPX*"
WIDTH = 6.4
"""inches; the page shows a figure at 460 pixels or more"""


class Drawn(NamedTuple):
    """A figure with its alternative text."""

    figure: Figure
    alt: str


def look(k: int) -> dict[str, Any]:
    """Colour and marker of the k-th series."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def render(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png` bytes, without a date and with fixed ids; the layout is computed once for both kinds."""
    import matplotlib as mpl
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    plain = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "ssn_eval", "svg.fonttype": "path"}):
        figure.savefig(buffer, format=kind, dpi=160, metadata=plain, facecolor="none" if kind == "svg" else "white")
    return buffer.getvalue()


def inline(svg: bytes, name: str) -> str:
    """The `<svg>` element for use inside a page: its ids begin with `name`, and its ink is the colour of the page."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)  # an HTML parser does not need the namespaces
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.replace(INK, "currentColor").strip()


def new(height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Any]]:
    """An empty figure as wide as the page, with its panels."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    look: dict[Any, Any] = dict.fromkeys(names, INK)
    with mpl.rc_context({**look, "font.size": 9, "axes.facecolor": "none", "legend.frameon": False}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def finish(figure: Figure | None, axes: Any, title: str, *, rate: bool = True, top: float = 1.0) -> None:
    """Add title, scale, grid, and the legend above the plot; the scale of a rate goes from 0 to `top`."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.grid(axis="y", color="#999999", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if rate:
        from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

        axes.set_ylim(-0.03 * top, 1.03 * top)
        axes.yaxis.set_major_locator(MultipleLocator(0.25) if top == 1 else MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    if figure:
        _legend(figure)


def _legend(figure: Figure) -> None:
    """Add the legend above the plot, in up to four columns, as the width of the figure allows."""
    room = 0.98 * figure.bbox.width  # the legend keeps a small distance from both edges
    for columns in (4, 3, 2, 1):
        legend = figure.legend(loc="outside upper left", ncols=columns, fontsize=8, labelcolor=INK, frameon=False)
        if legend.get_window_extent(figure.canvas.get_renderer()).width <= room:  # type: ignore[attr-defined]
            return
        if columns > 1:
            legend.remove()


def scale(figure: Figure, axes: Any, mesh: Any, extend: str = "neither") -> None:
    """Add a colour scale, drawn as shapes and not as an embedded picture."""
    bar = figure.colorbar(mesh, ax=axes, extend=extend)
    bar.outline.set_edgecolor(INK)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(color=INK, labelcolor=INK)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")


def numbers(axes: Any, grid: Any, form: str, middle: float) -> None:
    """Write the values into the cells of a map, black above `middle` and white below."""
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if value == value:  # not NaN
                ink = "black" if value > middle else "white"
                axes.text(j + 0.5, i + 0.5, form.format(value), ha="center", va="center", fontsize=8, color=ink)
