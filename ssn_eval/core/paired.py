"""Two variants on the same prompts, over one or several languages: the difference of their rates, and its p-value. Pure functions.

The replies to one prompt in several languages are not independent. The interval counts them as fewer replies, and the test exchanges
the two variants prompt by prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.statistics import CONFIDENCE, SEED, Estimate, mcnemar

PERMUTATIONS = 9999


def aligned(
    first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]], groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Two variants' values on the prompts that both have, as the two tables that `paired_difference` takes; None without a pair.

    Args:
        first: group (language) → prompt id → value.
        second: the same of the second variant.
        groups: the groups that count; one without a pair is left out.
    """
    shared = {g: sorted(first.get(g, {}).keys() & second.get(g, {}).keys()) for g in groups}
    shared = {g: ids for g, ids in shared.items() if ids}
    if not shared:
        return None
    rows = {prompt_id: row for row, prompt_id in enumerate(sorted({i for ids in shared.values() for i in ids}))}
    table = np.full((2, len(rows), len(shared)), np.nan)
    for column, (g, ids) in enumerate(shared.items()):
        for prompt_id in ids:
            table[:, rows[prompt_id], column] = first[g][prompt_id], second[g][prompt_id]
    return table[0], table[1]


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
