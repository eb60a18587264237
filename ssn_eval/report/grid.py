"""A table of texts, and the format of numbers in its cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ssn_eval.core.statistics import Estimate, Rate
from ssn_eval.report.summary import decimal


class Grid(NamedTuple):
    """A table of texts; the first cell of a row is its name."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def cell(rate: Rate | None) -> str:
    """A rate in per cent with its interval; a dash if there is none."""
    return f"{100 * rate.value:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]" if rate else "–"


def estimate(found: Estimate | None) -> str:
    """An estimate in per cent with its interval; a dash if there is none."""
    return f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]" if found else "–"


def number(value: float | None) -> str:
    """A number with two decimals; a dash if there is none."""
    return "–" if value is None else decimal(value)
