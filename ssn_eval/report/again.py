"""The robustness column of the frontier: what a trained model still refuses when the set that is found again on it is suppressed.

The column shows the setting (learning rate and step) with the highest refusal among those within the limits at which it was measured. Beside it stands
what is refused when as many random neurons of the same layers and sites are suppressed, and the difference of the two in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.sweep import FrontierParams
from ssn_eval.report.seeds import cell_of, over

if TYPE_CHECKING:
    from ssn_eval.report.frontier import Point

HEADERS = ("set suppressed", "random suppressed", "set − random", "at lr, steps")


class Without(NamedTuple):
    """Refusal of harmful prompts, the mean over the languages that count."""

    suppressed: float
    """without the set"""
    random: float
    """without as many random neurons"""


class Measured(NamedTuple):
    """One run at one step, where it was measured."""

    seed: int
    point: Point
    without: Without


def refused(value: Mapping[str, Any], langs: Sequence[str]) -> Without:
    """The two rates of a point's `again`: `{"neurons", "suppressed": rates by language, "random": likewise}`."""
    return Without(*(sum(value[kind][lang]["refusal"] for lang in langs) / len(langs) for kind in Without._fields))


def chosen(measured: Sequence[Measured], settings: FrontierParams) -> dict[str, Any] | None:
    """The rates at the best setting within the limits in every seed; None if no setting is.

    Args:
        measured: the runs of one method.
        settings: the limits.
    """
    groups: dict[tuple[float, int], list[Measured]] = {}
    for one in measured:
        groups.setdefault((one.point.lr, one.point.step), []).append(one)
    within = {
        key: sum(one.point.refused for one in group) / len(group)
        for key, group in groups.items()
        if all(
            one.point.over_refusal <= settings.matched[-1] and one.point.lost <= settings.capability_lost
            for one in group
        )
    }
    if not within:
        return None
    lr, step = max(within, key=lambda key: (within[key], -key[1], -key[0]))
    return over_seeds(groups[lr, step]) | {"setting": f"{lr:g}, {step}"}


def over_seeds(measured: Sequence[Measured]) -> dict[str, Any]:
    """`{"refused", "suppressed", "random", "minus_random"}`, each over seeds (`report/seeds.py`); draws of one seed are averaged first."""

    def per_seed(value: Any) -> dict[str, Any]:
        seeds = sorted({one.seed for one in measured})
        values = [[value(one) for one in measured if one.seed == seed] for seed in seeds]
        return over([sum(of_seed) / len(of_seed) for of_seed in values])

    return {
        "refused": per_seed(lambda one: one.point.refused),
        "suppressed": per_seed(lambda one: one.without.suppressed),
        "random": per_seed(lambda one: one.without.random),
        "minus_random": per_seed(lambda one: one.without.suppressed - one.without.random),
    }


def was_measured(found: Mapping[str, Any]) -> bool:
    """Whether a frontier has the column."""
    return any(
        "base_again" in scenario or any("again" in value for value in scenario["methods"].values())
        for scenario in found["scenarios"].values()
    )


def cells(value: Mapping[str, Any] | None) -> list[str]:
    """The cells of the column; dashes where it was not measured within the limits."""
    if value is None:
        return ["–"] * len(HEADERS)
    rates = [cell_of(value["suppressed"]), cell_of(value["random"]), cell_of(value["minus_random"], sign=True)]
    return [*rates, value.get("setting", "")]
