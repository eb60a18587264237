"""What all figures share: colours, markers, an empty figure, its finish, and its bytes as SVG and PNG.

Colours are Okabe and Ito's colour-blind-safe palette, and every series has its own marker too. On the page the ink
follows the reader's light or dark scheme; in the files it is black on white.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
"""stands for the colour of text and lines; `inline` makes it the page's own"""
COLOURS = (INK, "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = "osD^vPX*"
WIDTH = 6.4
"""inches; a page shows it at 460 pixels or more"""


class Drawn(NamedTuple):
    """A figure with its alternative text."""

    figure: Figure
    alt: str


def look(k: int) -> dict[str, Any]:
    """Colour and marker of the k-th series."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)]}


def render(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png` bytes, without a date and with fixed ids; laid out once for all kinds."""
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
    """The `<svg>` element alone, to stand inside a page: its ids made the page's own, its ink the page's colour."""
    text = svg.decode()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text)  # known to every HTML parser
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


def finish(figure: Figure | None, axes: Any, title: str, *, rate: bool = True, top: float = 1.0) -> None:  # noqa: ANN401
    """Title, scale and grid; the legend above the plot, so that it hides nothing. A rate's scale goes from 0 to `top`."""
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
    """Above the plot, in as many columns, up to four, as the figure is wide enough for."""
    room = 0.98 * figure.bbox.width  # it stands a little off both edges
    for columns in (4, 3, 2, 1):
        legend = figure.legend(loc="outside upper left", ncols=columns, fontsize=8, labelcolor=INK, frameon=False)
        if legend.get_window_extent(figure.canvas.get_renderer()).width <= room:  # type: ignore[attr-defined]
            return
        if columns > 1:
            legend.remove()


def scale(figure: Figure, axes: Any, mesh: Any, extend: str = "neither") -> None:  # noqa: ANN401
    """A colour scale drawn as shapes, not as an embedded picture."""
    bar = figure.colorbar(mesh, ax=axes, extend=extend)
    bar.outline.set_edgecolor(INK)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(color=INK, labelcolor=INK)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")


def numbers(axes: Any, grid: Any, form: str, middle: float) -> None:  # noqa: ANN401
    """Write the values into the cells of a map, in the ink that is seen on them."""
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if value == value:  # not NaN
                ink = "black" if value > middle else "white"
                axes.text(j + 0.5, i + 0.5, form.format(value), ha="center", va="center", fontsize=8, color=ink)
