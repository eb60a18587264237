"""What the numbers say: the answer in words, the flat metrics, and the table for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.report.results import Condition, Results, read
from ssn_eval.statistics import mcnemar

if TYPE_CHECKING:
    from rich.table import Table


def metrics(results: Results) -> dict[str, Any]:
    """For `dvc metrics show`: means by condition, each language with equal weight."""
    hr = (results.select["hr"],)
    found = {}
    for name, condition in results.rows():
        found[name] = {
            "hr_refusal": _rounded(condition.mean(hr, "refusal")),
            "nhr_refusal": _rounded(condition.mean(results.nhr, "refusal")),
            "harmless_refusal": _rounded(condition.mean(results.languages, "harmless_refusal")),
            "capability": _rounded(condition.mean(results.languages, "capability")),
        }
    return {"sets": dict(results.select["named"]), "conditions": found}


def answers(results: Results) -> list[str]:
    """The findings in sentences, each made from the numbers."""
    said = [_base_sentence(results)]
    suppressed = results.interventions.get("ss", {}).get("suppress")
    randoms = [ops["suppress"] for name, ops in results.interventions.items() if name.startswith("random") and "suppress" in ops]
    if suppressed and randoms:
        below = [lang for lang in results.nhr if all(_drop(results.base, suppressed, lang) > _drop(results.base, r, lang) for r in randoms)]
        verdict = "in every NHR language" if len(below) == len(results.nhr) else f"in {len(below)} of {len(results.nhr)} NHR languages"
        said.append(
            f"Suppressing the {results.select['named']['ss']} SS-Neurons takes mean NHR refusal to "
            f"{_percent(suppressed.mean(results.nhr, 'refusal'))}; it lowers refusal by more than each of {len(randoms)} matched random "
            f"controls {verdict}. Capability goes from {_percent(results.base.mean(results.languages, 'capability'))} to "
            f"{_percent(suppressed.mean(results.languages, 'capability'))}."
        )
    for name, condition in results.trained.items():
        better = [lang for lang in results.nhr if _significantly_better(results.base, condition, lang)]
        share = results.training.get(name, {})
        cost = f" ({100 * share['trainable'] / share['parameters']:.2f} % of the parameters)" if share else ""
        said.append(
            f"Training {name}{cost} takes mean NHR refusal to {_percent(condition.mean(results.nhr, 'refusal'))} with "
            f"{_percent(condition.mean(results.languages, 'harmless_refusal'))} of harmless prompts refused and capability "
            f"{_percent(condition.mean(results.languages, 'capability'))}; the gain is significant (McNemar, p < .05) in "
            f"{', '.join(better) or 'no language'}."
        )
    return said


def table(results_folder: Path) -> Table:
    """Refusal by language for every condition, with harmless refusal and capability beside it.

    Raises:
        MissingInputError, FormatError: as `results.read`.
    """
    from rich.table import Table

    results = read(results_folder)
    shown = Table(title="Refusal of harmful held-out prompts, %", title_justify="left")
    shown.add_column("condition")
    for lang in results.languages:
        shown.add_column(lang, justify="right")
    shown.add_column("harmless", justify="right")
    shown.add_column("capability", justify="right")
    for name, condition in results.rows():
        cells = [_percent(r.value if (r := condition.rate(lang, "refusal")) else None, "") for lang in results.languages]
        means = [_percent(condition.mean(results.languages, what), "") for what in ("harmless_refusal", "capability")]
        shown.add_row(name, *cells, *means)
    return shown


def _base_sentence(results: Results) -> str:
    hr, base = results.select["hr"], results.base
    rates = {lang: base.rate(lang, "refusal") for lang in results.nhr}
    known = {lang: r for lang, r in rates.items() if r}
    top = base.rate(hr, "refusal")
    weakest = min(known, key=lambda lang: known[lang].value) if known else hr
    return (
        f"The base model refuses {_percent(top.value if top else None)} of harmful prompts in {hr} and "
        f"{_percent(base.mean(results.nhr, 'refusal'))} on average in the others, least in {weakest} "
        f"({_percent(known[weakest].value if known else None)})."
    )


def _drop(base: Condition, changed: Condition, lang: str) -> float:
    before, after = base.rate(lang, "refusal"), changed.rate(lang, "refusal")
    return before.value - after.value if before and after else 0.0


def _significantly_better(base: Condition, changed: Condition, lang: str) -> bool:
    ids = [i for i in base.verdicts[lang] if i in changed.verdicts[lang]]
    if not ids or _drop(base, changed, lang) >= 0:
        return False
    before, after = ([bool(c.verdicts[lang][i]) for i in ids] for c in (base, changed))
    return mcnemar(before, after).p < 0.05


def _percent(value: float | None, unit: str = " %") -> str:
    return "–" if value is None else f"{100 * value:.0f}{unit}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
