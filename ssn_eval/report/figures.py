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


