"""Compare two runs on the same prompts in pairs: interval and p of the difference (`core/paired.py`), corrected for many languages.

An unpaired test ignores the pairing: on the same answers it gave p = .080, while McNemar's gives .008 (lm-eval issue
3831).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ssn_eval.core.errors import EmptySetError, MismatchError, UnknownNameError
from ssn_eval.core.paired import paired_difference, paired_p
from ssn_eval.harness.runs.judged_replies import HARMFUL_METRICS, HARMLESS_METRICS, Reply, judge_in_words
from ssn_eval.harness.runs.rates import Share, danger

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh", "none": None}
"""name on the command line → statsmodels' name"""


@dataclass(frozen=True)
class Paired:
    """One language (or all) of a benchmark in two runs."""

    n: int
    """number of replies that both runs scored; if it is 0, no rate is known"""
    left_out: int
    """number of replies without the metric in at least one run"""
    first: float | None
    """mean over the languages, with equal weights"""
    second: float | None
    difference: Share | None
    """second - first"""
    only_first: int
    only_second: int
    p: float | None
    """two-sided: McNemar's exact test in one language; over several, the test that exchanges the runs prompt by prompt"""
    p_corrected: float | None


@dataclass(frozen=True)
class Comparison:
    """One benchmark and metric in two runs."""

    benchmark: str
    label: str
    metric: str
    correction: str
    languages: Mapping[str, Paired]
    overall: Paired

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(
    first: Sequence[Reply], second: Sequence[Reply], *, metric: str | None = None, correction: str = "holm"
) -> list[Comparison]:
    """Compare every benchmark that both runs have.

    Args:
        first: the replies of one run.
        second: the replies of the other run.
        metric: one of the metrics of `ssn summarize`; the default is `asr` if the judge reports harm, else `refusal`
            (`over_refusal` on harmless prompts).
        correction: correction of the p-values over the languages of a benchmark: `holm` (family-wise), `bh` (false discovery rate) or `none`.

    Raises:
        UnknownNameError: no such metric or correction.
        MismatchError: the runs share no benchmark, differ in prompts, languages or judges, or no shared benchmark has the metric.
        EmptySetError: no reply to a benchmark was scored in both runs.
    """
    if correction not in CORRECTIONS:
        raise UnknownNameError("correction", correction, CORRECTIONS)
    metrics = {*HARMFUL_METRICS, *HARMLESS_METRICS}
    if metric is not None and metric not in metrics:
        raise UnknownNameError("metric", metric, metrics)
    first_by_benchmark, second_by_benchmark = _by_benchmark(first), _by_benchmark(second)
    shared = [key for key in first_by_benchmark if key in second_by_benchmark]
    if not shared:
        raise MismatchError(
            f"The runs share no benchmark: {_names(first_by_benchmark)} and {_names(second_by_benchmark)}."
        )
    comparisons = []
    for name, label in shared:
        pair = first_by_benchmark[name, label], second_by_benchmark[name, label]
        metric_name = metric or _default(*pair, label)
        if metric_name in (HARMFUL_METRICS if label == "harmful" else HARMLESS_METRICS):
            comparisons.append(_comparison(name, label, *pair, metric_name, correction))
    if not comparisons:
        raise MismatchError(f"No benchmark that the runs share has the metric {metric}: {_names(first_by_benchmark)}.")
    return comparisons


def _comparison(
    name: str,
    label: str,
    first: Mapping[tuple[str, str], Reply],
    second: Mapping[tuple[str, str], Reply],
    metric: str,
    correction: str,
) -> Comparison:
    judges = sorted({reply.judge for reply in [*first.values(), *second.values()]})
    if len(judges) > 1:
        judge_names = " and ".join(judge_in_words(judge) for judge in judges)
        raise MismatchError(
            f"{name} was judged by different judges in the two runs ({judge_names}), so a difference could come from the judges; judge both "
            f"with one judge (ssn judge)."
        )
    if first.keys() != second.keys():
        unpaired = sorted(first.keys() ^ second.keys())
        raise MismatchError(
            f"The runs did not answer the same prompts of {name}: {len(unpaired)} are in one of them only (first: "
            f"{unpaired[0][1]} in {unpaired[0][0]}); evaluate both with the same tasks and --limit."
        )
    changed_key = next((key for key in first if first[key].prompt != second[key].prompt), None)
    if changed_key is not None:
        raise MismatchError(
            f"The runs have different texts under the same id of {name} ({changed_key[1]} in {changed_key[0]}); only the same "
            f"prompts can be paired."
        )
    keys_by_lang: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in first:
        keys_by_lang[key[0]].append(key)
    languages = {lang: _paired(keys, first, second, metric) for lang, keys in keys_by_lang.items()}
    p_values = {lang: paired.p for lang, paired in languages.items() if paired.p is not None}
    corrected = dict(zip(p_values, _corrected(list(p_values.values()), correction), strict=True))
    languages = {lang: replace(paired, p_corrected=corrected.get(lang)) for lang, paired in languages.items()}
    overall = _paired(list(first), first, second, metric)
    if not overall.n:
        raise EmptySetError(f"No reply of {name} has the metric {metric} in both runs; nothing can be compared.")
    return Comparison(name, label, metric, correction, languages, overall)


def _paired(
    keys: Sequence[tuple[str, str]],
    first: Mapping[tuple[str, str], Reply],
    second: Mapping[tuple[str, str], Reply],
    metric: str,
) -> Paired:
    """The comparison of one language, or of several with equal weights."""
    flags = {
        key: (x, y)
        for key in keys
        if (x := first[key].flag(metric)) is not None and (y := second[key].flag(metric)) is not None
    }
    if not flags:
        return Paired(0, len(keys), None, None, None, 0, 0, None, None)
    langs, ids = ({name: i for i, name in enumerate(dict.fromkeys(key[part] for key in flags))} for part in (0, 1))
    table = np.full((2, len(ids), len(langs)), np.nan)
    for (lang, prompt_id), pair in flags.items():
        table[:, ids[prompt_id], langs[lang]] = pair
    first_rate, second_rate = (float(np.nanmean(side, axis=0).mean()) for side in table)
    found = paired_difference(table[0], table[1])
    return Paired(
        n=len(flags),
        left_out=len(keys) - len(flags),
        first=first_rate,
        second=second_rate,
        difference=Share(found.value, found.low, found.high, len(flags)),
        only_first=sum(x and not y for x, y in flags.values()),
        only_second=sum(y and not x for x, y in flags.values()),
        p=paired_p(table[0], table[1]),
        p_corrected=None,
    )


def _corrected(p_values: Sequence[float], correction: str) -> list[float]:
    method = CORRECTIONS[correction]
    if method is None or not p_values:
        return list(p_values)
    from statsmodels.stats.multitest import multipletests

    corrected: Any = multipletests(list(p_values), method=method)[1]
    return [float(x) for x in corrected]


def _default(first: Mapping[tuple[str, str], Reply], second: Mapping[tuple[str, str], Reply], label: str) -> str:
    if label != "harmful":
        return "over_refusal"
    return "asr" if danger(first.values()) == danger(second.values()) == "asr" else "refusal"


def _by_benchmark(replies: Sequence[Reply]) -> dict[tuple[str, str], dict[tuple[str, str], Reply]]:
    """(benchmark, label) → (language, prompt id) → reply."""
    by_benchmark: dict[tuple[str, str], dict[tuple[str, str], Reply]] = defaultdict(dict)
    for reply in replies:
        by_benchmark[reply.benchmark, reply.label][reply.lang, reply.id] = reply
    return by_benchmark


def _names(replies: Mapping[tuple[str, str], object]) -> str:
    return ", ".join(sorted({name for name, _ in replies}))
