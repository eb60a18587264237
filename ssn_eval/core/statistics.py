"""Rates with intervals, and paired tests between variants, as pure functions over booleans and floats.

Benchmark prompts are parallel: the same prompt is asked in every language and of every variant, so its answers are not
independent. Intervals over several languages resample *prompt ids* (clusters), and two variants are compared on the
same prompts (McNemar, Newcombe, exchange of the variants prompt by prompt). An empty input raises an error. `scipy.stats` is loaded on first use.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy

from ssn_eval.core.errors import EmptySetError, MismatchError

CONFIDENCE = 0.95
RESAMPLES = 2000
PERMUTATIONS = 9999
SEED = 0


@dataclass(frozen=True)
class Rate:
    """`successes` of `total`, with the bounds of its confidence interval.

    Raises:
        EmptySetError: `total` is not positive.
    """

    successes: int
    total: int
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.total <= 0:
            raise EmptySetError("A rate of nothing was asked for: no sample was scored.")

    @property
    def value(self) -> float:
        """Successes / total."""
        return self.successes / self.total


@dataclass(frozen=True)
class Estimate:
    """A number with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """The outcome of an exact McNemar test on paired yes/no answers."""

    only_first: int
    """Number of pairs in which only the first variant says yes."""
    only_second: int
    """Number of pairs in which only the second variant says yes."""
    p: float
    """Two-sided exact p-value; 1.0 when the variants never disagree."""


@lru_cache(maxsize=4096)
def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> Rate:
    """Wilson's score interval of a proportion (Wilson 1927), without continuity correction.

    Raises:
        EmptySetError: `total` is zero.
        MismatchError: `successes` does not lie between 0 and `total`.
    """
    if total <= 0:
        raise EmptySetError("A rate of nothing was asked for: no sample was scored.")
    if not 0 <= successes <= total:
        raise MismatchError(f"{successes} successes of {total} samples is not a proportion.")
    bounds = scipy.stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    return Rate(successes, total, float(bounds.low), float(bounds.high))


def rate(flags: Sequence[bool], confidence: float = CONFIDENCE) -> Rate:
    """The share of true flags with its Wilson interval; the flags must be independent (one language, one variant)."""
    return wilson(sum(map(bool, flags)), len(flags), confidence)


def cluster_bootstrap(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """The mean of `values` with a percentile interval over resampled clusters (prompt ids).

    Args:
        values: one number or flag per sample, `(n,)`.
        clusters: the prompt id of each sample, `(n,)`; all samples of a prompt are drawn together.
        confidence: coverage of the interval.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling; the same seed gives the same bounds.

    Raises:
        EmptySetError: there are fewer than two clusters, so nothing can be resampled.
        MismatchError: the two sequences have different lengths.
    """
    _same_length(values, clusters, "value", "cluster")
    labels: dict[Hashable, int] = {}
    cluster_index = np.array([labels.setdefault(cluster, len(labels)) for cluster in clusters], dtype=int)
    if len(labels) < 2:
        raise EmptySetError(f"A bootstrap over prompts needs at least two prompts; found {len(labels)}.")
    numbers = np.asarray(values, dtype=float)
    sums = np.bincount(cluster_index, weights=numbers, minlength=len(labels))
    counts = np.bincount(cluster_index, minlength=len(labels)).astype(float)
    draws = _draw(len(labels), resamples, seed)
    means = (draws @ sums) / (draws @ counts)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(numbers.mean()), float(low), float(high))


def contrast(
    values: np.ndarray,
    weights: Sequence[float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Estimate:
    """A weighted sum of the means of several groups (languages), with a percentile interval over resampled prompts.

    Weights of 1/L give the mean over L languages, each with equal weight however many of its samples were scored. Weights
    of 1/(L-1) for all languages but one, and -1 for that one, give the gap between them.

    Args:
        values: one number or flag per prompt and group, NaN if it is missing, `(prompts, groups)`.
        weights: one weight per group, `(groups,)`.
        confidence: coverage of the interval.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        EmptySetError: a group with a weight has no value, or there are fewer than two prompts.
        MismatchError: the number of weights differs from the number of groups.
    """
    groups = np.asarray(weights, dtype=float)
    if values.ndim != 2 or values.shape[1] != len(groups):
        raise MismatchError(f"{len(groups)} weights for values of shape {values.shape}: each group needs one.")
    has_weight = groups != 0
    has_value = ~np.isnan(values[:, has_weight])
    if not has_value.any(axis=0).all():
        raise EmptySetError("A mean over groups was asked for, but one of them has no value.")
    rows = has_value.any(axis=1)
    if rows.sum() < 2:
        raise EmptySetError(f"A bootstrap over prompts needs at least two prompts; found {rows.sum()}.")
    counts, sums = has_value[rows].astype(float), np.nan_to_num(values[:, has_weight][rows])
    draws = _draw(len(counts), resamples, seed)
    with np.errstate(invalid="ignore"):  # a resample may hold no prompt of a small group
        means = ((draws @ sums) / (draws @ counts)) @ groups[has_weight]
    low, high = np.nanquantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = math.fsum((sums.sum(axis=0) / counts.sum(axis=0)) * groups[has_weight])
    return Estimate(value, float(low), float(high))


def paired_difference(first: np.ndarray, second: np.ndarray, *, confidence: float = CONFIDENCE) -> Estimate:
    """The rate of a second variant minus that of a first one on the same prompts, over one or several groups (languages) with equal weights.

    The interval is Newcombe's (1998, method 10): it joins Wilson's intervals of the two rates and the correlation between them. Unlike
    a bootstrap, it has a width when all pairs agree. Over several groups, the replies to one prompt are not independent: the
    effective number of replies comes from the variance between prompts (Donner and Zou 2012), and lies between the number of
    prompts and the number of replies. statsmodels' development version has the interval of one group
    (`confint_proportions_paired`).

    Args:
        first: 1.0 or 0.0 per prompt and group, NaN if missing, `(prompts, groups)`.
        second: the same of the second variant. A pair counts if both of its values are there.
        confidence: coverage of the interval.

    Raises:
        EmptySetError: there is no pair, or a group has none.
        MismatchError: the two shapes differ, so the samples are not paired.
    """
    first, second = _pairs(first, second)
    before = _ClusteredRate.of(first, confidence)
    after = _ClusteredRate.of(second, confidence)
    phi = _correlation(before, after)
    down, up = after.value - after.low, after.high - after.value
    first_down, first_up = before.value - before.low, before.high - before.value
    value = after.value - before.value
    low = value - math.sqrt(max(0.0, down**2 - 2 * phi * down * first_up + first_up**2))
    high = value + math.sqrt(max(0.0, up**2 - 2 * phi * up * first_down + first_down**2))
    return Estimate(value, max(-1.0, low), min(1.0, high))


def paired_p(first: np.ndarray, second: np.ndarray, seed: int = SEED) -> float:
    """The two-sided p-value of no difference between two variants on the same prompts.

    In one group it is McNemar's exact p. Over several groups the replies to one prompt are not independent, so the test exchanges
    the two variants prompt by prompt (`scipy.stats.permutation_test`; exact for up to 13 prompts that differ, else drawn).

    Args:
        first: as for `paired_difference`.
        second: as for `paired_difference`.
        seed: seed of the drawn exchanges.

    Raises:
        EmptySetError, MismatchError: as for `paired_difference`.
    """
    first, second = _pairs(first, second)
    if first.shape[1] == 1:
        return mcnemar(first[:, 0].tolist(), second[:, 0].tolist()).p
    differences = second - first
    shares = (np.nan_to_num(differences) / (~np.isnan(differences)).sum(axis=0)).mean(axis=1)
    changed = shares[np.abs(shares) > 1e-12]
    if len(changed) < 2:  # a single exchange cannot be extreme: two-sided, p is 1
        return 1.0
    found = scipy.stats.permutation_test(
        (changed, np.zeros_like(changed)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=PERMUTATIONS,
        vectorized=True,
        random_state=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prompts that have a pair in some group; NaN in both where one is missing.

    Raises:
        EmptySetError, MismatchError: as for `paired_difference`.
    """
    if first.ndim != 2 or first.shape != second.shape:
        raise MismatchError(
            f"The first values have the shape {first.shape} and the second {second.shape}: they must describe the same samples."
        )
    missing = np.isnan(first) | np.isnan(second)
    if missing.all(axis=0).any() or not missing.size:
        raise EmptySetError("A paired comparison was asked for, but a group has no pair.")
    rows = ~missing.all(axis=1)
    return np.where(missing, np.nan, first)[rows], np.where(missing, np.nan, second)[rows]


@dataclass(frozen=True)
class _ClusteredRate:
    """A rate over groups with equal weights, with Wilson's interval for the effective number of replies."""

    value: float
    low: float
    high: float
    deviations: np.ndarray
    """what each prompt adds to the rate minus what it would add on average, `(prompts,)`; the sum of squares is the rate's variance"""
    effective: float
    """the number of independent replies that would have this variance"""

    @classmethod
    def of(cls, values: np.ndarray, confidence: float) -> _ClusteredRate:
        """The rate of `values`, `(prompts, groups)`, NaN if missing; every group and every prompt has one value at least."""
        from statsmodels.stats.proportion import proportion_confint

        present = ~np.isnan(values)
        weights = present / present.sum(axis=0) / values.shape[1]
        means = np.nanmean(values, axis=0)
        deviations = (np.nan_to_num(values) * weights).sum(axis=1) - weights @ means
        value, variance = float(means.mean()), float((deviations**2).sum())
        effective = value * (1 - value) / variance if variance > 1e-15 else 0.0
        effective = min(max(effective, len(values)), int(present.sum()))
        bounds: Any = proportion_confint(value * effective, effective, alpha=1 - confidence, method="wilson")
        low, high = bounds
        return cls(value, min(float(low), value), max(float(high), value), deviations, effective)


def _correlation(first: _ClusteredRate, second: _ClusteredRate) -> float:
    """The correlation of two rates over prompts, with the continuity correction of Newcombe's method 10; 0 if one has no variance."""
    scale = math.sqrt(float((first.deviations**2).sum()) * float((second.deviations**2).sum()))
    if scale < 1e-15:
        return 0.0
    covariance = float(first.deviations @ second.deviations)
    if covariance > 0:
        covariance = max(0.0, covariance - 1 / (2 * first.effective * second.effective))
    return max(-1.0, min(1.0, covariance / scale))


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """Exact McNemar test (binomial on the discordant pairs) of two variants on the same samples.

    Raises:
        EmptySetError: there are no pairs.
        MismatchError: the sequences have different lengths, so the samples are not paired.
    """
    _same_length(first, second, "first", "second")
    if not len(first):
        raise EmptySetError("McNemar's test needs at least one pair; found none.")
    only_first = sum(bool(a) and not b for a, b in zip(first, second, strict=True))
    only_second = sum(bool(b) and not a for a, b in zip(first, second, strict=True))
    discordant = only_first + only_second
    p = float(scipy.stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0
    return McNemar(only_first, only_second, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's step-down correction (family-wise error; statsmodels), in the same order."""
    if not len(p_values):
        return []
    from statsmodels.stats.multitest import multipletests

    corrected: Any = multipletests(list(p_values), method="holm")
    return [float(p) for p in corrected[1]]


def mean_over_seeds(values: Sequence[float], confidence: float = CONFIDENCE) -> Estimate:
    """The mean over independent repetitions with Student's t-interval (n - 1 degrees of freedom).

    Raises:
        EmptySetError: fewer than two repetitions, so their spread is unknown.
    """
    if len(values) < 2:
        raise EmptySetError(f"An interval over seeds needs at least two seeds; found {len(values)}.")
    numbers = np.asarray(values, dtype=float)
    half = scipy.stats.t.ppf((1 + confidence) / 2, len(numbers) - 1) * scipy.stats.sem(numbers)
    mean = float(numbers.mean())
    return Estimate(mean, mean - float(half), mean + float(half))


def ends(values: Sequence[float]) -> tuple[float, float]:
    """The means of the first and of the last quarter of a curve, for example of a training loss.

    Raises:
        ValueError: the curve is empty.
    """
    if not values:
        raise ValueError("an empty curve has no ends")
    quarter = max(1, len(values) // 4)
    return float(np.mean(values[:quarter])), float(np.mean(values[-quarter:]))


@lru_cache(maxsize=2)
def _draw(clusters: int, resamples: int, seed: int) -> np.ndarray:
    """How often each cluster occurs in each resample, `(resamples, clusters)`, float.

    The results of one run share their prompts, so the last two matrices are cached.
    """
    counts = np.random.default_rng(seed).multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    counts = counts.astype(float)
    counts.setflags(write=False)
    return counts


def _same_length(first: Sequence[object], second: Sequence[object], name: str, other: str) -> None:
    if len(first) != len(second):
        raise MismatchError(
            f"{len(first)} of {name} but {len(second)} of {other}: they must describe the same samples."
        )
