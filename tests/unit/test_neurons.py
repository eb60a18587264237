"""Neuron sets are sets: algebra, order, files."""

from __future__ import annotations

import pytest

from ssn_eval.errors import EmptySetError, FormatError, MismatchError, UnknownNameError
from ssn_eval.neurons import SITES, Geometry, NeuronSet, expand_sites, parse_key, site_key

A = NeuronSet.of([(0, "q_proj", 1), (0, "mlp", 2), (11, "o_proj", 3)])
B = NeuronSet.of([(0, "q_proj", 1), (2, "mlp", 2)])
SHAPE = Geometry({site_key(i, s): 8 for i in range(12) for s in SITES})


def test_set_algebra():
    assert (A & B) | (A - B) == A
    assert len(A | B) == len(A) + len(B) - len(A & B)
    assert A.jaccard(B) == B.jaccard(A) == pytest.approx(1 / 4)
    assert A.jaccard(A) == 1.0 and NeuronSet(frozenset()).jaccard(NeuronSet(frozenset())) == 1.0


def test_keys_round_trip_in_layer_order():
    assert list(A.by_key()) == ["layers.0.q_proj", "layers.0.mlp", "layers.11.o_proj"]
    assert NeuronSet.from_keys(A.by_key()) == A
    assert parse_key(site_key(7, "mlp")) == (7, "mlp")


@pytest.mark.parametrize("key", ["layers.0", "layers.-1.mlp", "layer.0.mlp", "layers.0.gate", "layers.0.mlp.x"])
def test_bad_keys(key):
    with pytest.raises(FormatError):
        parse_key(key)


def test_geometry_round_trip_and_check():
    assert Geometry.from_json(SHAPE.to_json()) == SHAPE
    uneven = Geometry({"layers.0.q_proj": 4, "layers.1.q_proj": 6})
    assert Geometry.from_json(uneven.to_json()) == uneven
    assert SHAPE.size(("mlp",)) == 96 and SHAPE.num_layers == 12
    SHAPE.check(A)
    for outside in ((0, "q_proj", 8), (12, "mlp", 0)):
        with pytest.raises(MismatchError, match="does not exist in this model"):
            SHAPE.check(NeuronSet.of([outside]))


def test_sites_by_group_name():
    assert expand_sites("both") == SITES and expand_sites(["mlp", "q_proj"]) == ("q_proj", "mlp")
    with pytest.raises(UnknownNameError):
        expand_sites("atention")
    with pytest.raises(EmptySetError):
        expand_sites([])
