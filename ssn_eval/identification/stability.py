"""How stable sets and scores are: split halves of the prompts, comparison with chance, and other values of p.

Importance is a mean over prompts, so sets made from two halves of the prompts show how much the choice of prompts decides. A set
on all prompts is at least as stable as its halves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ssn_eval.core.errors import MismatchError
from ssn_eval.core.neurons import SITES, Geometry, NeuronSet, is_among, parse_key
from ssn_eval.core.store import Scores
from ssn_eval.identification.selection import at_least

_NEGLIGIBLE = 1e-15


def expected_jaccard(first: Mapping[str, int], second: Mapping[str, int], geometry: Geometry) -> float:
    """The expected Jaccard index of two random sets with the given numbers of neurons in every layer and site.

    At each site the overlap of two independent draws is hypergeometric; the sites' overlaps add up to I, and the index is
    `I / (A + B - I)` with A and B the sets' sizes. Exact but for probabilities below 1e-15.

    Args:
        first: site key → number of neurons of the first set (`profile`).
        second: the same of the second set.
        geometry: the widths of the sites.
    """
    from scipy.stats import hypergeom

    low, total = 0, np.ones(1)  # total[i]: probability of an overlap of low + i
    for key in sorted(first.keys() & second.keys()):
        width, a, b = geometry.widths[key], first[key], second[key]
        least = max(0, a + b - width)
        chance = hypergeom.pmf(np.arange(least, min(a, b) + 1), width, a, b)
        total = np.convolve(total, chance)
        likely = np.flatnonzero(total > _NEGLIGIBLE)
        low, total = low + least + int(likely[0]), total[likely[0] : likely[-1] + 1]
    sizes = sum(first.values()) + sum(second.values())
    if not sizes:
        return 1.0
    overlap = low + np.arange(len(total))
    return float((total * overlap / (sizes - overlap)).sum() / total.sum())


def profile(neurons: NeuronSet) -> dict[str, int]:
    """Site key → number of neurons; every expert of a mixture is a site of its own, as in `Geometry.widths`."""
    return {key: len(indices) for key, indices in neurons.by_key().items()}


def split_half(
    first: Mapping[str, NeuronSet], second: Mapping[str, NeuronSet], geometry: Geometry
) -> dict[str, dict[str, object]]:
    """The stability of every set that both halves have.

    Args:
        first: name → set from the first half of the prompts.
        second: the same from the second half.
        geometry: the widths of the model's sites.

    Returns:
        name → `sizes` of the two, `jaccard`, and `chance`, which is `expected_jaccard` of the two sets' profiles; the last two
        are None if both sets are empty.
    """
    stability: dict[str, dict[str, object]] = {}
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        comparable = bool(a or b)
        stability[name] = {
            "sizes": [len(a), len(b)],
            "jaccard": round(a.jaccard(b), 4) if comparable else None,
            "chance": round(expected_jaccard(profile(a), profile(b), geometry), 4) if comparable else None,
        }
    return stability


def by_p(chosen: Mapping[str, NeuronSet], others: Mapping[float, Mapping[str, NeuronSet]]) -> list[dict[str, object]]:
    """How sets move with p.

    Args:
        chosen: name → set at the chosen p.
        others: p → name → set.

    Returns:
        Rows of `{"set", "p", "size", "jaccard"}`: the Jaccard index with the set at the chosen p, None if both are empty.
    """
    return [
        {"set": name, "p": p, "size": len(one), "jaccard": round(mine.jaccard(one), 4) if mine or one else None}
        for name, mine in chosen.items()
        for p, sets in others.items()
        for one in [sets.get(name, NeuronSet(frozenset()))]
    ]


def sharing(sets: Mapping[str, NeuronSet], groups: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
    """k-of-n sizes: group of languages → `{"1": neurons in the sets of at least one, …, "n": of all}`."""
    counts: dict[str, dict[str, int]] = {}
    for group, langs in groups.items():
        members = [sets[lang] for lang in langs]
        counts[group] = {str(k): len(at_least(members, k)) for k in range(1, len(members) + 1)}
    return counts


def rank_correlation(first: Scores, second: Scores, sites: Sequence[str] = SITES) -> dict[str, float | None]:
    """Spearman's correlation of two score files of the same neurons.

    Returns:
        `{"all", "within_layer"}`: over all neurons of the sites, and the mean of the layers' own correlations. Layers differ
        in scale, so the first is higher than what selection by layer needs. None if a file is constant.

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
    (Spearman–Brown; the standard error of measurement of classical test theory). Infinite if h is not known or not positive.
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
