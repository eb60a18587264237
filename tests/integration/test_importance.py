"""The scorers on tiny models of every architecture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import existing, owned_by_hand, tiny
from scipy.stats import spearmanr
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from ssn_eval.architectures import decoder, geometry
from ssn_eval.errors import ArchitectureError, EmptySetError, FormatError, UnknownNameError
from ssn_eval.importance import score
from ssn_eval.importance.exact import exact
from ssn_eval.neurons import SITES, site_key

INPUTS = [list(map(int, np.random.default_rng(i).integers(1, 120, 4 + 3 * i))) for i in range(5)]


def flat(scores):
    return np.concatenate([scores[key] for key in scores])


def test_sketch_agrees_with_the_definition(any_model):
    sketched, measured = score(any_model, INPUTS, probes=24), score(any_model, INPUTS, method="exact")
    assert list(sketched) == list(measured) == list(geometry(any_model).widths)
    assert spearmanr(flat(sketched), flat(measured)).statistic > 0.97


def test_exact_equals_zeroing_the_weights(any_model):
    """The independent way: a fresh forward pass with everything that the neuron owns, by hand, set to zero."""
    ids = torch.tensor([INPUTS[2]])
    chosen = [(0, "q_proj", 3), (1, "k_proj", 5), (2, "v_proj", 1), (1, "o_proj", 9), (0, "mlp", 40), (2, "mlp", 7)]
    largest = 0.0
    with torch.no_grad():
        z = decoder(any_model)(ids).last_hidden_state[0, -1]
        for layer, site, index in existing(any_model, chosen):
            parameters = dict(any_model.named_parameters())
            owned = owned_by_hand(any_model, layer, site, index)
            saved = {name: parameters[name].clone() for name in owned}
            for name, entries in owned.items():
                parameters[name][entries] = 0
            expected = (decoder(any_model)(ids).last_hidden_state[0, -1] - z).norm().item()
            for name, value in saved.items():
                parameters[name].copy_(value)
            key = site_key(layer, site)
            found = exact(any_model, [INPUTS[2]], sites=SITES, neurons={key: [index]})[key][index]
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-6), key
            largest = max(largest, expected)
    assert largest > 1e-3


def test_exact_passes_over_layers_that_return_tuples():
    """Decoder layers of older transformers return `(hidden_states, …)`; so does a layer under some wrappers."""
    model = tiny("gpt2")
    expected = score(model, INPUTS[:2], method="exact")
    for block in model.transformer.h:
        block.__class__ = _TupleBlock
    found = score(model, INPUTS[:2], method="exact")
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-7)


class _TupleBlock(GPT2Block):
    """A layer with a tuple as output, called by a decoder that takes the first of it."""

    def forward(self, *args, **kwargs):
        return (super().forward(*args, **kwargs),)

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)[0]


@pytest.mark.parametrize("method", ["sketch", "local"])
def test_batched_equals_single(any_model, method):
    sites = ("o_proj", "mlp") if method == "local" else SITES
    together = score(any_model, INPUTS, method=method, sites=sites, batch_size=4)
    alone = score(any_model, INPUTS, method=method, sites=sites, batch_size=1)
    for key in together:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-3, atol=1e-6)


def test_same_seed_same_bytes_and_the_model_is_left_as_it_was(llama):
    before = {name: (p.clone(), p.requires_grad) for name, p in llama.named_parameters()}
    first, second = score(llama, INPUTS, seed=3), score(llama, INPUTS, seed=3)
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)
    assert not np.allclose(flat(first), flat(score(llama, INPUTS, seed=4)))
    for name, p in llama.named_parameters():
        assert p.grad is None and p.requires_grad == before[name][1] and torch.equal(p, before[name][0])


def test_exact_reuses_lower_layers_without_changing_the_model(llama):
    ids = torch.tensor([INPUTS[1]])
    before = llama(ids).logits
    score(llama, INPUTS[:1], method="exact")
    assert torch.equal(llama(ids).logits, before)
    assert not any("forward" in vars(m) for m in llama.modules())


def test_bad_input(llama):
    with pytest.raises(EmptySetError):
        score(llama, [])
    with pytest.raises(EmptySetError):
        score(llama, [[]])
    with pytest.raises(UnknownNameError, match="Did you mean sketch"):
        score(llama, INPUTS, method="sketsh")
    with torch.no_grad():
        llama.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(FormatError, match="NaN"):
        score(llama, INPUTS)


def test_unknown_architecture_says_what_to_add():
    from transformers import OPTConfig, OPTForCausalLM

    model = OPTForCausalLM(
        OPTConfig(num_hidden_layers=1, num_attention_heads=2, hidden_size=8, ffn_dim=8, vocab_size=10)
    )
    with pytest.raises(ArchitectureError, match=r"'opt' is not known.*LAYOUTS in ssn_eval/architectures/layouts\.py"):
        geometry(model)
