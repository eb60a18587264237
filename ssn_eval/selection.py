"""From scores to neuron sets: `S` → MS → SS, private neurons, and matched random controls. Pure functions.

Paper, section 3 (METHOD.md, section 1): `S_l(D)` is the top p % of a layer's neurons by importance, all chosen sites of
the layer pooled; `MS_l = S_l(D_jail) - S_l(D_norm)`; `SS_l = MS_l & MS_HR`; private = `MS_l - MS_HR`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from ssn_eval.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.neurons import SITES, Geometry, Neuron, NeuronSet, is_among, parse_key
from ssn_eval.store import Scores


def top(scores: Scores, p: float, sites: Sequence[str] = SITES) -> NeuronSet:
    """`S(D)`: per layer, the top p % of the layer's neurons over the given sites; at least one a layer.

    Args:
        scores: site key → importance, `(width,)`, float32.
        p: per cent, in (0, 100].
        sites: which sites are candidates; their neurons compete within a layer.

    Raises:
        ParamsError: p is out of range.
        FormatError: a score is NaN or infinite.
        EmptySetError: no site of the scores is among `sites`.
    """
    if not 0 < p <= 100:
        raise ParamsError(f"p must be a percentage in (0, 100], got {p}.")
    layers: dict[int, list[tuple[str, np.ndarray]]] = {}
    for key, values in scores.items():
        layer, site = parse_key(key)
        if not np.isfinite(values).all():
            raise FormatError(
                f"The scores of {key} hold NaN or infinite values; score again, in float32 if it was half precision."
            )
        if is_among(site, sites):
            layers.setdefault(layer, []).append((site, values))
    if not layers:
        raise EmptySetError(f"The scores hold none of the sites {', '.join(sites)}; identify those sites first.")
    chosen: list[Neuron] = []
    for layer, parts in sorted(layers.items()):
        candidates = [Neuron(layer, site, i) for site, values in parts for i in range(len(values))]
        importance = np.concatenate([values for _, values in parts])
        count = max(1, round(len(candidates) * p / 100))
        best = np.argsort(-importance, kind="stable")[:count]
        chosen += [candidates[i] for i in best]
    return NeuronSet(frozenset(chosen))


def ms(jail: Scores, norm: Scores, p: float, sites: Sequence[str] = SITES) -> NeuronSet:
    """`MS_l = S_l(D_jail) - S_l(D_norm)`: neurons that matter for harmful prompts and not for ordinary ones.

    Raises:
        MismatchError: the two score files are of different models or sites.
    """
    if {k: len(v) for k, v in jail.items()} != {k: len(v) for k, v in norm.items()}:
        raise MismatchError(
            "The harmful and the harmless scores cover different sites or shapes; identify both on one model."
        )
    return top(jail, p, sites) - top(norm, p, sites)


def shared(ms_lang: NeuronSet, ms_hr: NeuronSet) -> NeuronSet:
    """`SS_l = MS_l & MS_HR`."""
    return ms_lang & ms_hr


def private(ms_lang: NeuronSet, ms_hr: NeuronSet) -> NeuronSet:
    """`MS_l - MS_HR`: safety neurons that a language does not share with HR."""
    return ms_lang - ms_hr


def union(sets: Sequence[NeuronSet]) -> NeuronSet:
    """All neurons of any set."""
    return reduce(lambda a, b: a | b, sets, NeuronSet(frozenset()))


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
        others = np.setdiff1d(np.arange(geometry.widths[key]), indices)
        if len(others) < len(indices):
            raise MismatchError(
                f"{key} has {len(others)} neurons outside the set, fewer than the {len(indices)} of its control."
            )
        drawn[key] = sorted(int(i) for i in generator.choice(others, size=len(indices), replace=False))
    return NeuronSet.from_keys(drawn)


def overlap(sets: Mapping[str, NeuronSet]) -> dict[str, dict[str, float]]:
    """Jaccard index of every pair of named sets."""
    return {a: {b: sets[a].jaccard(sets[b]) for b in sets} for a in sets}
