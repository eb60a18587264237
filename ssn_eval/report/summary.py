"""What the numbers say: the answer in words, the flat metrics, and the table for a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.report.results import Condition, Results, factor, read
from ssn_eval.statistics import McNemar

if TYPE_CHECKING:
    from rich.table import Table

ALPHA = 0.05
"""level of the paired tests; they are not corrected for the number of languages"""


class Answer(NamedTuple):
    """One question and what the numbers say to it."""

    question: str
    verdict: str
    detail: str


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


def answers(results: Results) -> list[Answer]:
    """The findings, each made from the numbers; what was not measured is said to be missing."""
    return [_base(results), _suppressed(results), _amplified(results), *_trained(results)]


def drop(base: Condition, changed: Condition, lang: str) -> float | None:
    """By how much refusal falls from the base in a language; None where one of the two was not measured."""
    before, after = base.rate(lang, "refusal"), changed.rate(lang, "refusal")
    return before.value - after.value if before and after else None


def beats_randoms(results: Results, lang: str) -> bool:
    """Whether suppressing SS lowers refusal by more than each random control does."""
    changed = results.interventions["ss"]["suppress"]
    mine = drop(results.base, changed, lang)
    others = [drop(results.base, control, lang) for control in results.randoms.values()]
    return mine is not None and bool(others) and all(o is not None and mine > o for o in others)


def hardest_random(results: Results, lang: str) -> McNemar | None:
    """The weakest of the tests of suppressed SS against each random control: a higher p, or the other direction."""
    changed = results.interventions["ss"]["suppress"]
    tests = [t for control in results.randoms.values() if (t := control.test(changed, lang))]
    return max(tests, key=lambda t: (t.only_second >= t.only_first, t.p), default=None)


def table(results_folder: Path) -> Table:
    """Refusal by language for every condition, with harmless refusal and capability beside it.

    Raises:
        MissingInputError, FormatError: as `results.read`.
    """
    from rich import box
    from rich.table import Table

    results = read(results_folder)
    title = "Refusal of harmful held-out prompts, %"
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


def _base(results: Results) -> Answer:
    base, top = results.base, results.base.rate(results.hr, "refusal")
    known = {lang: r for lang in results.nhr if (r := base.rate(lang, "refusal"))}
    verdict = f"{percent(top and top.value)} in {results.hr}, {percent(base.mean(results.nhr, 'refusal'))} on average in the others."
    detail = ""
    if top and known:
        weakest = min(known, key=lambda lang: known[lang].value)
        low = known[weakest]
        detail = (
            f"Refusal of harmful held-out prompts in {results.hr} is {percent(top.value)} (95 % interval "
            f"{percent(top.low, '')}–{percent(top.high)}); it is lowest in {weakest}: {percent(low.value)} "
            f"({percent(low.low, '')}–{percent(low.high)}). {_cost(results, base)}"
        )
    return Answer("How much does the base model refuse?", verdict, detail)


def _suppressed(results: Results) -> Answer:
    question = "Does suppressing SS lower refusal in every NHR language by more than each random control?"
    changed, size = results.interventions.get("ss", {}).get("suppress"), int(results.select["named"].get("ss", 0))
    if changed is None or not results.randoms:
        why = "SS is empty" if not size else "SS or the random controls were not validated"
        return Answer(question, "Not measured.", f"{why}; `dvc repro` measures what is missing.")
    below = [lang for lang in results.nhr if beats_randoms(results, lang)]
    verdict = (
        "Yes." if len(below) == len(results.nhr) else f"No: in {len(below)} of {len(results.nhr)} ({_listed(below)})."
    )
    tested = {lang: t for lang in results.nhr if (t := hardest_random(results, lang))}
    clear = [lang for lang, t in tested.items() if t.p < ALPHA and t.only_first > t.only_second]
    controls = [m for c in results.randoms.values() if (m := c.mean(results.nhr, "refusal")) is not None]
    detail = (
        f"With {size} SS-Neurons ({100 * size / results.select['candidates']:.2f} % of the candidates) set to zero, mean NHR "
        f"refusal goes from {percent(results.base.mean(results.nhr, 'refusal'))} to "
        f"{percent(changed.mean(results.nhr, 'refusal'))}{_change(results, changed)}; {len(results.randoms)} matched random "
        f"controls leave it at {percent(min(controls, default=None), '')}–{percent(max(controls, default=None))}. "
        f"The difference from every single control is significant (McNemar, p < .05) in {_listed(clear)}. "
        f"{_cost(results, changed)}"
    )
    return Answer(question, verdict, detail)


def _amplified(results: Results) -> Answer:
    question = "Does amplifying SS raise refusal in the NHR languages?"
    before = results.base.mean(results.nhr, "refusal")
    ops = results.interventions.get("ss", {})
    found = {factor(op): c for op, c in ops.items() if factor(op) > 1 and c.mean(results.nhr, "refusal") is not None}
    if not found or before is None:
        return Answer(question, "Not measured.", "`dvc repro` measures what is missing.")
    means = {alpha: c.mean(results.nhr, "refusal") or 0.0 for alpha, c in found.items()}
    rising = [alpha for alpha, mean in means.items() if mean > before]
    verdict = f"Yes, at α = {', '.join(f'{a:g}' for a in rising)}." if rising else "No, at no α that was tried."
    told = [
        f"α = {a:g}: {percent(means[a])}{_change(results, c)}, capability {percent(c.mean(results.languages, 'capability'))}, "
        f"harmless refusal {percent(c.mean(results.languages, 'harmless_refusal'))}"
        for a, c in found.items()
    ]
    return Answer(question, verdict, f"Mean NHR refusal is {percent(before)} unchanged; " + "; ".join(told) + ".")


def _trained(results: Results) -> list[Answer]:
    told = []
    for method, condition in results.trained.items():
        tests = {lang: t for lang in results.nhr if (t := results.base.test(condition, lang)) and t.p < ALPHA}
        better = [lang for lang, t in tests.items() if t.only_second > t.only_first]
        worse = [lang for lang, t in tests.items() if t.only_second < t.only_first]
        share = results.training.get(method)
        cost = (
            f"{share['trainable']:,} parameters ({100 * share['trainable'] / share['parameters']:.2f} %). "
            if share
            else ""
        )
        detail = (
            f"{cost}Refusal rose (McNemar, p < .05) in {_listed(better)}"
            f"{f' and fell in {_listed(worse)}' if worse else ''}. {_cost(results, condition)}"
        )
        before, after = (percent(c.mean(results.nhr, "refusal")) for c in (results.base, condition))
        verdict = f"Mean NHR refusal {before} → {after}{_change(results, condition)}."
        told.append(Answer(f"What did training change: {condition.label}?", verdict, detail))
    return told or [Answer("What did training change?", "Not measured.", "`dvc repro` measures what is missing.")]


def _cost(results: Results, condition: Condition) -> str:
    harmless, ability = (condition.mean(results.languages, what) for what in ("harmless_refusal", "capability"))
    return f"Harmless prompts refused: {percent(harmless)}; capability: {percent(ability)} (means of all languages)."


def _change(results: Results, condition: Condition) -> str:
    change = results.base.change(condition, results.nhr)
    if change is None:
        return ""
    return f" ({100 * change.value:+.0f} points, 95 % interval {100 * change.low:+.0f} to {100 * change.high:+.0f})"


def _listed(langs: list[str]) -> str:
    return ", ".join(langs) or "no language"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
