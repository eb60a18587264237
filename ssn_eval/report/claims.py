"""One table for several repetitions of the pipeline, and the claims of the paper over them.

Every number is a mean over seeds with Student's t-interval. This interval is wide with three seeds, and many rates are near 0 or 1,
so the values of the single seeds are given too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.statistics import Estimate, mean_over_seeds
from ssn_eval.report import paper
from ssn_eval.report.condition import Condition
from ssn_eval.report.results import Results
from ssn_eval.report.summary import percent

if TYPE_CHECKING:
    from rich.table import Table

_HEADS = {"harmless": "harm-\nless", "capability": "capa-\nbility"}


def claims(runs: Mapping[int, Results]) -> dict[str, Any]:
    """The table and the claims over all seeds, as plain values.

    Args:
        runs: seed → the results of that repetition; all must have the same languages.

    Returns:
        `{"seeds", "languages", "sets": {name: [sizes]}, "order": [labels], "main": [labels], "conditions": {label: {column: {"mean", "low", "high", "values"}}},
        "claims": [claim]}`; a claim is what `verdicts.Claim.to_json` gives.

    Raises:
        EmptySetError: fewer than two seeds.
        MismatchError: the repetitions differ in their languages.
    """
    if len(runs) < 2:
        raise EmptySetError(f"Claims need at least two seeds; got {len(runs)}.")
    results = list(runs.values())
    first = results[0]
    if any(r.languages != first.languages for r in results):
        raise MismatchError("The repetitions have different languages; repeat them with one params.yaml.")
    names = [c.name for c in first.rows()]
    by_seed = [{c.name: c for c in r.rows()} for r in results]
    common_names = [name for name in names if all(name in conditions for conditions in by_seed)]
    return {
        "seeds": list(runs),
        "languages": list(first.languages),
        "candidates": first.select["candidates"],
        "sets": {name: [int(r.select["named"].get(name, 0)) for r in results] for name in first.select["named"]},
        "order": [by_seed[0][name].label for name in common_names],
        "main": [c.label for c in first.main_rows() if c.name in common_names],
        "conditions": {
            by_seed[0][name].label: _columns([conditions[name] for conditions in by_seed], first.languages)
            for name in common_names
        },
        "claims": [claim.to_json() for claim in paper.judge(results)],
    }


def table(found: Mapping[str, Any]) -> Table:
    """The conditions as a table of at most 80 columns: mean over seeds in per cent, ± half the width of the interval."""
    from rich import box
    from rich.table import Table

    title = f"Means over seeds {', '.join(map(str, found['seeds']))}, % refused (± half the 95 % interval)"
    rich_table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    rich_table.add_column("condition", no_wrap=True)
    columns = [*found["languages"], "harmless", "capability"]
    for column in columns:
        rich_table.add_column(_HEADS.get(str(column), str(column)), justify="right", no_wrap=True)
    for label in found["order"]:
        row = found["conditions"][label]
        rich_table.add_row(label, *(_cell(row[column]) for column in columns))
    return rich_table


def sentences(found: Mapping[str, Any]) -> list[str]:
    """One line per claim: its verdict and the reason."""
    return [
        f"{c['number']}. {c['verdict']}: {c['claim']}. {c['why'][:1].upper()}{c['why'][1:]}." for c in found["claims"]
    ]


def _columns(conditions: Sequence[Condition], langs: Sequence[str]) -> dict[str, Any]:
    def refusal(lang: str) -> Callable[[Condition], float | None]:
        return lambda c: c.mean((lang,), "refusal")

    columns = {lang: refusal(lang) for lang in langs} | {
        "harmless": lambda c: c.mean(langs, "harmless_refusal"),
        "capability": lambda c: c.mean(langs, "capability"),
    }
    return {name: _over_seeds([value(c) for c in conditions]) for name, value in columns.items()}


def _over_seeds(values: Sequence[float | None]) -> dict[str, Any] | None:
    measured = [v for v in values if v is not None]
    if len(measured) < len(values):
        return None
    estimate: Estimate = mean_over_seeds(measured)
    numbers = {"mean": estimate.value, "low": estimate.low, "high": estimate.high}
    return {**{k: round(v, 4) for k, v in numbers.items()}, "values": [round(v, 4) for v in measured]}


def _cell(value: Mapping[str, Any] | None) -> str:
    return "–" if value is None else f"{percent(value['mean'], '')}±{100 * (value['high'] - value['mean']):.0f}"
