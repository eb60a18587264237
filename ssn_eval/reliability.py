"""How sure a ranking of neurons is: two halves of the prompts rank them apart, and are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ssn_eval.core.errors import MismatchError
from ssn_eval.core.neurons import SITES, is_among, parse_key
from ssn_eval.core.store import Scores


def rank_correlation(first: Scores, second: Scores, sites: Sequence[str] = SITES) -> dict[str, float | None]:
    """Spearman's correlation of two score files of the same neurons.

    Returns:
        `{"all", "within_layer"}`: over all neurons of the sites, and the mean of the layers' own correlations. Layers differ
        in scale, so the first is higher than what selection by layer needs. None where a file is constant.

    Raises:
        MismatchError: the files hold other sites or shapes.
    """
    if {k: len(v) for k, v in first.items()} != {k: len(v) for k, v in second.items()}:
        raise MismatchError("The two halves' scores cover different sites or shapes; score both halves again.")
    layers: dict[int, list[str]] = {}
    for key in sorted(first):
        layer, site = parse_key(key)
        if is_among(site, sites):
            layers.setdefault(layer, []).append(key)
    pooled = _spearman(first, second, [key for keys in layers.values() for key in keys])
    within = [r for keys in layers.values() if (r := _spearman(first, second, keys)) is not None]
    return {"all": pooled, "within_layer": round(sum(within) / len(within), 4) if within else None}


def standard_error(half_correlation: float | None) -> float:
    """The standard error of the full set's ranking, in standard deviations of rank.

    `sqrt(1 − r)`, where `r = 2h/(1+h)` is the reliability of all prompts from the correlation h of two halves
    (Spearman–Brown; the standard error of measurement of classical test theory). Infinite where h tells nothing.
    """
    if half_correlation is None or half_correlation <= 0:
        return math.inf
    return math.sqrt(1 - 2 * half_correlation / (1 + half_correlation))


def _spearman(first: Scores, second: Scores, keys: Sequence[str]) -> float | None:
    from scipy.stats import rankdata

    a, b = (rankdata(np.concatenate([values[key] for key in keys])) for values in (first, second))
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 4)
