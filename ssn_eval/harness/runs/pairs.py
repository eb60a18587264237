"""Two runs on the same prompts, compared in pairs: McNemar's exact test and a paired bootstrap, corrected for many languages.

An unpaired test ignores the pairing: on the same answers it gave p = .080 where McNemar's gives .008 (lm-eval issue
3831).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ssn_eval.core.errors import EmptySetError, MismatchError, UnknownNameError
from ssn_eval.core.statistics import contrast, mcnemar
from ssn_eval.harness.runs.rates import Share, danger
from ssn_eval.harness.runs.samples import HARMFUL_METRICS, HARMLESS_METRICS, Reply, judge_in_words

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh", "none": None}
"""name on the command line → statsmodels' name"""


@dataclass(frozen=True)
class Paired:
    """One language (or all) of a benchmark in two runs."""

    n: int
    """replies that both runs scored; where there are none, no figure"""
    left_out: int
    """replies that a judge left unscored in either run"""
    first: float | None
    """mean of the languages, which count alike"""
    second: float | None
    difference: Share | None
    """second - first"""
    only_first: int
    only_second: int
    p: float | None
    """McNemar's exact, two-sided; None over several languages, whose replies to one prompt are not independent"""
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
        second: of the other.
        metric: one of the metrics of `ssn summarize`; none: `asr` where the judge knows harm, else `refusal`
            (`over_refusal` on harmless prompts).
        correction: of the p-values over the languages of a benchmark: `holm` (family-wise), `bh` (false discovery rate) or `none`.

    Raises:
        UnknownNameError: no such metric or correction.
        MismatchError: no common benchmark, other prompts, languages or judges, or a metric that the judge does not tell.
        EmptySetError: nothing of a benchmark was scored in both runs.
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
        a, b = first_by_benchmark[name, label], second_by_benchmark[name, label]
        metric_name = metric or _default(a, b, label)
        if metric_name in (HARMFUL_METRICS if label == "harmful" else HARMLESS_METRICS):
            comparisons.append(_comparison(name, label, a, b, metric_name, correction))
    if not comparisons:
        raise MismatchError(f"No benchmark that the runs share has the metric {metric}: {_names(first_by_benchmark)}.")
    return comparisons


def _comparison(
    name: str,
    label: str,
    a: Mapping[tuple[str, str], Reply],
    b: Mapping[tuple[str, str], Reply],
    metric: str,
    correction: str,
) -> Comparison:
    judges = sorted({reply.judge for reply in [*a.values(), *b.values()]})
    if len(judges) > 1:
        judge_names = " and ".join(judge_in_words(judge) for judge in judges)
        raise MismatchError(
            f"{name} was judged by different judges in the two runs ({judge_names}), so a difference could be the judges'; judge both with "
            f"one (ssn judge)."
        )
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise MismatchError(
            f"The runs did not answer the same prompts of {name}: {len(odd)} are in one of them only (first: {odd[0][1]} in "
            f"{odd[0][0]}); evaluate both with the same tasks and --limit."
        )
    changed_key = next((key for key in a if a[key].prompt != b[key].prompt), None)
    if changed_key is not None:
        raise MismatchError(
            f"The runs asked other texts under the same id of {name} ({changed_key[1]} in {changed_key[0]}); only the same prompts can be "
            f"paired."
        )
    languages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in a:
        languages[key[0]].append(key)
    parts = {lang: _paired(keys, a, b, metric) for lang, keys in languages.items()}
    tested = {lang: p.p for lang, p in parts.items() if p.p is not None}
    corrected = dict(zip(tested, _corrected(list(tested.values()), correction), strict=True))
    parts = {lang: replace(p, p_corrected=corrected.get(lang)) for lang, p in parts.items()}
    overall = _paired(list(a), a, b, metric)
    if not overall.n:
        raise EmptySetError(f"No reply of {name} has the metric {metric} in both runs; nothing can be compared.")
    return Comparison(name, label, metric, correction, parts, overall)


def _paired(
    keys: Sequence[tuple[str, str]],
    a: Mapping[tuple[str, str], Reply],
    b: Mapping[tuple[str, str], Reply],
    metric: str,
) -> Paired:
    """The comparison of one language, or of several with equal weights."""
    flags = {
        key: (x, y) for key in keys if (x := a[key].flag(metric)) is not None and (y := b[key].flag(metric)) is not None
    }
    if not flags:
        return Paired(0, len(keys), None, None, None, 0, 0, None, None)
    langs, ids = ({name: i for i, name in enumerate(dict.fromkeys(key[part] for key in flags))} for part in (0, 1))
    table = np.full((2, len(ids), len(langs)), np.nan)
    for (lang, prompt_id), pair in flags.items():
        table[:, ids[prompt_id], langs[lang]] = pair
    first, second = (float(np.nanmean(side, axis=0).mean()) for side in table)
    if len(ids) < 2:
        difference = Share(second - first, None, None, len(flags))
    else:
        interval = contrast(table[1] - table[0], [1 / len(langs)] * len(langs))
        difference = Share(interval.value, interval.low, interval.high, len(flags))
    test = mcnemar([x for x, _ in flags.values()], [y for _, y in flags.values()])
    return Paired(
        n=len(flags),
        left_out=len(keys) - len(flags),
        first=first,
        second=second,
        difference=difference,
        only_first=test.only_first,
        only_second=test.only_second,
        p=test.p if len(langs) == 1 else None,
        p_corrected=None,
    )


def _corrected(p: Sequence[float], correction: str) -> list[float]:
    method = CORRECTIONS[correction]
    if method is None or not p:
        return list(p)
    from statsmodels.stats.multitest import multipletests

    corrected: Any = multipletests(list(p), method=method)[1]
    return [float(x) for x in corrected]


def _default(a: Mapping[tuple[str, str], Reply], b: Mapping[tuple[str, str], Reply], label: str) -> str:
    if label != "harmful":
        return "over_refusal"
    return "asr" if danger([*a.values()]) == danger([*b.values()]) == "asr" else "refusal"


def _by_benchmark(replies: Sequence[Reply]) -> dict[tuple[str, str], dict[tuple[str, str], Reply]]:
    """(benchmark, label) → (language, prompt id) → reply."""
    by_benchmark: dict[tuple[str, str], dict[tuple[str, str], Reply]] = defaultdict(dict)
    for reply in replies:
        by_benchmark[reply.benchmark, reply.label][reply.lang, reply.id] = reply
    return by_benchmark


def _names(replies: Mapping[tuple[str, str], object]) -> str:
    return ", ".join(sorted({name for name, _ in replies}))
