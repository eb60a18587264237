"""The figures, as matplotlib figures; SVG and PNG with equal bytes for equal numbers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ssn_eval.neurons import SITES, parse_key
from ssn_eval.report.results import Condition, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000")
"""Okabe and Ito's colour-blind-safe palette"""


def all_figures(results: Results) -> dict[str, tuple[Figure, str]]:
    """File name → figure and its alternative text."""
    return {
        "refusal": (refusal(results), "Bars of refusal by language for the base model and the main interventions and trainings, with Wilson intervals"),
        "amplification": (amplification(results), "Lines of mean NHR refusal and capability against the factor by which SS-Neurons are scaled"),
        "neurons": (heat_map(results), "Heat maps of how many SS- and English MS-Neurons each layer and site holds"),
        "overlap": (overlap(results), "Matrix of the Jaccard overlap of the languages' MS-Neurons"),
    }


def refusal(results: Results) -> Figure:
    """Refusal by language, the main conditions side by side, with Wilson 95 % intervals."""
    figure, axes = _new(9, 3.6)
    main = [(n, c) for n, c in results.rows() if n in ("base", "suppress ss", "suppress random_0", "scale:2 ss", "train ssn", "train random")]
    width = 0.8 / max(1, len(main))
    for k, (name, condition) in enumerate(main):
        rates = [condition.rate(lang, "refusal") for lang in results.languages]
        places = [i + (k - (len(main) - 1) / 2) * width for i in range(len(rates))]
        heights = [r.value if r else 0.0 for r in rates]
        errors = [[max(0.0, r.value - r.low) if r else 0.0 for r in rates], [max(0.0, r.high - r.value) if r else 0.0 for r in rates]]
        axes.bar(places, heights, width, yerr=errors, label=name, color=COLOURS[k % len(COLOURS)], error_kw={"lw": 0.8})
    axes.set_xticks(range(len(results.languages)), results.languages)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("refusal of harmful prompts")
    axes.legend(fontsize=7, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def amplification(results: Results) -> Figure:
    """Mean NHR refusal and capability over the whole range of the factor, for SS and the first random control."""
    figure, axes = _new(6, 3.2)
    for k, name in enumerate(n for n in ("ss", "random_0") if results.interventions.get(n)):
        points: list[tuple[float, Condition]] = [(1.0, results.base)]
        points += [(0.0 if op == "suppress" else float(op.split(":")[1]), c) for op, c in results.interventions[name].items()]
        points.sort(key=lambda point: point[0])
        for what, style in (("refusal", "-"), ("capability", ":")):
            langs = results.nhr if what == "refusal" else results.languages
            known = [(a, m) for a, c in points if (m := c.mean(langs, what)) is not None]
            label = f"{name}: {'NHR refusal' if what == 'refusal' else what}"
            axes.plot([a for a, _ in known], [m for _, m in known], style, marker="o", ms=3, color=COLOURS[k], label=label)
    axes.set_xlabel("factor (0 = suppressed, 1 = unchanged)")
    axes.set_ylim(-0.02, 1.05)
    axes.legend(fontsize=7)
    return figure


def heat_map(results: Results) -> Figure:
    """Neurons by layer and site, for SS and MS_HR."""
    import numpy as np

    figure, axes = _new(8, 3.2, columns=2)
    layers = int(results.select["model"]["geometry"]["layers"])
    for axis, name in zip(axes, ("ss", "ms_hr"), strict=True):
        grid = np.zeros((len(SITES), layers))
        for key, count in results.select["per_key"].get(name, {}).items():
            layer, site = parse_key(key)
            grid[SITES.index(site), layer] = count
        image = axis.imshow(grid, cmap="cividis", aspect="auto")
        axis.set_yticks(range(len(SITES)), SITES)
        axis.set_xlabel("layer")
        axis.set_title(f"{name}: {int(grid.sum())} neurons", fontsize=9)
        figure.colorbar(image, ax=axis)
    return figure


def overlap(results: Results) -> Figure:
    """Jaccard index of every two languages' MS-Neurons."""
    figure, axes = _new(4.6, 3.8)
    matrix = results.select["jaccard"]
    grid = [[matrix[a][b] for b in results.languages] for a in results.languages]
    image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=1)
    for i, row in enumerate(grid):
        for j, value in enumerate(row):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="black" if value > 0.5 else "white")
    axes.set_xticks(range(len(grid)), results.languages)
    axes.set_yticks(range(len(grid)), results.languages)
    figure.colorbar(image, ax=axes)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """A figure as `svg` or `png` bytes, without a date and with fixed ids."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "ssn_eval", "svg.fonttype": "path"}):
        figure.savefig(buffer, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return buffer.getvalue()


def _new(width: float, height: float, columns: int = 1):  # noqa: ANN202
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns)
