"""Scores to sets, by the paper's definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.identification import selection

WIDTHS = {"layers.0.q_proj": 40, "layers.0.mlp": 60, "layers.1.q_proj": 40, "layers.1.mlp": 60}


def scores(seed):
    generator = np.random.default_rng(seed)
    return {key: generator.random(width, dtype=np.float32) for key, width in WIDTHS.items()}


def test_top_takes_p_per_cent_of_each_layer_over_all_sites_together():
    values = scores(0)
    chosen = selection.top(values, 10)
    assert chosen.per_layer() == {0: 10, 1: 10}
    for layer in (0, 1):
        pool = np.concatenate([values[f"layers.{layer}.{s}"] for s in ("q_proj", "mlp")])
        least = min(values[f"layers.{n.layer}.{n.site}"][n.index] for n in chosen if n.layer == layer)
        assert (pool > least).sum() == 9
    assert set(selection.top(values, 10, ("mlp",)).per_site()) == {"mlp"}
    assert len(selection.top(values, 0.01)) == 2


def test_experts_compete_with_the_other_sites_of_their_layer():
    values = {f"layers.0.{site}": np.zeros(10, dtype=np.float32) for site in ("q_proj", "mlp.0", "mlp.1", "mlp.2")}
    values["layers.0.mlp.2"][7], values["layers.0.q_proj"][1], values["layers.0.mlp.1"][3] = 3, 2, 1
    assert selection.top(values, 5) == NeuronSet.of([(0, "mlp.2", 7), (0, "q_proj", 1)])
    assert selection.top(values, 7, ("mlp",)) == NeuronSet.of([(0, "mlp.2", 7), (0, "mlp.1", 3)])
    assert selection.top(values, 10, ("mlp.1",)) == NeuronSet.of([(0, "mlp.1", 3)])


def test_definitions_of_ms_ss_and_private():
    hr, nhr = selection.ms(scores(0), scores(1), 20), selection.ms(scores(0), scores(2), 20)
    assert hr == selection.top(scores(0), 20) - selection.top(scores(1), 20)
    assert selection.shared(nhr, hr) == nhr & hr
    assert selection.shared(nhr, hr) | selection.private(nhr, hr) == nhr
    assert not selection.shared(nhr, hr) & selection.private(nhr, hr)


def test_matched_random_has_the_same_profile_outside_the_set():
    target = selection.top(scores(0), 10)
    first, again, other = (selection.matched_random(target, Geometry(WIDTHS), s) for s in (0, 0, 1))
    assert first == again != other
    assert first.per_key() == target.per_key() and not first & target
    with pytest.raises(EmptySetError):
        selection.matched_random(NeuronSet(frozenset()), Geometry(WIDTHS), 0)
    with pytest.raises(MismatchError, match="fewer than"):
        selection.matched_random(selection.top(scores(0), 80), Geometry(WIDTHS), 0)


@pytest.mark.parametrize("p", [0, -1, 101, float("nan")])
def test_p_out_of_range(p):
    with pytest.raises(ParamsError, match="percentage"):
        selection.top(scores(0), p)


def test_bad_scores():
    bad = scores(0) | {"layers.1.mlp": np.full(60, np.nan, np.float32)}
    with pytest.raises(FormatError, match=r"layers\.1\.mlp"):
        selection.top(bad, 3)
    with pytest.raises(MismatchError):
        selection.ms(scores(0), {"layers.0.q_proj": np.zeros(40, np.float32)}, 3)
    with pytest.raises(EmptySetError):
        selection.top({"layers.0.mlp": np.ones(4, np.float32)}, 3, ("q_proj",))


def test_global_scope_takes_p_per_cent_of_all_layers_at_once():
    values = scores(0)
    values["layers.1.mlp"] = values["layers.1.mlp"] + 1  # the later layer wins all places
    chosen = selection.top(values, 10, scope="global")
    assert chosen.per_key() == {"layers.1.mlp": 20}
    assert len(chosen) == len(selection.top(values, 10))
    best = np.sort(values["layers.1.mlp"])[-20:]
    assert sorted(values["layers.1.mlp"][n.index] for n in chosen) == best.tolist()
    assert len(selection.top(values, 0.01, scope="global")) == 1


@pytest.mark.parametrize("p", [0.01, 3, 20, 100])
def test_the_scopes_agree_on_one_layer(p):
    one = {key: np.round(values, 1) for key, values in scores(0).items() if key.startswith("layers.1.")}  # many ties
    assert selection.top(one, p, scope="global") == selection.top(one, p, scope="layer")


def test_an_unknown_scope():
    with pytest.raises(UnknownNameError, match="Did you mean layer"):
        selection.top(scores(0), 3, scope="layers")  # type: ignore[arg-type]


def test_ms_compares_both_tops_at_one_scope():
    found = selection.ms(scores(0), scores(1), 20, scope="global")
    assert found == selection.top(scores(0), 20, scope="global") - selection.top(scores(1), 20, scope="global")
    assert found != selection.ms(scores(0), scores(1), 20)


def test_sharing_by_k_goes_from_union_to_intersection():
    sets = [selection.top(scores(seed), 30) for seed in range(4)]
    by_k = [selection.at_least(sets, k) for k in range(1, 5)]
    assert by_k[0] == selection.union(sets) and by_k[-1] == selection.intersection(sets)
    assert all(fewer.members < more.members for more, fewer in zip(by_k, by_k[1:], strict=False))
    assert all(one.members <= by_k[0].members and by_k[-1].members <= one.members for one in sets)
    assert sum(map(len, by_k)) == sum(map(len, sets)), "a neuron in k sets counts at 1, …, k"
    assert selection.at_least(sets[:1], 1) == sets[0]


@pytest.mark.parametrize(("n", "k"), [(2, 3), (2, 0), (0, 0), (0, 1)])
def test_k_out_of_range(n, k):
    with pytest.raises(ParamsError, match=f"k goes from 1 to {n}"):
        selection.at_least([selection.top(scores(0), 3)] * n, k)
