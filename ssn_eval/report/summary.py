"""The summary of a run: the metrics for `dvc metrics`, and the table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.report.results import Results

if TYPE_CHECKING:
    from rich.table import Table


def metrics(results: Results) -> dict[str, Any]:
    """The metrics for `dvc metrics show`: means by condition, each language with equal weight."""
    by_condition = {}
    for condition in results.rows():
        by_condition[condition.name] = {
            "hr_refusal": _rounded(condition.mean((results.hr,), "refusal")),
            "nhr_refusal": _rounded(condition.mean(results.nhr, "refusal")),
            "harmless_refusal": _rounded(condition.mean(results.languages, "harmless_refusal")),
            "capability": _rounded(condition.mean(results.languages, "capability")),
        }
    return {"sets": dict(results.select["named"]), "conditions": by_condition}


def table(results: Results, run: str = "") -> Table:
    """Refusal by language, harmless refusal and capability for every condition; `run` is the name of the run in the title."""
    from rich import box
    from rich.table import Table

    title = f"{f'{run}: ' if run else ''}refusal of harmful held-out prompts, %"
    title = title if run else title.capitalize()
    rich_table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    rich_table.add_column("condition", no_wrap=True)
    for lang in results.languages:
        rich_table.add_column(lang, justify="right", no_wrap=True)
    rich_table.add_column("harm-\nless", justify="right")
    rich_table.add_column("capa-\nbility", justify="right")
    for condition in results.rows():
        rates = [condition.rate(lang, "refusal") for lang in results.languages]
        means = [condition.mean(results.languages, measure) for measure in ("harmless_refusal", "capability")]
        rich_table.add_row(condition.label, *(percent(v, "") for v in [*(r and r.value for r in rates), *means]))
    return rich_table


def percent(value: float | None, unit: str = " %") -> str:
    """A share as a whole percentage; a dash if it was not measured."""
    return "–" if value is None else f"{100 * value:.0f}{unit}"


def decimal(value: float) -> str:
    """A number with two decimals and a minus sign (not a hyphen)."""
    return f"{value:.2f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference of shares in whole percentage points, with its sign."""
    points = round(100 * value)
    return f"{'+' if points > 0 else '−' if points else '±'}{abs(points)}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
