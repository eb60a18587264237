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
