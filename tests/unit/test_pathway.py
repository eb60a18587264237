"""Edges of a pathway, on planted activations and against the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import Neuron, NeuronSet
from ssn_eval.identification import pathway
from ssn_eval.identification.pathway import Thresholds

NEURONS = [Neuron(layer, "mlp", index) for layer in (0, 1, 3) for index in (0, 1, 2)]


def drawn(seed: int, together: bool) -> np.ndarray:
    """Activations, (60, 9); neuron 1 of layer 0 and neuron 2 of layer 1 rise in the same half of the samples, if asked."""
    values = np.random.default_rng(seed).normal(size=(60, 9))
    if together:
        values[:30, [1, 5]] += 6
    return values


def test_co_activation_finds_the_planted_edge_and_only_neighbouring_layers():
    edges = pathway.co_activation(NEURONS, drawn(0, True), drawn(1, False))
    assert (Neuron(0, "mlp", 1), Neuron(1, "mlp", 2)) in edges
    assert all(b.layer == a.layer + 1 for a, b in edges)
    assert len(edges) <= 2, "p < .05 lets one of eight other pairs pass at most now and then"
    assert pathway.endpoints(edges[:1]) == NeuronSet(frozenset(edges[0]))
    # the same rise on harmless prompts is no sign of harm: the lift is no larger
    assert (Neuron(0, "mlp", 1), Neuron(1, "mlp", 2)) not in pathway.co_activation(
        NEURONS, drawn(0, True), drawn(2, True)
    )
    strict = Thresholds(joint=1.1)
    assert pathway.co_activation(NEURONS, drawn(0, True), drawn(1, False), strict) == []
    with pytest.raises(EmptySetError, match="two harmful"):
        pathway.co_activation(NEURONS, drawn(0, True)[:1], drawn(1, False))


def test_phi_and_lift_are_the_textbook_ones():
    a, b = np.array([[1.0], [1], [0], [0], [1]]), np.array([[1.0], [0], [0], [0], [1]])
    assert pathway._phi(a, b)[0, 0] == pytest.approx(np.corrcoef(a[:, 0], b[:, 0])[0, 1])
    assert pathway._lift(a, b)[0, 0] == pytest.approx((2 / 5) / (3 / 5 * 2 / 5))
    assert pathway._phi(np.ones((5, 1)), b)[0, 0] == 0


def test_propagation_needs_a_fall_above_chance_and_large_enough():
    random_falls = np.array([[0.0, 0.0], [0.2, 0.0], [-0.2, 0.0]])
    falls = np.array([[0.5, 0.5], [0.3, 0.1], [-0.9, 0.9]])
    # mean 0, deviation .2: z = 2.5, 1.5, …; the second neuron's controls do not vary, so nothing can be said of it
    assert pathway.propagates(falls, random_falls, np.array([1.0, 1.0])).tolist() == [
        [True, False],
        [False, False],
        [False, False],
    ]
    assert not pathway.propagates(falls, random_falls, np.array([11.0, 1.0]))[0, 0], "less than 5 % of its level"


def test_counts_name_edges_and_neurons():
    edge = (NEURONS[0], NEURONS[3])
    found = pathway.counts(NeuronSet(frozenset(NEURONS)), {"co_activation": [edge]})
    assert found == {"of": 9, "co_activation": {"edges": 1, "neurons": 2}}
