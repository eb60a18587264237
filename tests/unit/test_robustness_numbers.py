"""Does safety still hang on the set? The comparison on verdicts written by hand, and the frontier's column on numbers written by hand."""

from __future__ import annotations

from typing import Any

import pytest

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.store import NeuronFile
from ssn_eval.core.sweep import FrontierParams, Scenario
from ssn_eval.report.frontier import frontiers, table
from ssn_eval.report.seeds import cell_of
from ssn_eval.stages import robustness

AGAIN = NeuronFile(
    NeuronSet.from_keys({"layers.0.mlp": [0, 1]}), ModelRef("tiny", "a" * 64, "llama", Geometry({"layers.0.mlp": 4}))
)


def counts(refused: int, of: int = 20) -> dict[str, Any]:
    """A condition in which the first prompts of each of two languages are refused."""
    one = {"refusal": {"successes": refused, "total": of}, "harmless_refusal": {"successes": 0, "total": of}}
    return {
        "by_lang": dict.fromkeys(("en", "th"), one),
        "verdicts": {lang: {str(i): int(i < refused) for i in range(of)} for lang in ("en", "th")},
    }


class Bench:
    """Stands in for a bench: how many prompts are refused with the set suppressed, and with a control suppressed."""

    def __init__(self, with_set: int, with_random: int) -> None:
        self.with_set, self.with_random = with_set, with_random
        self.suppressed: list[NeuronSet] = []

    def unchanged(self) -> dict[str, Any]:
        return {"counts": counts(18)}

    def intervened(self, neurons: NeuronSet, op: object) -> dict[str, Any]:
        assert str(op) == "suppress"
        self.suppressed.append(neurons)
        return {"counts": counts(self.with_set if neurons == AGAIN.neurons else self.with_random)}


def measure(with_set: int, with_random: int, controls: int = 1) -> tuple[dict[str, Any], Bench]:
    bench = Bench(with_set, with_random)
    return robustness.measure(bench, AGAIN, ["en", "th"], controls), bench  # type: ignore[arg-type]


def test_what_the_set_costs_beyond_random_neurons():
    found, bench = measure(4, 16)
    assert bench.suppressed == [AGAIN.neurons, NeuronSet.from_keys({"layers.0.mlp": [2, 3]})]
    assert found["neurons"] == 2
    assert found["suppressed"]["all"]["difference"] == pytest.approx((4 - 18) / 20)
    assert found["controls"][0]["all"]["difference"] == pytest.approx((16 - 18) / 20)
    beyond = found["beyond"][0]["all"]
    assert beyond["difference"] == pytest.approx((4 - 16) / 20)
    assert beyond["low"] < beyond["difference"] < beyond["high"] < 0
    assert found["beyond"][0]["languages"]["th"]["before"] == pytest.approx(0.8)
    assert robustness.hangs_on_the_set(found) is True


def test_random_neurons_that_cost_as_much_show_nothing():
    assert robustness.hangs_on_the_set(measure(10, 10)[0]) is False
    assert robustness.hangs_on_the_set(measure(18, 18)[0]) is False
    assert robustness.hangs_on_the_set(measure(4, 18, controls=0)[0]) is None


SETTINGS = FrontierParams(
    scenarios={"all": Scenario()}, methods=("ssn", "full"), steps=(1, 2), robustness=(2,), matched=(0.05,)
)


def rates(refusal: float, harmless: float = 0.0) -> dict[str, dict[str, float]]:
    one = {"refusal": refusal, "harmless_refusal": harmless, "capability": 1.0}
    return {"en": one | {"refusal": 1.0}, "zh": one, "th": one}


def again(suppressed: float, random: float) -> dict[str, Any]:
    return {"neurons": 9, "suppressed": rates(suppressed), "random": rates(random)}


@pytest.fixture
def found() -> dict[str, Any]:
    """Two seeds; `ssn` is measured again at two learning rates, `full` only where it refuses harmless prompts."""

    def cell(seed: int, method: str, lr: float, last: dict[str, Any]) -> dict[str, Any]:
        points = [{"step": 1, "by_lang": rates(0.95)}, {"step": 2, **last}]
        same = {"scenario": "all", "draw": 0, "factor": 1.0, "parameters": 100, "trainable": 1}
        return {**same, "seed": seed, "method": method, "lr": lr, "points": points}

    return {
        "base": {0: rates(0.4), 1: rates(0.6)},
        "base_again": {0: again(0.1, 0.4), 1: {"neurons": 0}},
        "cells": [
            cell(0, "ssn", 0.1, {"by_lang": rates(0.9), "again": again(0.2, 0.8)}),
            cell(1, "ssn", 0.1, {"by_lang": rates(0.8), "again": again(0.4, 0.8)}),
            cell(0, "ssn", 0.3, {"by_lang": rates(0.7), "again": again(0.0, 0.1)}),
            cell(1, "ssn", 0.3, {"by_lang": rates(0.7), "again": again(0.0, 0.1)}),
            cell(0, "full", 0.1, {"by_lang": rates(1.0, 0.5), "again": again(0.9, 0.9)}),
            cell(1, "full", 0.1, {"by_lang": rates(1.0)}),
        ],
    }


def test_the_column_is_of_the_best_setting_that_was_measured(found):
    scenario = frontiers(found, SETTINGS, "en")["scenarios"]["all"]
    ssn = scenario["methods"]["ssn"]["again"]
    assert ssn["setting"] == "0.1, 2"
    assert ssn["refused"]["values"] == [0.9, 0.8] and ssn["suppressed"]["values"] == [0.2, 0.4]
    assert ssn["minus_random"]["values"] == pytest.approx([-0.6, -0.4])
    assert ssn["minus_random"]["low"] < -0.5 < ssn["minus_random"]["high"]
    assert scenario["methods"]["full"]["again"] is None, "it refuses half of the harmless prompts there"
    assert scenario["base_again"]["suppressed"]["values"] == [0.1], "the second seed has no set"


def test_the_table_has_the_column_where_it_was_measured(found):
    value = frontiers(found, SETTINGS, "en")
    shown = {column.header: list(map(str, column.cells)) for column in table(value, SETTINGS).columns}
    difference = value["scenarios"]["all"]["methods"]["ssn"]["again"]["minus_random"]
    assert shown["set suppressed"][0] == "10.0" and shown["set suppressed"][1].startswith("30.0 ± ")
    assert shown["set − random"][1] == cell_of(difference, sign=True) and shown["set − random"][2] == "–"
    for cell in found["cells"]:
        for point in cell["points"]:
            point.pop("again", None)
    del found["base_again"]
    plain = frontiers(found, SETTINGS, "en")
    assert "again" not in plain["scenarios"]["all"]["methods"]["ssn"]
    assert "set suppressed" not in [column.header for column in table(plain, SETTINGS).columns]


def test_a_step_that_is_not_measured_is_refused():
    with pytest.raises(ParamsError, match=r"frontier.robustness names step 3"):
        FrontierParams(steps=(1, 2), robustness=(3,))
