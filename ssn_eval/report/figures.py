"""The figures of behaviour: refusal by language, factor and training method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.presets import variant
from ssn_eval.core.setnames import SetName
from ssn_eval.report import canvas, maps
from ssn_eval.report.canvas import Drawn, look
from ssn_eval.report.comparisons import SAFE
from ssn_eval.report.results import Condition, Results, factor, method_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SMOOTHED = 8
"""number of steps in the running mean of a loss curve"""


def all_figures(results: Results) -> dict[str, Drawn]:
    """File name → figure; figures without data are left out."""
    refused, trained = "refusal", list(results.trained.values())
    intervened = [c for c in results.main_rows() if c.name.startswith("suppress ") or c.name == "scale:2 ss"]
    by = "by language, a marker with its Wilson 95 % interval for"
    trained_labels = "".join(f", {c.label}" for c in (results.hardened, *results.trained_controls) if c)
    figures = {
        "safety": Drawn(
            safety(results),
            f"Refusal of harmful prompts: base{trained_labels}; a row a language, with 95 % intervals",
        ),
        "suppression": Drawn(
            by_language(results.languages, [results.base, *intervened], refused, "harmful prompts refused"),
            f"Refusal of harmful prompts {by} the base model and each suppressed neuron set",
        ),
    }
    if any(results.main.values()):
        alt = "Lines of mean NHR refusal and of capability against the factor by which each neuron set is scaled"
        figures["amplification"] = Drawn(amplification(results), alt)
    if trained:
        conditions = [results.base, *trained]
        alt = f"Refusal of harmful prompts {by} the base model and each training method"
        figures["training"] = Drawn(by_language(results.languages, conditions, refused, "harmful prompts refused"), alt)
        alt = f"Refusal of harmless prompts {by} the base model and each training method"
        figures["over_refusal"] = Drawn(
            by_language(results.languages, conditions, "harmless_refusal", "harmless prompts refused", least=0.1), alt
        )
    if any(t["loss"] for t in results.training.values()):
        figures["loss"] = Drawn(loss(results), "Training loss by step, one line for each method")
    return figures | maps.all_maps(results)


def safety(results: Results) -> Figure:
    """One row per language: the base model, the hardened model and its random controls, and the limit for a safe language."""
    conditions = [c for c in (results.base, results.hardened, *results.trained_controls) if c]
    figure, (axes,) = canvas.new(0.9 + 0.32 * len(results.languages))
    step = 0.6 / max(2, len(conditions))
    axes.axvline(SAFE, color="#999999", lw=0.8, ls="--")
    for k, condition in enumerate(conditions):
        points = [(i, r) for i, lang in enumerate(results.languages) if (r := condition.rate(lang, "refusal"))]
        places = [i + (k - (len(conditions) - 1) / 2) * step for i, _ in points]
        ends = [[max(0.0, r.value - r.low) for _, r in points], [max(0.0, r.high - r.value) for _, r in points]]
        style = look(2 * k)
        axes.errorbar(
            [r.value for _, r in points], places, xerr=ends, fmt=style["marker"], color=style["color"],
            label=condition.label, ms=5, elinewidth=1,
        )  # fmt: skip
    axes.set_yticks(range(len(results.languages)), [f"{lang} ({results.tier(lang)})" for lang in results.languages])
    axes.set_ylim(len(results.languages) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    canvas.finish(figure, axes, f"harmful prompts refused (dashed: {100 * SAFE:.0f} %)", rate=False)
    return figure


def by_language(
    langs: Sequence[str], conditions: Sequence[Condition], what: str, title: str, least: float = 1.0
) -> Figure:
    """A rate by language for each condition, with Wilson 95 % intervals; the scale ends at `least` or higher."""
    figure, (axes,) = canvas.new(3.4)
    step = 0.8 / len(conditions)
    for k, condition in enumerate(conditions):
        points = [(i, r) for i, lang in enumerate(langs) if (r := condition.rate(lang, what))]
        places = [i + (k - (len(conditions) - 1) / 2) * step for i, _ in points]
        values = [r.value for _, r in points]
        ends = [[max(0.0, r.value - r.low) for _, r in points], [max(0.0, r.high - r.value) for _, r in points]]
        style = look(k)
        axes.errorbar(
            places, values, yerr=ends, fmt=style["marker"], color=style["color"], label=condition.label, ms=4.5, elinewidth=1
        )  # fmt: skip
    for edge in range(1, len(langs)):
        axes.axvline(edge - 0.5, color="#999999", lw=0.4)
    axes.set_xticks(range(len(langs)), langs)
    axes.set_xlim(-0.5, len(langs) - 0.5)
    highest = max((r.high for c in conditions for lang in langs if (r := c.rate(lang, what))), default=least)
    canvas.finish(figure, axes, title, top=min(1.0, max(least, highest)))
    return figure


def amplification(results: Results) -> Figure:
    """Mean NHR refusal and mean capability against the factor, for every set."""
    figure, panels = canvas.new(3.2, columns=2)
    for axes, measure, langs in zip(panels, ("refusal", "capability"), (results.nhr, results.languages), strict=True):
        for k, (name, ops) in enumerate((n, o) for n, o in results.main.items() if o):
            points = sorted(
                [(1.0, results.base), *((factor(op), c) for op, c in ops.items())], key=lambda point: point[0]
            )
            curve = [(alpha, mean) for alpha, c in points if (mean := c.mean(langs, measure)) is not None]
            label = SetName.parse(name).label if measure == "refusal" else None
            axes.plot([a for a, _ in curve], [m for _, m in curve], ms=4, lw=1.2, label=label, **look(k + 1))
        axes.axvline(1.0, color="#999999", lw=0.6, ls=":")
        axes.set_xlabel("factor α (0: suppressed, 1: unchanged)", fontsize=8)
        title = "mean NHR refusal" if measure == "refusal" else "mean capability"
        canvas.finish(figure if measure == "refusal" else None, axes, title)
    return figure


def loss(results: Results) -> Figure:
    """Training loss by step, as a running mean over `SMOOTHED` steps."""
    import numpy as np

    figure, (axes,) = canvas.new(3.0)
    for k, (method, training) in enumerate((m, t) for m, t in results.training.items() if not variant(m).leave_out):
        curve: Any = training["loss"]
        steps, values = np.array([e["step"] for e in curve]), np.array([e["loss"] for e in curve], float)
        width = min(SMOOTHED, len(values))
        means = np.convolve(values, np.ones(width) / width, "valid") if width else values
        axes.plot(
            steps[width - 1 :] if width else steps, means, ms=4, lw=1.2, markevery=max(1, len(means) // 8),
            label=method_label(method), **look(k + 1),
        )  # fmt: skip
    axes.set_xlabel("step")
    canvas.finish(figure, axes, "loss on response tokens", rate=False)
    return figure
