"""Harden a model with its safety neurons: by amplification (no training), or by training; measured before and after on other prompts.

The prompts that no step before has seen are divided in two. On one half the dose is chosen: the factor with the highest refusal of harmful
prompts among those that stay within the limits. On the other half everything is measured that is reported.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.paired import aligned, paired_difference, paired_p
from ssn_eval.core.progress import progress
from ssn_eval.core.settings import HardenParams
from ssn_eval.core.statistics import Estimate
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness.bench import Bench
from ssn_eval.identification.selection import matched_random
from ssn_eval.interventions.ops import parse_op
from ssn_eval.prompts.prompt import Prompt

Counts = Mapping[str, Any]
"""the counts of one condition (`harness.evaluate.Evaluation`)"""


class Rates(NamedTuple):
    """The rates of one condition, means over the languages."""

    refusal: float
    """share of harmful prompts refused"""
    over_refusal: float
    """share of harmless prompts refused"""
    kl: float
    """distance from the base on harmless prompts, nats a token"""


class Trial(NamedTuple):
    """One dose on the prompts that choose."""

    dose: float
    rates: Rates
    is_within: bool
    """whether it stays within the limits"""


class Change(NamedTuple):
    """Refusal of harmful prompts before and after, on the same prompts."""

    before: float
    after: float
    difference: Estimate
    p: float


def halves(prompts: Sequence[Prompt], seed: int) -> tuple[list[Prompt], list[Prompt]]:
    """Divide prompts by their ids: the ones that choose, and the ones that test. A prompt is on one side in every language.

    Raises:
        EmptySetError: a label has fewer than two ids.
    """
    chosen: set[tuple[str, str]] = set()
    for label in dict.fromkeys(p.label for p in prompts):
        ids = sorted({p.id for p in prompts if p.label == label})
        if len(ids) < 2:
            raise EmptySetError(
                f"Hardening needs at least two {label} prompts that no step before has seen; found {len(ids)}."
            )
        random.Random(seed).shuffle(ids)
        chosen |= {(label, i) for i in ids[: len(ids) // 2]}
    choosing = [p for p in prompts if (p.label, p.id) in chosen]
    return choosing, [p for p in prompts if (p.label, p.id) not in chosen]


def rates(counts: Counts) -> Rates:
    """The rates of a condition's counts."""
    by_lang = counts["by_lang"].values()
    kl = [one["kl"] for one in (counts.get("ability") or {}).values()]
    return Rates(_mean(by_lang, "refusal"), _mean(by_lang, "harmless_refusal"), float(np.mean(kl)) if kl else 0.0)


def choose(base: Rates, by_dose: Mapping[float, Rates], limits: HardenParams) -> tuple[float | None, list[Trial]]:
    """The dose with the highest refusal within the limits, None if no dose is within them or none gains; and every trial.

    Of equal doses the smallest counts.
    """
    trials = [
        Trial(dose, found, found.over_refusal - base.over_refusal <= limits.over_refusal and found.kl <= limits.kl)
        for dose, found in sorted(by_dose.items())
    ]
    gaining = [trial for trial in trials if trial.is_within and trial.rates.refusal > base.refusal]
    best = max(gaining, key=lambda trial: trial.rates.refusal, default=None)
    return (best.dose if best else None), trials


def try_doses(bench: Bench, neurons: NeuronSet, limits: HardenParams) -> tuple[Rates, dict[float, Rates]]:
    """The rates of the base, and those of every dose."""
    with progress("choosing the dose", len(limits.doses) + 1) as advance:
        base = rates(bench.unchanged()["counts"])
        advance()
        by_dose = {}
        for dose in limits.doses:
            by_dose[dose] = rates(bench.intervened(neurons, parse_op(f"scale:{dose:g}"))["counts"])
            advance()
    return base, by_dose


def controls(file: NeuronFile, count: int) -> list[NeuronSet]:
    """Random sets with as many neurons in every layer and site, drawn outside the set."""
    return [matched_random(file.neurons, file.model.geometry, seed) for seed in range(count)]


def change(before: Counts, after: Counts, langs: Sequence[str]) -> Change | None:
    """The change of refusal over some languages with equal weights; None without a common prompt."""
    tables = aligned(before["verdicts"], after["verdicts"], langs)
    if tables is None:
        return None
    first, second = tables
    before_rate, after_rate = (float(np.nanmean(side, axis=0).mean()) for side in (first, second))
    return Change(before_rate, after_rate, paired_difference(first, second), paired_p(first, second))


def summary(before: Counts, after: Counts, langs: Sequence[str]) -> dict[str, Any]:
    """The result of the test as plain JSON values: rates before and after, and the change by language and over all."""
    changes = {lang: found for lang in langs if (found := change(before, after, [lang]))}
    overall = change(before, after, langs)
    return {
        "before": rates(before)._asdict(),
        "after": rates(after)._asdict(),
        "languages": {lang: _plain(found) for lang, found in changes.items()},
        "all": _plain(overall) if overall else None,
    }


def _plain(found: Change) -> dict[str, float]:
    difference = found.difference
    return {
        "before": found.before,
        "after": found.after,
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": found.p,
    }


def _mean(by_lang: Any, measure: str) -> float:
    found = [counts[measure] for counts in by_lang if counts.get(measure) and counts[measure]["total"]]
    return float(np.mean([c["successes"] / c["total"] for c in found])) if found else 0.0
