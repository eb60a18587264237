"""Interventions: right everywhere, at every decode step, and gone afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import existing

from ssn_eval.errors import EmptySetError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.interventions import NONE, SUPPRESS, Op, bake, intervene, parse_op
from ssn_eval.neurons import NeuronSet

CHOSEN = NeuronSet.of(
    [(0, "q_proj", 1), (1, "k_proj", 3), (2, "v_proj", 2), (1, "o_proj", 7), (2, "mlp", 11), (0, "mlp", 0)]
)


@pytest.mark.parametrize("op", [SUPPRESS, Op(3.0), Op(-1.0)], ids=str)
def test_hooked_equals_baked(any_model, op):
    """Baking is the independent implementation: it touches weights and no hook."""
    ids = torch.randint(1, 120, (2, 9), generator=torch.Generator().manual_seed(0))
    chosen = existing(any_model, CHOSEN)
    with torch.no_grad():
        plain = any_model(ids).logits
        with intervene(any_model, chosen, op):
            hooked = any_model(ids).logits
        assert torch.equal(any_model(ids).logits, plain)
        bake(any_model, chosen, op)
        torch.testing.assert_close(any_model(ids).logits, hooked, atol=1e-5, rtol=1e-4)
    assert (hooked - plain).abs().max() > 1e-4


def test_active_at_every_decode_step(any_model):
    """Generation with the KV cache under the hook equals generation of the baked model, token by token."""
    ids = torch.randint(1, 120, (1, 5), generator=torch.Generator().manual_seed(1))
    chosen = existing(any_model, CHOSEN)
    baked = copy.deepcopy(any_model)
    bake(baked, chosen, Op(8.0))
    options = {
        "max_new_tokens": 12,
        "do_sample": False,
        "output_scores": True,
        "return_dict_in_generate": True,
        "pad_token_id": 0,
        "eos_token_id": None,
    }
    with intervene(any_model, chosen, Op(8.0)):
        hooked = any_model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    expected = baked.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(hooked.sequences, expected.sequences)
    for mine, theirs in zip(hooked.scores, expected.scores, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


def test_hooks_are_removed_after_an_exception(llama):
    ids = torch.tensor([[1, 2, 3]])
    plain = llama(ids).logits
    with pytest.raises(RuntimeError), intervene(llama, CHOSEN, SUPPRESS):
        raise RuntimeError
    assert torch.equal(llama(ids).logits, plain)


def test_bad_input_changes_nothing(llama):
    with pytest.raises(EmptySetError), intervene(llama, NeuronSet(frozenset()), SUPPRESS):
        pass
    with (
        pytest.raises(MismatchError, match=r"Neuron 99 of layers\.0\.q_proj"),
        intervene(llama, NeuronSet.of([(0, "mlp", 1), (0, "q_proj", 99)]), SUPPRESS),
    ):
        pass
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.modules())


def test_parse_op():
    assert (
        parse_op("suppress") == SUPPRESS
        and parse_op("scale:2") == Op(2.0)
        and parse_op(None) == parse_op("none") == NONE
    )
    assert [str(parse_op(t)) for t in ("suppress", "scale:1.5", "scale:0")] == ["suppress", "scale:1.5", "suppress"]
    with pytest.raises(UnknownNameError, match="Did you mean suppress"):
        parse_op("supress")
    for text in ("scale:", "scale:nan", "scale:inf", "scale:x"):
        with pytest.raises(ParamsError):
            parse_op(text)
