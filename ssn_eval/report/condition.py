"""The measurements of one state of the model, with the rates and tests of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssn_eval.core.paired import aligned, paired_difference
from ssn_eval.core.statistics import (
    Estimate,
    McNemar,
    Rate,
    cluster_bootstrap,
    mcnemar,
    wilson,
)


@dataclass(frozen=True)
class Condition:
    """The measurements of one state of the model: the base, an intervention or a trained variant."""

    name: str
    """name in files: `base`, `suppress ss`, `scale:2 ss`, `train ssn`"""
    label: str
    """name for readers: `base`, `SS suppressed`, `SS × 2`, `trained SS`"""
    by_lang: Mapping[str, Mapping[str, Any]]
    """lang → {"refusal", "asr", "compliance", "harmless_refusal", "capability", "invalid": {"successes", "total"} or None,
    "unscored"}"""
    verdicts: Mapping[str, Mapping[str, int]]
    """lang → prompt id → 1 refused, 0 not (harmful held-out prompts)"""
    judge: Mapping[str, Any]
    """the identity of the judge, as far as the file records it"""
    ability: Mapping[str, Mapping[str, float]]
    """lang → {"kl", "perplexity", "tokens"}, against the base's own answers to harmless prompts; empty if it was not measured"""

    def rate(self, lang: str, what: str) -> Rate | None:
        """A rate with its Wilson interval; None if it was not measured."""
        counts = self.by_lang.get(lang, {}).get(what)
        return wilson(counts["successes"], counts["total"]) if counts and counts["total"] else None

    def mean(self, langs: Sequence[str], what: str) -> float | None:
        """The mean of a rate over the languages that have it, each with equal weight; None if no language has it."""
        measured = [counts for lang in langs if (counts := self.by_lang.get(lang, {}).get(what)) and counts["total"]]
        return sum(c["successes"] / c["total"] for c in measured) / len(measured) if measured else None

    def pooled(self, langs: Sequence[str]) -> Estimate | None:
        """The refusal rate over several languages, with prompts resampled by id; None with fewer than two prompts."""
        pairs = [(v, i) for lang in langs for i, v in sorted(self.verdicts.get(lang, {}).items())]
        if len({i for _, i in pairs}) < 2:
            return None
        return cluster_bootstrap([v for v, _ in pairs], [i for _, i in pairs])

    def attack(self, lang: str) -> tuple[str, Rate] | None:
        """The attack rate and its name: ASR if the judge reports harm, else compliance; None if refusal was not measured either.

        Compliance is an upper bound of ASR. If a file has neither, the rate is the share of prompts that were not refused.
        """
        for measure, title in (("asr", "ASR"), ("compliance", "compliance")):
            if attack_rate := self.rate(lang, measure):
                return title, attack_rate
        refused = self.rate(lang, "refusal")
        return ("not refused", wilson(refused.total - refused.successes, refused.total)) if refused else None

    def consistency(self, hr: str, langs: Sequence[str]) -> float | None:
        """Mean over prompts of the share of `langs` that refuse a prompt that HR refuses; 0 for a prompt that HR does not refuse."""
        hr_verdicts = self.verdicts.get(hr, {})
        shares = []
        for i, safe in hr_verdicts.items():
            refusals = [self.verdicts[lang][i] for lang in langs if i in self.verdicts.get(lang, {})]
            if refusals:
                shares.append(safe * sum(refusals) / len(refusals))
        return sum(shares) / len(shares) if shares else None

    def unscored(self, langs: Sequence[str]) -> int:
        """The number of replies that the judge could not score, over languages."""
        return sum(int(self.by_lang.get(lang, {}).get("unscored") or 0) for lang in langs)

    def change(self, other: Condition, langs: Sequence[str]) -> Estimate | None:
        """The refusal rate of `other` minus that of this condition on the same prompts, languages with equal weights; None without a common prompt."""
        tables = aligned(self.verdicts, other.verdicts, langs)
        return paired_difference(*tables) if tables else None

    def test(self, other: Condition, lang: str) -> McNemar | None:
        """McNemar's test of the refusals of two conditions on the same prompts; None without a common prompt."""
        pairs = list(_paired(self, other, lang))
        return mcnemar([bool(a) for _, a, _ in pairs], [bool(b) for *_, b in pairs]) if pairs else None


def _paired(first: Condition, second: Condition, lang: str) -> Iterator[tuple[str, int, int]]:
    second_verdicts = second.verdicts.get(lang, {})
    return ((i, v, second_verdicts[i]) for i, v in sorted(first.verdicts.get(lang, {}).items()) if i in second_verdicts)
