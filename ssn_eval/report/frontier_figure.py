"""The chart of the frontier: harmful prompts refused against harmless prompts refused and against capability lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssn_eval.core.sweep import FrontierParams
from ssn_eval.report import charts
from ssn_eval.report.charts import Spec
from ssn_eval.report.frontier import LABELS, Point, envelope, height

MARGIN = 0.04
"""room between the data and the edge of a panel, as a share of the panel"""
_BASE = "base"


def draw(found: Mapping[str, Any], settings: FrontierParams) -> Spec:
    """Two panels per scenario: every run as a faint marker, and the mean frontier of each method over seeds as a line.

    The axes end where the data end, and no later than at the largest harmless refusal of the settings.
    """
    names = list(dict.fromkeys(_name(m) for s in found["scenarios"].values() for m in s["methods"]))
    panels = []
    for name, scenario in found["scenarios"].items():
        langs = scenario["languages"]
        heading = f"{name}: {'NHR' if len(langs) > 1 else langs[0]} refused"
        for cost, limit, x_title in (
            (
                "over_refusal",
                settings.capability_lost,
                f"harmless prompts refused (capability lost ≤ {settings.capability_lost:g})",
            ),
            ("lost", settings.matched[-1], f"capability lost (harmless refused ≤ {settings.matched[-1]:g})"),
        ):
            panels.append(_panel(scenario, names, cost, limit, settings.over_refusal, heading, x_title))
    return charts.chart(panels, names, columns=2)


def mean_staircase(runs: Sequence[Sequence[tuple[float, float]]], until: float) -> list[tuple[float, float]]:
    """The mean of staircases as the corners of a staircase, from the first cost that every one of them reaches to `until`.

    Args:
        runs: the corners `[(cost, refused)]` of each seed, both rising.
        until: the largest cost.
    """
    if not runs or not all(runs):
        return []
    start = max(corners[0][0] for corners in runs)
    costs = sorted({start, until, *(x for corners in runs for x, _ in corners if start < x < until)})
    return [(x, sum(height(corners, x) for corners in runs) / len(runs)) for x in costs if start <= x <= until]


def _panel(
    scenario: Mapping[str, Any],
    names: Sequence[str],
    cost: str,
    limit: float,
    cost_limit: float,
    heading: str,
    x_title: str,
) -> Spec:
    rival = "lost" if cost == "over_refusal" else "over_refusal"
    dots: list[Spec] = []
    corners_by_method: dict[str, list[list[tuple[float, float]]]] = {}
    for method, value in scenario["methods"].items():
        name = _name(method)
        corners_by_method[name] = []
        for seed, points in value["points"].items():
            runs = [Point(*p) for p in points]
            start = Point(*scenario["base_points"][seed.partition(".")[0]])
            corners_by_method[name].append(envelope([start, *runs], limit, cost, cost_limit))
            dots += [
                _dot(name, seed, p, cost) for p in runs if getattr(p, rival) <= limit and getattr(p, cost) <= cost_limit
            ]
    base = scenario["base"]["mean"]
    reached = [corner[0] for runs in corners_by_method.values() for corners in runs for corner in corners]
    until = min(cost_limit, (1 + MARGIN) * max([0.01, *reached, *(dot["x"] for dot in dots)]))
    steps = [
        _corner(name, x, y, len(runs))
        for name, runs in corners_by_method.items()
        for x, y in mean_staircase(runs, until)
    ]
    low, top = _ends([base, *(value["y"] for value in (*dots, *steps))])
    y = {"field": "y", **charts.share_axis(top, low)}
    x = {
        "field": "x", "type": "quantitative", "axis": {"title": x_title, "format": "~%", "tickCount": 5, "titleLimit": 320},
        "scale": {"domain": [0, charts.rounded(until)], "nice": False},
    }  # fmt: skip
    base_line = {
        "data": {"values": [{"y": charts.rounded(base), _BASE: f"{100 * base:.1f} %"}]},
        "mark": {"type": "rule", "color": charts.LINE, "strokeDash": [2, 3], "aria": False},
        "encoding": {"y": y, "tooltip": charts.tooltip(_BASE)},
    }
    base_name = {
        "data": base_line["data"],
        "mark": {"type": "text", "text": _BASE, "align": "left", "dx": 4, "dy": -6, "aria": False},
        "encoding": {"y": y, "x": {"value": 0}},
    }
    tips = charts.tooltip("method", "seed", "learning rate", "step", "refused", "harmless refused", "capability lost")
    runs_layer = {
        "data": {"values": dots},
        "mark": {"type": "point", "size": 14, "opacity": 0.35},
        "encoding": {"x": x, "y": y, **charts.series(names), "tooltip": tips, "description": charts.SAID},
    }
    line = {"mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 1.6, "aria": False}}
    line["encoding"] = charts.line_series(names)
    look = charts.series(names)
    corner = {
        "mark": {"type": "point", "size": 34},
        "encoding": {**look, "tooltip": charts.tooltip("method", "cost", "refused", "n"), "description": charts.SAID},
    }
    frontier = {"data": {"values": steps}, "encoding": {"x": x, "y": y}, "layer": [line, corner]}
    layers = [base_line, base_name, runs_layer, frontier]
    return {"title": charts.title(heading), "width": 285, "height": 210, "layer": layers}


def _name(method: str) -> str:
    return LABELS.get(method, method)


def _dot(name: str, seed: str, point: Point, cost: str) -> Spec:
    refused, harmless, lost = (f"{100 * v:.1f} %" for v in (point.refused, point.over_refusal, point.lost))
    return {
        "series": name, "x": charts.rounded(max(0.0, getattr(point, cost))), "y": charts.rounded(point.refused), "method": name,
        "seed": seed, "learning rate": f"{point.lr:g}", "step": point.step, "refused": refused, "harmless refused": harmless,
        "capability lost": lost,
        "said": f"{name}, seed {seed}, step {point.step}: {refused} refused, {harmless} of harmless, {lost} capability lost",
    }  # fmt: skip


def _corner(name: str, cost: float, refused: float, seeds: int) -> Spec:
    shown, at, n = f"{100 * refused:.1f} %", f"{100 * cost:.1f} %", f"mean of {seeds} runs of the sweep"
    return {
        "series": name, "x": charts.rounded(cost), "y": charts.rounded(refused), "method": f"frontier of {name}", "cost": at,
        "refused": shown, "n": n, "said": f"frontier of {name}: {shown} refused at a cost of {at}, {n}",
    }  # fmt: skip


def _ends(values: Iterable[float]) -> tuple[float, float]:
    """Both ends of an axis of shares that holds the values with some room."""
    shown = list(values)
    room = MARGIN * max(0.05, max(shown) - min(shown))
    return max(0.0, min(shown) - room), min(1.0, max(shown) + room)
