"""How sure a ranking is: the two halves of the prompts rank the neurons apart, and are compared."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import spearmanr

from ssn_eval.neurons import parse_key
from ssn_eval.store import Scores


def split_half(first: Scores, second: Scores) -> float:
    """Spearman correlation of two halves' scores within a layer (all sites pooled, as selection pools them), mean over layers.

    NaN where a half is empty or a layer has no spread.
    """
    layers: dict[int, list[str]] = {}
    for key in first:
        layers.setdefault(parse_key(key)[0], []).append(key)
    pooled = [[np.concatenate([half[key] for key in keys]) for half in (first, second)] for keys in layers.values()]
    if any(np.ptp(half) == 0 or not np.isfinite(half).all() for pair in pooled for half in pair):
        return math.nan
    return float(np.mean([spearmanr(*pair).statistic for pair in pooled]))


def standard_error(half_correlation: float) -> float:
    """The standard error of the full set's ranking, in standard deviations of rank.

    `sqrt(1 − r)`, where `r = 2h/(1+h)` is the reliability of all prompts from the correlation h of two halves
    (Spearman–Brown; the standard error of measurement of classical test theory).
    """
    if not half_correlation > 0:
        return math.inf
    return math.sqrt(1 - 2 * half_correlation / (1 + half_correlation))
