"""Neuron sets are sets: algebra, order, files."""

from __future__ import annotations

from typing import Any

import pytest

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, UnknownNameError
from ssn_eval.core.neurons import (
    SITES,
    Geometry,
    Neuron,
    NeuronSet,
    expand_sites,
    expert_site,
    is_among,
    parse_key,
    site_key,
)

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


@pytest.mark.parametrize(
    "key",
    [
        "layers.0",
        "layers.-1.mlp",
        "layer.0.mlp",
        "layers.0.gate",
        "layers.0.mlp.x",
        "layers.0.mlp.03",
        "layers.0.q_proj.3",
    ],
)
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


EXPERTS = Geometry(
    {"layers.0.q_proj": 4, "layers.0.mlp": 9, "layers.1.q_proj": 4}
    | {site_key(1, expert_site(e)): 6 for e in range(12)}
)


def test_experts_are_sites_of_their_own_in_the_order_of_their_numbers():
    neurons = NeuronSet.of([(1, "mlp.10", 0), (1, "mlp.2", 5), (1, "q_proj", 0), (0, "mlp", 1)])
    assert list(neurons.by_key()) == ["layers.0.mlp", "layers.1.q_proj", "layers.1.mlp.2", "layers.1.mlp.10"]
    assert NeuronSet.from_keys(neurons.by_key()) == neurons
    assert neurons.per_key() == {"layers.0.mlp": 1, "layers.1.q_proj": 1, "layers.1.mlp": 2}
    assert neurons.per_site() == {"mlp": 3, "q_proj": 1}
    EXPERTS.check(neurons)
    with pytest.raises(MismatchError, match=r"Neuron 0 of layers\.1\.mlp\.12"):
        EXPERTS.check([Neuron(1, "mlp.12", 0)])


def test_mlp_means_the_experts_too():
    assert EXPERTS.size(("mlp",)) == 9 + 72 and EXPERTS.size(("mlp.3",)) == 6 and EXPERTS.size() == 8 + 9 + 72
    assert expand_sites(["mlp.10", "mlp.9", "q_proj"]) == ("q_proj", "mlp.9", "mlp.10")
    assert [is_among("mlp.3", names) for names in (("mlp",), ("mlp.3",), ("mlp.30", "q_proj"))] == [True, True, False]
    with pytest.raises(UnknownNameError):
        expand_sites("q_proj.1")
    assert is_among("o_proj.1", ("o_proj",)) and not is_among("o_proj.1", ("mlp",))


def test_geometry_of_experts_is_short_and_round_trips():
    assert EXPERTS.to_json()["sites"] == {"q_proj": 4, "mlp": [9, {"experts": 12, "width": 6}]}
    assert Geometry.from_json(EXPERTS.to_json()) == EXPERTS
    alike = Geometry({site_key(i, expert_site(e)): 6 for i in range(3) for e in range(2)})
    assert alike.to_json() == {"layers": 3, "sites": {"mlp": {"experts": 2, "width": 6}}}
    beside = Geometry(
        {f"layers.0.{s}": w for s, w in {"o_proj": 8, "o_proj.1": 16, "mlp": 5, "mlp.0": 3, "mlp.1": 3}.items()}
    )
    sites: Any = beside.to_json()["sites"]
    assert sites["mlp"] == {"experts": 2, "width": 3, "dense": 5}
    assert Geometry.from_json(beside.to_json()) == beside
    gap = Geometry({"layers.0.q_proj": 4, "layers.1.q_proj": 4, "layers.1.mlp": 3})
    assert Geometry.from_json(gap.to_json()) == gap
    with pytest.raises(FormatError, match="experts of layer 0"):
        Geometry({"layers.0.mlp.1": 4}).to_json()
    for wrong in ({"experts": 2}, "six"):
        with pytest.raises(FormatError):
            Geometry.from_json({"layers": 1, "sites": {"mlp": wrong}})
