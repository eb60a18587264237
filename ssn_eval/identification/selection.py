"""From scores to neuron sets: `S` → MS → SS, private neurons, and matched random controls. Pure functions.

Paper, section 3 (METHOD.md, section 1): `S_l(D)` is the top p % of a layer's neurons by importance, all chosen sites of
the layer pooled; `MS_l = S_l(D_jail) - S_l(D_norm)`; `SS_l = MS_l & MS_HR`; private = `MS_l - MS_HR`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from typing import Literal, get_args

import numpy as np

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import SITES, Geometry, Neuron, NeuronSet, is_among, parse_key
from ssn_eval.core.store import NeuronFile, Scores

Scope = Literal["layer", "global"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


def top(scores: Scores, p: float, sites: Sequence[str] = SITES, scope: Scope = "layer") -> NeuronSet:
    """`S(D)`: the top p % of the neurons of the given sites, in each layer (the paper) or in all layers at once.

    Args:
        scores: site key → importance, `(width,)`, float32.
        p: per cent, in (0, 100]; at least one neuron is taken a pool.
        sites: which sites are candidates; their neurons compete within a pool.
        scope: `layer`: every layer is a pool of its own; `global`: one pool of all layers.

    Raises:
        ParamsError: p is out of range, or the scope is none.
        FormatError: a score is NaN or infinite.
        EmptySetError: no site of the scores is among `sites`.
    """
    if not 0 < p <= 100:
        raise ParamsError(f"p must be a percentage in (0, 100], got {p}.")
    if scope not in SCOPES:
        raise UnknownNameError("scope", scope, SCOPES)
    parts = parts_of(scores, sites)
    pools = [parts] if scope == "global" else [list(pool) for _, pool in groupby(parts, key=lambda part: part[0])]
    return NeuronSet(frozenset(neuron for pool in pools for neuron in _best(pool, _count(pool, p))))


def strongest(values: Scores, count: int, sites: Sequence[str] = SITES) -> NeuronSet:
    """The `count` neurons of the given sites with the largest values, over all layers.

    Args:
        values: site key → any statistic of every neuron, `(width,)`.
        count: how many; 0 or more.
        sites: which sites are candidates.

    Raises:
        FormatError, EmptySetError: as `top`.
    """
    return NeuronSet(frozenset(_best(parts_of(values, sites), count)))


Part = tuple[int, str, np.ndarray]
"""a layer, a site, and the values of its neurons, `(width,)`"""


def parts_of(values: Scores, sites: Sequence[str]) -> list[Part]:
    """The chosen sites' values, in layer order.

    Raises:
        FormatError: a value is NaN or infinite.
        EmptySetError: no site of the values is among `sites`.
    """
    parts: list[Part] = []
    for key, of_site in values.items():
        layer, site = parse_key(key)
        if not np.isfinite(of_site).all():
            raise FormatError(
                f"The scores of {key} hold NaN or infinite values; score again, in float32 if it was half precision."
            )
        if is_among(site, sites):
            parts.append((layer, site, of_site))
    if not parts:
        raise EmptySetError(f"The scores hold none of the sites {', '.join(sites)}; identify those sites first.")
    return sorted(parts, key=lambda part: part[0])


def _count(pool: Sequence[Part], p: float) -> int:
    """The number of neurons in p % of a pool, at least one."""
    return max(1, round(sum(len(values) for *_, values in pool) * p / 100))


def _best(pool: Sequence[Part], count: int) -> Iterator[Neuron]:
    """The `count` neurons of the largest values among parts that compete; ties go to the part and index that come first."""
    importance = np.concatenate([values for *_, values in pool])
    best = np.argsort(-importance, kind="stable")[:count]
    starts = np.cumsum([0, *(len(values) for *_, values in pool)])
    for place, which in zip(best.tolist(), (np.searchsorted(starts, best, side="right") - 1).tolist(), strict=True):
        layer, site, _ = pool[which]
        yield Neuron(layer, site, place - int(starts[which]))


def ms(jail: Scores, norm: Scores, p: float, sites: Sequence[str] = SITES, scope: Scope = "layer") -> NeuronSet:
    """`MS_l = S_l(D_jail) - S_l(D_norm)`: neurons that matter for harmful prompts and not for ordinary ones.

    Raises:
        MismatchError: the two score files are of different models or sites.
    """
    if {k: len(v) for k, v in jail.items()} != {k: len(v) for k, v in norm.items()}:
        raise MismatchError(
            "The harmful and the harmless scores cover different sites or shapes; identify both on one model."
        )
    return top(jail, p, sites, scope) - top(norm, p, sites, scope)


def shared(ms_lang: NeuronSet, ms_hr: NeuronSet) -> NeuronSet:
    """`SS_l = MS_l & MS_HR`."""
    return ms_lang & ms_hr


def private(ms_lang: NeuronSet, ms_hr: NeuronSet) -> NeuronSet:
    """`MS_l - MS_HR`: safety neurons that a language does not share with HR."""
    return ms_lang - ms_hr


def union(sets: Sequence[NeuronSet]) -> NeuronSet:
    """All neurons of any set."""
    return reduce(lambda a, b: a | b, sets, NeuronSet(frozenset()))


def at_least(sets: Sequence[NeuronSet], k: int) -> NeuronSet:
    """k-of-n sharing: the neurons of at least `k` of the sets. k = 1 is the union, k = n the intersection.

    Raises:
        ParamsError: k is below 1 or above the number of sets.
    """
    if not 1 <= k <= len(sets):
        raise ParamsError(f"Neurons of at least {k} of {len(sets)} sets were asked for; k goes from 1 to {len(sets)}.")
    counts = Counter(neuron for neurons in sets for neuron in neurons.members)
    return NeuronSet(frozenset(neuron for neuron, count in counts.items() if count >= k))


def intersection(sets: Sequence[NeuronSet]) -> NeuronSet:
    """The neurons that all sets hold.

    Raises:
        ParamsError: there is no set.
    """
    return at_least(sets, len(sets))


def matched_random(target: NeuronSet, geometry: Geometry, seed: int) -> NeuronSet:
    """The control: as many neurons per (layer, site) as `target` has, drawn outside it.

    Raises:
        EmptySetError: the target is empty.
        MismatchError: a site has too few other neurons.
    """
    if not target:
        raise EmptySetError("No matched random control for an empty neuron set.")
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[int]] = {}
    for key, indices in target.by_key().items():
        candidates = np.setdiff1d(np.arange(geometry.widths[key]), indices)
        if len(candidates) < len(indices):
            raise MismatchError(
                f"{key} has {len(candidates)} neurons outside the set, fewer than the {len(indices)} of its control."
            )
        drawn[key] = sorted(int(i) for i in generator.choice(candidates, size=len(indices), replace=False))
    return NeuronSet.from_keys(drawn)


def control_of(file: NeuronFile, seed: int) -> NeuronFile:
    """The matched random control of a neuron set, as a file of the same model; raises what `matched_random` raises."""
    return replace(file, neurons=matched_random(file.neurons, file.model.geometry, seed))


def overlap(sets: Mapping[str, NeuronSet]) -> dict[str, dict[str, float]]:
    """Jaccard index of every pair of named sets."""
    return {a: {b: sets[a].jaccard(sets[b]) for b in sets} for a in sets}
