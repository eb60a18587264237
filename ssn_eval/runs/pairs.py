"""Two runs on the same prompts, compared in pairs: McNemar's exact test and a paired bootstrap, corrected for many languages.

An unpaired test throws the pairing away: on the same answers it gave p = .080 where McNemar's gives .008 (lm-eval issue
3831).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ssn_eval.errors import EmptySetError, MismatchError, UnknownNameError
from ssn_eval.runs.rates import Share, danger
from ssn_eval.runs.samples import HARMFUL_METRICS, HARMLESS_METRICS, Reply
from ssn_eval.statistics import mcnemar, paired_difference

CORRECTIONS = {"holm": "holm", "bh": "fdr_bh", "none": None}
"""name on the command line → statsmodels' name"""


@dataclass(frozen=True)
class Paired:
    """One language (or all) of a benchmark in two runs."""

    n: int
    """replies that both runs scored"""
    left_out: int
    """replies that a judge left unscored in either run"""
    first: float
    second: float
    difference: Share
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
    """
    if correction not in CORRECTIONS:
        raise UnknownNameError("correction", correction, CORRECTIONS)
    known = {*HARMFUL_METRICS, *HARMLESS_METRICS}
    if metric is not None and metric not in known:
        raise UnknownNameError("metric", metric, known)
    one, two = _by_benchmark(first), _by_benchmark(second)
    shared = [key for key in one if key in two]
    if not shared:
        raise MismatchError(f"The runs share no benchmark: {_names(one)} and {_names(two)}.")
    found = []
    for name, label in shared:
        a, b = one[name, label], two[name, label]
        chosen = metric or _default(a, b, label)
        if chosen in (HARMFUL_METRICS if label == "harmful" else HARMLESS_METRICS):
            found.append(_comparison(name, label, a, b, chosen, correction))
    if not found:
        raise MismatchError(f"No benchmark that the runs share has the metric {metric}: {_names(one)}.")
    return found


def _comparison(
    name: str, label: str, a: Mapping[tuple[str, str], Reply], b: Mapping[tuple[str, str], Reply], metric: str, how: str
) -> Comparison:
    judges = {reply.judge for reply in [*a.values(), *b.values()]}
    if len(judges) > 1:
        raise MismatchError(f"{name} was judged by different judges in the two runs; judge both with one (ssn judge).")
    if a.keys() != b.keys():
        odd = sorted(a.keys() ^ b.keys())
        raise MismatchError(
            f"The runs did not answer the same prompts of {name}: {len(odd)} are in one of them only (first: {odd[0][1]} in "
            f"{odd[0][0]}); evaluate both with the same tasks and --limit."
        )
    languages: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in a:
        languages[key[0]].append(key)
    parts = {lang: _paired(keys, a, b, metric, name) for lang, keys in languages.items()}
    corrected = _corrected([p.p for p in parts.values() if p.p is not None], how)
    parts = {
        lang: Paired(**{**vars(p), "p_corrected": c}) for (lang, p), c in zip(parts.items(), corrected, strict=True)
    }
    overall = _paired(list(a), a, b, metric, name)
    return Comparison(name, label, metric, how, parts, overall)


def _paired(
    keys: Sequence[tuple[str, str]],
    a: Mapping[tuple[str, str], Reply],
    b: Mapping[tuple[str, str], Reply],
    metric: str,
    name: str,
) -> Paired:
    flags = [
        (key[1], x, y)
        for key in keys
        if (x := a[key].flag(metric)) is not None and (y := b[key].flag(metric)) is not None
    ]
    if not flags:
        langs = ", ".join(sorted({lang for lang, _ in keys}))
        raise EmptySetError(
            f"No reply of {name} in {langs} has the metric {metric} in both runs; nothing can be compared."
        )
    ids, first, second = [i for i, _, _ in flags], [bool(x) for _, x, _ in flags], [bool(y) for _, _, y in flags]
    test = mcnemar(first, second)
    if len(set(ids)) < 2:
        difference = Share(sum(second) / len(second) - sum(first) / len(first), None, None, len(flags))
    else:
        found = paired_difference(first, second, ids)
        difference = Share(found.value, found.low, found.high, len(flags))
    return Paired(
        n=len(flags),
        left_out=len(keys) - len(flags),
        first=sum(first) / len(first),
        second=sum(second) / len(second),
        difference=difference,
        only_first=test.only_first,
        only_second=test.only_second,
        p=test.p if len(set(ids)) == len(ids) else None,
        p_corrected=None,
    )


def _corrected(p: Sequence[float], how: str) -> list[float]:
    method = CORRECTIONS[how]
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
    found: dict[tuple[str, str], dict[tuple[str, str], Reply]] = defaultdict(dict)
    for reply in replies:
        found[reply.benchmark, reply.label][reply.lang, reply.id] = reply
    return found


def _names(found: Mapping[tuple[str, str], object]) -> str:
    return ", ".join(sorted({name for name, _ in found}))
