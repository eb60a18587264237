"""The figure of the frontier: harmful prompts refused against harmless prompts refused and against capability lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.sweep import FrontierParams
from ssn_eval.report import canvas
from ssn_eval.report.frontier import LABELS, Point, envelope, height

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = 200
"""number of costs at which a mean staircase is drawn"""


def draw(found: Mapping[str, Any], settings: FrontierParams) -> Figure:
    """Two panels per scenario: every run as a faint marker, and the mean frontier of each method over seeds as a line."""
    rows = len(found["scenarios"])
    figure, panels = canvas.new(2.5 * rows + 0.7, rows, 2)
    grid = [panels[2 * row : 2 * row + 2] for row in range(rows)]
    cost_limit = settings.over_refusal
    for axes, (name, scenario) in zip(grid, found["scenarios"].items(), strict=True):
        _panel(axes[0], scenario, "over_refusal", settings.capability_lost, cost_limit)
        _panel(axes[1], scenario, "lost", settings.matched[-1], cost_limit)
        axes[0].set_ylabel(f"{name}\n{'NHR' if len(scenario['languages']) > 1 else scenario['languages'][0]} refused")
    grid[-1][0].set_xlabel(f"harmless prompts refused (capability lost ≤ {settings.capability_lost:g})")
    grid[-1][1].set_xlabel(f"capability lost (harmless refused ≤ {settings.matched[-1]:g})")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=min(len(labels), 5),
        frameon=False,
        fontsize=8,
        labelcolor=canvas.INK,
    )
    return figure


def _panel(axes: Axes, scenario: Mapping[str, Any], cost: str, limit: float, cost_limit: float) -> None:
    import numpy as np

    costs = np.linspace(0, cost_limit, GRID)
    rival = "lost" if cost == "over_refusal" else "over_refusal"
    base = scenario["base"]["mean"]
    axes.axhline(base, color="#999999", lw=0.8, ls=":", label="base")
    for k, (method, value) in enumerate(scenario["methods"].items()):
        runs = {key: [Point(*p) for p in points] for key, points in value["points"].items()}
        allowed_points = [p for points in runs.values() for p in points if getattr(p, rival) <= limit]
        look = canvas.look(k)
        axes.scatter(
            [max(0.0, getattr(p, cost)) for p in allowed_points],
            [p.refused for p in allowed_points],
            s=7,
            alpha=0.25,
            lw=0,
            **look,
        )
        lines = [_staircase(points, seed, scenario, cost, limit, costs) for seed, points in runs.items()]
        axes.plot(costs, np.mean(lines, axis=0), label=LABELS.get(method, method), lw=1.4, markevery=50, ms=4, **look)
    axes.set_xlim(-0.02 * cost_limit, cost_limit)
    axes.set_ylim(0, 1.02)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _staircase(
    points: Sequence[Point],
    seed: str,
    scenario: Mapping[str, Any],
    cost: str,
    limit: float,
    costs: Any,
) -> list[float]:
    """The height of a frontier at every cost; the base model of the seed is one of its points."""
    base_point = scenario["base_points"][seed.partition(".")[0]]
    corners = envelope([Point(*base_point), *points], limit, cost)
    return [height(corners, float(x)) for x in costs]
