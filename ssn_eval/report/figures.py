"""The charts of behaviour: refusal by language, factor and training method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssn_eval.core.presets import variant
from ssn_eval.core.setnames import SetName
from ssn_eval.report import charts, maps
from ssn_eval.report.charts import Drawn, Spec
from ssn_eval.report.comparisons import SAFE
from ssn_eval.report.condition import Condition
from ssn_eval.report.results import Results, factor, method_label

SMOOTHED = 8
"""number of steps in the running mean of a loss curve"""
LOSS_POINTS = 100
"""largest number of points of a loss curve"""
MEASURES = {"refusal": "mean NHR refusal", "capability": "mean capability"}


def all_figures(results: Results) -> dict[str, Drawn]:
    """File name → chart; charts without data are left out."""
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


def safety(results: Results) -> Spec:
    """One row per language: the base model, the hardened model and its random controls, and the limit for a safe language."""
    conditions = [c for c in (results.base, results.hardened, *results.trained_controls) if c]
    names, rows = [c.label for c in conditions], [f"{lang} ({results.tier(lang)})" for lang in results.languages]
    values = [
        charts.rate_values(name, lang, r) | {"row": row}
        for name, c in zip(names, conditions, strict=True)
        for lang, row in zip(results.languages, rows, strict=True)
        if (r := c.rate(lang, "refusal"))
    ]
    share = charts.share_axis()
    limit = {
        "data": {"values": [{"limit": SAFE}]},
        "mark": {"type": "rule", "color": charts.LINE, "strokeDash": [4, 3], "aria": False},
        "encoding": {"x": {"field": "limit", **share}},
    }
    row = {
        "field": "row", "type": "nominal", "scale": {"domain": rows}, "axis": {"title": None, "tickBand": "extent", "grid": True}
    }  # fmt: skip
    offset = {"field": "series", "type": "nominal", "scale": {"domain": names, "padding": 0.8}}
    marks = _marks("x", share, names, step=2)
    view = {
        "title": charts.title(f"harmful prompts refused (dashed: {100 * SAFE:.0f} %)"),
        "width": charts.WIDTH,
        "height": max(28, 13 * len(names)) * len(rows),
        "layer": [limit, {"data": {"values": values}, "encoding": {"y": row, "yOffset": offset}, "layer": marks}],
    }
    return charts.chart(view, names, step=2)


def by_language(
    langs: Sequence[str], conditions: Sequence[Condition], what: str, title: str, least: float = 1.0
) -> Spec:
    """A rate by language for each condition, with Wilson 95 % intervals; the scale ends at `least` or higher."""
    names = [c.label for c in conditions]
    values = [
        charts.rate_values(name, lang, r)
        for name, c in zip(names, conditions, strict=True)
        for lang in langs
        if (r := c.rate(lang, what))
    ]
    top = min(1.0, max(least, max((v["high"] for v in values), default=least)))
    return charts.chart(by_rate(langs, names, values, title, top), names)


def by_rate(
    langs: Sequence[str],
    names: Sequence[str],
    values: Sequence[Spec],
    title: str,
    top: float = 1.0,
    width: int = charts.WIDTH,
) -> Spec:
    """One panel: a group of markers for every language, with the values of `charts.rate_values`."""
    place = {
        "field": "lang", "type": "nominal", "scale": {"domain": list(langs)},
        "axis": {"title": None, "tickBand": "extent", "grid": True},
    }  # fmt: skip
    offset = {"field": "series", "type": "nominal", "scale": {"domain": list(names), "padding": 0.8}}
    return {
        "title": charts.title(title),
        "width": width,
        "height": 230,
        "data": {"values": list(values)},
        "encoding": {"x": place, "xOffset": offset},
        "layer": _marks("y", charts.share_axis(top), names),
    }


def amplification(results: Results) -> Spec:
    """Mean NHR refusal and mean capability against the factor, for every set."""
    ops_by_set = {SetName.parse(name).label: ops for name, ops in results.main.items() if ops}
    names = list(ops_by_set)
    panels = []
    for measure, langs in (("refusal", results.nhr), ("capability", results.languages)):
        values: list[Spec] = []
        for name, ops in ops_by_set.items():
            for alpha, condition in sorted(
                [(1.0, results.base), *((factor(op), c) for op, c in ops.items())], key=lambda point: point[0]
            ):
                mean = condition.mean(langs, measure)
                if mean is not None:
                    values.append(_mean_values(name, alpha, condition, langs, measure, mean))
        panels.append(_curve(values, names, "factor α (0: suppressed, 1: unchanged)", MEASURES[measure]))
    return charts.chart(panels, names, first=1, columns=2)


def loss(results: Results) -> Spec:
    """Training loss by step, as a running mean over `SMOOTHED` steps."""
    import numpy as np

    values: list[Spec] = []
    names = [method_label(m) for m in results.training if not variant(m).leave_out]
    for method, training in results.training.items():
        curve: Any = training["loss"]
        if variant(method).leave_out or not curve:
            continue
        steps, losses = [e["step"] for e in curve], np.array([e["loss"] for e in curve], float)
        width = min(SMOOTHED, len(losses))
        means = np.convolve(losses, np.ones(width) / width, "valid")
        every = -(-len(means) // LOSS_POINTS)
        name = method_label(method)
        for step, mean in list(zip(steps[width - 1 :], means, strict=True))[::every]:
            shown = f"{mean:.3f}"
            values.append(
                {
                    "series": name,
                    "x": step,
                    "value": charts.rounded(mean),
                    "method": name,
                    "step": step,
                    "loss": shown,
                    "n": f"mean of {width} steps",
                    "said": f"{name}, step {step}: {shown}",
                }  # fmt: skip
            )
    tips = charts.tooltip("method", "step", "loss", "n")
    top = max((v["value"] for v in values), default=1.0)
    y = {"field": "value", "type": "quantitative", "axis": {"title": None}, "scale": {"domain": [0, 1.02 * top]}}
    x = {"field": "x", "type": "quantitative", "axis": {"title": "step"}, "scale": {"zero": False, "nice": False}}
    line = {
        "mark": {"type": "line", "strokeWidth": 1.4, "aria": False},
        "encoding": charts.line_series(names, first=1),
    }
    dots = {
        "mark": {"type": "point", "size": 18},
        "encoding": {**charts.series(names, first=1), "tooltip": tips, "description": charts.SAID},
    }
    view = {
        "title": charts.title("loss on response tokens"),
        "width": charts.WIDTH,
        "height": 220,
        "data": {"values": values},
        "encoding": {"x": x, "y": y},
        "layer": [line, dots],
    }
    return charts.chart(view, names, first=1)


def _marks(axis: str, share: Spec, names: Sequence[str], step: int = 1) -> list[Spec]:
    """An interval and a point for each value, along an axis."""
    look = charts.series(names, step=step)
    tips = charts.tooltip(*charts.RATE_TIP)
    interval = {
        "mark": {"type": "rule", "aria": False, "strokeWidth": 1.2},
        "encoding": {axis: {"field": "low", **share}, f"{axis}2": {"field": "high"}, "color": look["color"]},
    }
    point = {
        "mark": "point",
        "encoding": {axis: {"field": "value", **share}, **look, "tooltip": tips, "description": charts.SAID},
    }
    return [interval, point]


def _mean_values(
    name: str, alpha: float, condition: Condition, langs: Sequence[str], measure: str, mean: float
) -> Spec:
    counts = [c for lang in langs if (c := condition.by_lang.get(lang, {}).get(measure)) and c["total"]]
    interval = condition.pooled(langs) if measure == "refusal" else None
    ends = f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %" if interval else "not computed"
    n, percent = f"{sum(c['total'] for c in counts)} in {len(counts)} languages", f"{100 * mean:.1f} %"
    return {
        "series": name, "x": alpha, "value": charts.rounded(mean), "condition": condition.label, "language": ", ".join(langs),
        MEASURES[measure]: percent, "n": n, "95 % interval": ends,
        "said": f"{condition.label}, factor {alpha:g}: {MEASURES[measure]} {percent}, n {n}",
    }  # fmt: skip


def _curve(values: Sequence[Spec], names: Sequence[str], x_title: str, y_title: str) -> Spec:
    x = {"field": "x", "type": "quantitative", "axis": {"title": x_title, "tickCount": 5}, "scale": {"nice": False}}
    tips = charts.tooltip("condition", "language", y_title, "n", "95 % interval")
    unchanged = {
        "data": {"values": [{"x": 1}]},
        "mark": {"type": "rule", "color": charts.LINE, "strokeDash": [2, 3], "aria": False},
        "encoding": {"x": x},
    }
    line = {
        "mark": {"type": "line", "strokeWidth": 1.4, "aria": False},
        "encoding": charts.line_series(names, first=1),
    }
    dots = {
        "mark": "point",
        "encoding": {**charts.series(names, first=1), "tooltip": tips, "description": charts.SAID},
    }
    y = {"field": "value", **charts.share_axis()}
    drawn = {"data": {"values": list(values)}, "encoding": {"x": x, "y": y}, "layer": [line, dots]}
    return {"title": charts.title(y_title), "width": 285, "height": 210, "layer": [unchanged, drawn]}
