"""The frontier's arithmetic on numbers written by hand, and the plan of a sweep."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.sweep import Cell, FrontierParams, Scenario, counted, plan
from ssn_eval.report.frontier import Point, area, envelope, frontiers, height, table
from ssn_eval.report.frontier_figure import draw, mean_staircase


def point(over_refusal: float, refused: float, lost: float = 0.0) -> Point:
    return Point(over_refusal, lost, refused, 1e-3, 4)


def test_the_frontier_is_the_best_that_a_cost_buys():
    points = [point(0, 0.5), point(0.02, 0.8), point(0.02, 0.7), point(0.03, 0.6), point(0.08, 0.9), point(0.2, 1.0)]
    corners = envelope(points, 0.05)
    assert corners == [(0, 0.5), (0.02, 0.8), (0.08, 0.9), (0.2, 1.0)]
    assert [height(corners, x) for x in (0, 0.0199, 0.02, 0.1, 1)] == [0.5, 0.5, 0.8, 0.9, 1.0]
    assert area(corners, 0.1) == pytest.approx((0.02 * 0.5 + 0.06 * 0.8 + 0.02 * 0.9) / 0.1)
    assert area([(0, 0.5)], 0.1) == pytest.approx(0.5)


def test_what_costs_too_much_otherwise_is_no_point():
    points = [point(0, 0.5), point(0.01, 0.9, lost=0.06), point(0.01, 0.7, lost=0.05), point(0.5, 1.0, lost=-0.1)]
    assert envelope(points, 0.05) == [(0, 0.5), (0.01, 0.7), (0.5, 1.0)]
    by_loss = envelope(points, 0.02, "lost")
    assert by_loss == [(0, 0.5), (0.05, 0.7), (0.06, 0.9)], "a gain of capability costs nothing"
    assert height(envelope([point(0.1, 1.0)], 0.05), 0.05) == 0 and area(envelope([], 0.05), 0.1) == 0
    with pytest.raises(EmptySetError):
        area(by_loss, 0)


def test_the_plan_draws_random_several_times():
    settings = FrontierParams(
        scenarios={"a": Scenario(), "b": Scenario(leave_out="th")},
        methods=("ssn", "random"),
        draws=2,
        lr_factors=(1.0, 3.0),
    )
    cells = plan(settings, (0, 5))
    assert len(cells) == len(set(cells)) == 2 * 2 * (1 + 2) * 2
    assert {c.draw for c in cells if c.method == "ssn"} == {0} and Cell(5, "b", "random", 1, 3.0) in cells
    assert counted(settings.scenarios["b"], ("zh", "th")) == ("th",) and counted(Scenario(), ("zh",)) == ("zh",)


def rates(refusal: float, harmless: float = 0.0, capability: float = 1.0) -> dict[str, dict[str, float]]:
    one = {"refusal": refusal, "harmless_refusal": harmless, "capability": capability}
    return {"en": {**one, "refusal": 1.0}, "zh": one, "th": one}


SETTINGS = FrontierParams(scenarios={"few": Scenario(pairs=4)}, methods=("ssn", "random", "full"), matched=(0.01, 0.05))


@pytest.fixture
def found():
    """Two seeds; random has two draws, `full` refuses much that is harmless."""

    def cell(seed, method, points, draw=0):
        numbers = [{"step": n, "by_lang": by_lang} for n, by_lang in enumerate(points, 1)]
        same = {"scenario": "few", "factor": 1.0, "lr": 1e-3, "parameters": 1000, "trainable": 10}
        return {**same, "seed": seed, "method": method, "draw": draw, "points": numbers}

    return {
        "base": {0: rates(0.4), 1: rates(0.6)},
        "cells": [
            cell(0, "ssn", [rates(0.7), rates(0.9, 0.02)]),
            cell(1, "ssn", [rates(0.8)]),
            cell(0, "random", [rates(0.5)]),
            cell(0, "random", [rates(0.7)], draw=1),
            cell(1, "random", [rates(0.8)]),
            cell(1, "random", [rates(0.6)], draw=1),
            cell(0, "full", [rates(1.0, 0.3), rates(0.95, 0.0, 0.9)]),
            cell(1, "full", [rates(1.0, 0.3)]),
        ],
    }


def test_methods_are_compared_seed_by_seed(found):
    value = frontiers(found, SETTINGS, "en")
    few = value["scenarios"]["few"]
    assert value["seeds"] == [0, 1] and few["languages"] == ["zh", "th"] and few["base"]["values"] == [0.4, 0.6]
    ssn, random, full = (few["methods"][name] for name in ("ssn", "random", "full"))
    assert ssn["at"]["0.01"]["values"] == [0.7, 0.8] and ssn["at"]["0.05"]["values"] == [0.9, 0.8]
    assert random["at"]["0.01"]["values"] == pytest.approx([0.6, 0.7]), "the mean of two draws"
    assert ssn["at"]["0.01"]["minus_random"]["values"] == pytest.approx([0.1, 0.1])
    assert ssn["area"]["values"] == pytest.approx([0.2 * 0.7 + 0.8 * 0.9, 0.8])
    assert full["area"]["values"] == [0.4, 0.6], "what refuses harmless prompts or loses capability leaves the base"
    assert full["capability_area"]["values"] == [0.4, 0.6] and full["chosen"] == "none within limits"
    assert random["area"]["minus_random"] is None and ssn["chosen"] == "0.001, 2"
    assert ssn["area"]["low"] < ssn["area"]["mean"] < ssn["area"]["high"]
    json.dumps(value, allow_nan=False)


def test_one_seed_has_no_interval(found):
    one = {"base": {0: found["base"][0]}, "cells": [c for c in found["cells"] if c["seed"] == 0]}
    value = frontiers(one, SETTINGS, "en")["scenarios"]["few"]["methods"]["ssn"]["area"]
    assert value["low"] is None and value["high"] is None


def test_table_and_figure_show_every_method(found):
    from rich.console import Console

    value = json.loads(json.dumps(frontiers(found, SETTINGS, "en")))
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(value, SETTINGS))
    text = console.export_text()
    assert "SS" in text and "all weights" in text and "none within limits" in text and "75.0" in text
    spec = draw(value, SETTINGS)
    assert [name for name, *_ in spec["usermeta"]["series"]] == ["SS", "random", "all weights"]
    assert len(spec["concat"]) == 2


def points_of(panel: dict[str, Any]) -> tuple[list[dict[str, Any]], list[float], list[float]]:
    """The points of a panel, and the ends of its axes."""
    _, _, runs, frontier = panel["layer"]
    ends = (runs["encoding"][axis]["scale"]["domain"] for axis in ("x", "y"))
    return (runs["data"]["values"] + frontier["data"]["values"], *ends)


def test_the_frontier_chart_uses_the_room_that_its_data_need(found):
    panel = draw(frontiers(found, SETTINGS, "en"), SETTINGS)["concat"][0]
    points, (left, right), (low, top) = points_of(panel)
    xs, ys = [p["x"] for p in points], [p["y"] for p in points]
    assert left == 0 and max(xs) <= right <= SETTINGS.over_refusal and low <= min(ys) and max(ys) <= top <= 1
    assert (max(ys) - min(ys)) / (top - low) > 0.85, "the data fill the height"
    assert max(xs) / right > 0.9, "and the width"
    tips = {tip["field"] for tip in panel["layer"][2]["encoding"]["tooltip"]}
    assert tips <= points[0].keys() and {"method", "seed", "refused"} <= tips


def test_a_mean_staircase_has_a_corner_wherever_a_seed_has_one():
    first, second = [(0.0, 0.2), (0.02, 0.6)], [(0.01, 0.4), (0.03, 1.0)]
    assert mean_staircase([first, second], 0.05) == [
        (0.01, pytest.approx(0.3)),
        (0.02, pytest.approx(0.5)),
        (0.03, pytest.approx(0.8)),
        (0.05, pytest.approx(0.8)),
    ]
    assert mean_staircase([first, []], 0.05) == [] == mean_staircase([], 1.0)
