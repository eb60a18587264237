"""A number over seeds: its mean with Student's t-interval, as plain values and as the text of a cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssn_eval.core.statistics import mean_over_seeds


def over(values: Sequence[float]) -> dict[str, Any]:
    """The mean over seeds with its interval; with one seed there is no interval."""
    exact = [round(v, 6) for v in values]
    if len(exact) < 2:
        return {"mean": exact[0], "low": None, "high": None, "values": exact}
    estimate = mean_over_seeds(exact)
    numbers = {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{key: round(v, 6) for key, v in numbers.items()}, "values": exact}


def cell_of(value: Mapping[str, Any] | None, sign: bool = False) -> str:
    """In per cent, ± half the interval; empty without a value."""
    if value is None:
        return ""
    text = f"{100 * value['mean']:+.1f}" if sign else f"{100 * value['mean']:.1f}"
    return text if value["high"] is None else f"{text} ± {100 * (value['high'] - value['mean']):.1f}"
