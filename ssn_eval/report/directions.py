"""Neurons or a direction? The conditions of the refusal direction beside those of the neuron sets, with the same statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ssn_eval.core.setnames import DIRECTION, SetName
from ssn_eval.core.statistics import Estimate
from ssn_eval.report.condition import Condition
from ssn_eval.report.grid import Grid
from ssn_eval.report.results import Results, factor, op_words
from ssn_eval.report.summary import percent, signed


class Compared(NamedTuple):
    """One condition, and those of its random controls."""

    what: str
    done: str
    condition: Condition
    controls: tuple[Condition, ...]


def compared(results: Results) -> Iterator[Compared]:
    """What takes refusal away, sets first, and then what adds to it."""
    sets = {name: ops for name, ops in results.main.items() if not SetName.parse(name).is_control}
    ops = results.directions.get(DIRECTION, {})
    of_sets = [
        Compared(
            SetName.parse(name).label,
            "suppressed" if op == "suppress" else f"× {factor(op):g}",
            c,
            _of(results, name, op),
        )
        for name, by_op in sets.items()
        for op, c in by_op.items()
        if op != "none"
    ]
    of_direction = [
        Compared("refusal direction", op_words(op), c, _of(results, DIRECTION, op)) for op, c in ops.items()
    ]
    rows = [*of_sets, *of_direction]
    yield from (row for row in rows if row.done in ("suppressed", "ablated"))
    yield from (row for row in rows if row.done not in ("suppressed", "ablated"))


def beyond(row: Compared, results: Results) -> Estimate | None:
    """The change of NHR refusal beyond the random control that comes closest to the condition; None without a control."""
    changes = [change for c in row.controls if (change := c.change(row.condition, results.nhr))]
    return min(changes, key=lambda change: abs(change.value), default=None)


def grid(results: Results) -> Grid:
    """The table; without rows if no direction was measured."""
    caption = (
        "Neurons or a direction? Points of harmful prompts refused against the base on the same prompts [95 % interval]; beyond random: against the closest "
        "random control; harmless, capability, invalid: %"
    )
    header = [
        *("what", "done", f"change in {results.hr}", "change in NHR", "beyond random, NHR"),
        *("harmless", "capability", "invalid", "KL"),
    ]
    rows = []
    for row in compared(results) if results.directions else ():
        c = row.condition
        rates = [c.mean(results.languages, measure) for measure in ("harmless_refusal", "capability", "invalid")]
        kl = [one["kl"] for one in c.ability.values()]
        rows.append(
            [
                row.what,
                row.done,
                _points(results.base.change(c, (results.hr,))),
                _points(results.base.change(c, results.nhr)),
                _points(beyond(row, results)),
                *(percent(rate, "") for rate in rates),
                f"{sum(kl) / len(kl):.3f}" if kl else "–",
            ]
        )
    return Grid(caption, header, rows)


def _of(results: Results, name: str, op: str) -> tuple[Condition, ...]:
    return tuple(results.controls(name, op).values())


def _points(change: Estimate | None) -> str:
    return "–" if change is None else f"{signed(change.value)} [{signed(change.low)}, {signed(change.high)}]"
