"""Scores to sets, by the paper's definitions."""

from __future__ import annotations

import numpy as np
import pytest

from ssn_eval import selection
from ssn_eval.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.neurons import Geometry, NeuronSet

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
