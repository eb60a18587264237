"""The figures, as matplotlib figures; SVG and PNG with equal bytes for equal numbers.

Colours are Okabe and Ito's colour-blind-safe palette, and every series has its own marker too. On the page the ink
follows the reader's light or dark scheme; in the files it is black on white.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.neurons import SITES, parse_key
from ssn_eval.report.results import Condition, Results, factor

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


def all_figures(results: Results) -> dict[str, Drawn]:
    """File name → figure; those without any data are left out."""
    refused, trained = "refusal", list(results.trained.values())
    changed = [c for c in results.rows() if c.name.startswith("suppress ") or c.name == "scale:2 ss"]
    by = "by language, a marker with its Wilson 95 % interval for"
    drawn = {
        "suppression": Drawn(
            by_language(results, [results.base, *changed], refused, "harmful prompts refused"),
            f"Refusal of harmful prompts {by} the base model and each suppressed neuron set",
        ),
        "neurons": Drawn(heat_map(results), "Heat maps of how many SS- and MS-Neurons each layer and site holds"),
        "overlap": Drawn(overlap(results), "Matrix of the Jaccard overlap of the languages' MS-Neurons"),
    }
    if any(results.interventions.values()):
        alt = "Lines of mean NHR refusal and of capability against the factor by which each neuron set is scaled"
        drawn["amplification"] = Drawn(amplification(results), alt)
    if trained:
        both = [results.base, *trained]
        alt = f"Refusal of harmful prompts {by} the base model and each training method"
        drawn["training"] = Drawn(by_language(results, both, refused, "harmful prompts refused"), alt)
        alt = f"Refusal of harmless prompts {by} the base model and each training method"
        drawn["over_refusal"] = Drawn(by_language(results, both, "harmless_refusal", "harmless prompts refused"), alt)
    if results.select["sensitivity"]:
        drawn["sensitivity"] = Drawn(sensitivity(results), "Lines of the mean number of MS- and SS-Neurons against p")
    if any(t["loss"] for t in results.training.values()):
        drawn["loss"] = Drawn(loss(results), "Training loss by step, one line for each method")
    return drawn


def by_language(results: Results, conditions: Sequence[Condition], what: str, title: str) -> Figure:
    """A rate by language, the conditions side by side, with Wilson 95 % intervals."""
    figure, (axes,) = _new(3.4)
    step = 0.8 / len(conditions)
    for k, condition in enumerate(conditions):
        known = [(i, r) for i, lang in enumerate(results.languages) if (r := condition.rate(lang, what))]
        places = [i + (k - (len(conditions) - 1) / 2) * step for i, _ in known]
        values = [r.value for _, r in known]
        ends = [[max(0.0, r.value - r.low) for _, r in known], [max(0.0, r.high - r.value) for _, r in known]]
        look = {"fmt": MARKERS[k % len(MARKERS)], "color": COLOURS[k % len(COLOURS)], "ms": 4.5, "elinewidth": 1}
        axes.errorbar(places, values, yerr=ends, label=condition.label, **look)
    for edge in range(1, len(results.languages)):
        axes.axvline(edge - 0.5, color="#999999", lw=0.4)
    axes.set_xticks(range(len(results.languages)), results.languages)
    axes.set_xlim(-0.5, len(results.languages) - 0.5)
    _finish(figure, axes, title)
    return figure


def amplification(results: Results) -> Figure:
    """Mean NHR refusal and mean capability over the whole range of the factor, for every set."""
    figure, panels = _new(3.2, columns=2)
    for axes, what, langs in zip(panels, ("refusal", "capability"), (results.nhr, results.languages), strict=True):
        for k, (name, ops) in enumerate((n, o) for n, o in results.interventions.items() if o):
            points = sorted(
                [(1.0, results.base), *((factor(op), c) for op, c in ops.items())], key=lambda point: point[0]
            )
            known = [(alpha, mean) for alpha, c in points if (mean := c.mean(langs, what)) is not None]
            look: dict[str, Any] = {"color": COLOURS[(k + 1) % len(COLOURS)], "marker": MARKERS[(k + 1) % len(MARKERS)]}
            label = name.replace("_", " ") if what == "refusal" else None
            axes.plot([a for a, _ in known], [m for _, m in known], ms=4, lw=1.2, label=label, **look)
        axes.axvline(1.0, color="#999999", lw=0.6, ls=":")
        axes.set_xlabel("factor α (0: suppressed, 1: unchanged)", fontsize=8)
        _finish(
            figure if what == "refusal" else None, axes, "mean NHR refusal" if what == "refusal" else "mean capability"
        )
    return figure


def heat_map(results: Results) -> Figure:
    """Neurons by layer and site, for SS and MS_HR; written into the cells where they fit."""
    import numpy as np

    shown = ("ss", "ms_hr")
    layers = layer_count(
        results, [parse_key(key)[0] for name in shown for key in results.select["per_key"].get(name, {})]
    )
    figure, panels = _new(4.4, rows=2)
    for axes, name in zip(panels, shown, strict=True):
        grid = np.zeros((len(SITES), layers))
        for key, count in results.select["per_key"].get(name, {}).items():
            layer, site = parse_key(key)
            grid[SITES.index(site), layer] = count
        mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=max(1.0, float(grid.max())))
        if layers <= 16:
            _numbers(axes, grid, "{:.0f}", max(1.0, float(grid.max())) / 2)
        axes.set_yticks([i + 0.5 for i in range(len(SITES))], SITES)
        ticks = range(0, layers, max(1, layers // 12))
        axes.set_xticks([i + 0.5 for i in ticks], ticks)
        axes.invert_yaxis()
        axes.set_xlabel("layer")
        axes.set_title(f"{'SS' if name == 'ss' else f'MS of {results.hr}'}: {int(grid.sum())} neurons", fontsize=9)
        _scale(figure, axes, mesh)
    return figure


def layer_count(results: Results, seen: Sequence[int]) -> int:
    """The model's number of layers, from its geometry or else from the neurons that were seen."""
    geometry = (results.select.get("model") or {}).get("geometry") or {}
    return max(int(geometry.get("layers", 0)), 1 + max(seen, default=0))


def overlap(results: Results) -> Figure:
    """Jaccard index of every two languages' MS-Neurons."""
    import numpy as np

    figure, (axes,) = _new(4.2)
    matrix, langs = results.select["jaccard"], results.languages
    grid = np.array([[float(matrix.get(a, {}).get(b, "nan")) for b in langs] for a in langs])
    apart = grid[~np.eye(len(langs), dtype=bool)]
    top = max(0.05, float(np.nanmax(apart, initial=0.0)))
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=top)  # the diagonal is 1 and would hide the rest
    _numbers(axes, grid, "{:.2f}", top / 2)
    middle = [i + 0.5 for i in range(len(langs))]
    axes.set_xticks(middle, langs)
    axes.set_yticks(middle, langs)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    _scale(figure, axes, mesh, extend="max")
    return figure


def sensitivity(results: Results) -> Figure:
    """Mean size over languages of MS (dashed) and SS (NHR only, solid) against p, by group of sites."""
    figure, (axes,) = _new(3.0)
    rows = results.select["sensitivity"]
    for k, group in enumerate(dict.fromkeys(row["sites"] for row in rows)):
        for what, style in (("ms", "--"), ("ss", "-")):
            chosen = [r for r in rows if r["sites"] == group and (what == "ms" or r["lang"] != results.hr)]
            by_p = {p: [r[what] for r in chosen if r["p"] == p] for p in sorted({r["p"] for r in chosen})}
            means = [sum(v) / len(v) for v in by_p.values()]
            look: dict[str, Any] = {
                "color": COLOURS[k % len(COLOURS)],
                "marker": MARKERS[k % len(MARKERS)],
                "ls": style,
            }
            axes.plot(list(by_p), means, ms=4, lw=1.2, label=f"{what.upper()}, {group}", **look)
    axes.set_xlabel("p, % of a layer's neurons")
    axes.set_yscale("symlog", linthresh=10)
    _finish(figure, axes, "mean number of neurons", rate=False)
    return figure


def loss(results: Results) -> Figure:
    """Training loss by step."""
    figure, (axes,) = _new(3.0)
    for k, (method, training) in enumerate(results.training.items()):
        curve, look = (
            training["loss"],
            {"color": COLOURS[(k + 1) % len(COLOURS)], "marker": MARKERS[(k + 1) % len(MARKERS)]},
        )
        axes.plot(
            [e["step"] for e in curve], [e["loss"] for e in curve], ms=3, lw=1.2, label=method.replace("_", " "), **look
        )
    axes.set_xlabel("step")
    _finish(figure, axes, "loss on response tokens", rate=False)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png` bytes, without a date and with fixed ids."""
    import matplotlib as mpl

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


def _new(height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Any]]:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
    look: dict[Any, Any] = dict.fromkeys(names, INK)
    with mpl.rc_context({**look, "font.size": 9, "axes.facecolor": "none", "legend.frameon": False}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _finish(figure: Figure | None, axes: Any, title: str, *, rate: bool = True) -> None:  # noqa: ANN401
    """Title, scale and grid; the legend above the plot, so that it hides nothing."""
    axes.set_title(title, fontsize=9, loc="left")
    axes.grid(axis="y", color="#999999", lw=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if rate:
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    if figure:
        figure.legend(loc="outside upper left", ncols=4, fontsize=8, labelcolor=INK, frameon=False)


def _scale(figure: Figure, axes: Any, mesh: Any, extend: str = "neither") -> None:  # noqa: ANN401
    """A colour scale drawn as shapes, not as an embedded picture."""
    bar = figure.colorbar(mesh, ax=axes, extend=extend)
    bar.outline.set_edgecolor(INK)  # pyright: ignore[reportCallIssue]
    bar.ax.tick_params(color=INK, labelcolor=INK)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)
        bar.solids.set_edgecolor("face")


def _numbers(axes: Any, grid: Any, form: str, middle: float) -> None:  # noqa: ANN401
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            if value == value:  # not NaN
                ink = "black" if value > middle else "white"
                axes.text(j + 0.5, i + 0.5, form.format(value), ha="center", va="center", fontsize=8, color=ink)
