"""The numbers of a run at a glance: the flat metrics of `dvc metrics`, and the table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.report.results import Results

if TYPE_CHECKING:
    from rich.table import Table


def metrics(results: Results) -> dict[str, Any]:
    """For `dvc metrics show`: means by condition, each language with equal weight."""
    found = {}
    for condition in results.rows():
        found[condition.name] = {
            "hr_refusal": _rounded(condition.mean((results.hr,), "refusal")),
            "nhr_refusal": _rounded(condition.mean(results.nhr, "refusal")),
            "harmless_refusal": _rounded(condition.mean(results.languages, "harmless_refusal")),
            "capability": _rounded(condition.mean(results.languages, "capability")),
        }
    return {"sets": dict(results.select["named"]), "conditions": found}


def table(results: Results, run: str = "") -> Table:
    """Refusal by language for every condition, with harmless refusal and capability beside it; `run` names one of several."""
    from rich import box
    from rich.table import Table

    title = f"{f'{run}: ' if run else ''}refusal of harmful held-out prompts, %"
    title = title if run else title.capitalize()
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    shown.add_column("condition", no_wrap=True)
    for lang in results.languages:
        shown.add_column(lang, justify="right", no_wrap=True)
    shown.add_column("harm-\nless", justify="right")
    shown.add_column("capa-\nbility", justify="right")
    for condition in results.rows():
        rates = [condition.rate(lang, "refusal") for lang in results.languages]
        means = [condition.mean(results.languages, what) for what in ("harmless_refusal", "capability")]
        shown.add_row(condition.label, *(percent(v, "") for v in [*(r and r.value for r in rates), *means]))
    return shown


def percent(value: float | None, unit: str = " %") -> str:
    """A share as a whole percentage; a dash where it was not measured."""
    return "–" if value is None else f"{100 * value:.0f}{unit}"


def decimal(value: float) -> str:
    """A number with two decimals and a true minus."""
    return f"{value:.2f}".replace("-", "−")


def signed(value: float) -> str:
    """A difference of shares in whole percentage points, with its sign."""
    points = round(100 * value)
    return f"{'+' if points > 0 else '−' if points else '±'}{abs(points)}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
