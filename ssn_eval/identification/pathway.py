"""Safety pathways: keep the neurons of a set that act together with one of the next layer (arXiv 2608.09095). Pure functions.

Two kinds of edges join a neuron i of one decoder layer and a neuron j of the next; both are in the set. `a` is the activation, averaged over a
response: of a refusal to a harmful prompt, or of an answer to a harmless one. A neuron is *on* in a sample if `a` is above its own median.

- *Co-activation*: on harmful prompts P(i, j) ≥ 0.03 and φ(i, j) ≥ 0.02, with p < 0.05 by 100 permutations (plus-one correction); and the lift
  `P(i, j) / (P(i) P(j))` is at least 1.5 times that on harmless prompts.
- *Propagation*: with i at its harmless mean on 50 harmful samples, `a_j` falls by Δ_ij. Δ_ij is at least 2 standard deviations above the falls for 20 random
  neurons of i's layer outside the set, and at least 0.05 of the mean of the absolute value of `a_j`.

The thresholds are the source's. The source does not say over which samples the median is taken; here it is over those of the same label, so that half of
them are on, and the lifts of both labels compare.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import Neuron, NeuronSet


@dataclass(frozen=True)
class Thresholds:
    """When an edge is kept; the defaults are the source's."""

    joint: float = 0.03
    phi: float = 0.02
    p: float = 0.05
    permutations: int = 100
    lift: float = 1.5
    z: float = 2.0
    share: float = 0.05


SOURCE = Thresholds()
Edge = tuple[Neuron, Neuron]
"""a neuron, and one of the next layer"""


def co_activation(
    neurons: Sequence[Neuron],
    harmful: np.ndarray,
    harmless: np.ndarray,
    thresholds: Thresholds = SOURCE,
    seed: int = 0,
) -> list[Edge]:
    """The edges between neurons of neighbouring layers that are on together.

    Args:
        neurons: the set, in any order.
        harmful: `a` on harmful prompts, (samples, neurons).
        harmless: `a` on harmless ones, likewise.
        thresholds: when an edge is kept.
        seed: of the permutations.

    Raises:
        EmptySetError: there are fewer than two samples of a label.
    """
    if min(len(harmful), len(harmless)) < 2:
        raise EmptySetError("A pathway needs two harmful and two harmless samples or more.")
    on, on_harmless = (part > np.median(part, axis=0) for part in (harmful, harmless))
    generator = np.random.default_rng(seed)
    orders = [generator.permutation(len(on)) for _ in range(thresholds.permutations)]
    edges: list[Edge] = []
    for first, second in neighbours(neurons):
        a, b = on[:, first].astype(float), on[:, second].astype(float)
        joint, phi = a.T @ b / len(a), _phi(a, b)
        exceeded = sum((_phi(a[order], b) >= phi).astype(int) for order in orders)
        p = (1 + exceeded) / (1 + thresholds.permutations)
        lift = _lift(a, b)
        lift_harmless = _lift(on_harmless[:, first].astype(float), on_harmless[:, second].astype(float))
        # where harmless prompts never switch both on, any co-activation on harmful ones is infinitely stronger
        ratio = np.divide(lift, lift_harmless, out=np.where(lift > 0, np.inf, 0.0), where=lift_harmless > 0)
        kept = (joint >= thresholds.joint) & (phi >= thresholds.phi) & (p < thresholds.p) & (ratio >= thresholds.lift)
        edges += [(neurons[first[i]], neurons[second[j]]) for i, j in np.argwhere(kept)]
    return edges


def neighbours(neurons: Sequence[Neuron]) -> Iterator[tuple[list[int], list[int]]]:
    """The positions of the neurons of every two neighbouring layers that both hold some."""
    by_layer: dict[int, list[int]] = {}
    for position, neuron in enumerate(neurons):
        by_layer.setdefault(neuron.layer, []).append(position)
    for layer, following in pairwise(sorted(by_layer)):
        if following == layer + 1:
            yield by_layer[layer], by_layer[following]


def propagates(
    falls: np.ndarray, random_falls: np.ndarray, levels: np.ndarray, thresholds: Thresholds = SOURCE
) -> np.ndarray:
    """Which falls count as propagation.

    Args:
        falls: Δ_ij, (neurons of a layer, neurons of the next).
        random_falls: the same for random neurons of the layer, (random neurons, neurons of the next); two or more.
        levels: the mean of the absolute value of a_j on harmful prompts, (neurons of the next,).
        thresholds: when an edge is kept.

    Returns:
        bool, as `falls`.
    """
    deviation = random_falls.std(axis=0, ddof=1)
    z = np.divide(falls - random_falls.mean(axis=0), deviation, out=np.full_like(falls, -np.inf), where=deviation > 0)
    return (z >= thresholds.z) & (falls >= thresholds.share * levels) & (falls > 0)


def endpoints(edges: Sequence[Edge]) -> NeuronSet:
    """The pathway: every neuron of an edge."""
    return NeuronSet(frozenset(neuron for edge in edges for neuron in edge))


def counts(neurons: NeuronSet, kinds: Mapping[str, Sequence[Edge]]) -> dict[str, object]:
    """What a set's provenance says: the set's size, and edges and endpoints by kind."""
    return {
        "of": len(neurons),
        **{kind: {"edges": len(edges), "neurons": len(endpoints(edges))} for kind, edges in kinds.items()},
    }


def _phi(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The correlation of two binary tables, (samples, n) and (samples, m); 0 where one is constant."""
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    scale = np.sqrt(np.outer((centred_a**2).sum(0), (centred_b**2).sum(0)))
    product = centred_a.T @ centred_b
    return np.divide(product, scale, out=np.zeros_like(product), where=scale > 0)


def _lift(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """P(i, j) / (P(i) P(j)); 0 where one is never on."""
    joint, expected = a.T @ b / len(a), np.outer(a.mean(0), b.mean(0))
    return np.divide(joint, expected, out=np.zeros_like(joint), where=expected > 0)
