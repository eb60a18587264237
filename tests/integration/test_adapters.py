"""Neuron-LoRA: only chosen rows and columns can move, stock PEFT loads it, and it equals gradient masking."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import existing, owned_by_hand, tiny

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.models.architectures.resolving import geometry
from ssn_eval.training.adapters.folder import load_adapter, refuse_other_base, save_adapter
from ssn_eval.training.adapters.neuron_lora import build, merge, trainable_parameters
from ssn_eval.training.weights import free
from ssn_eval.training.weights import masks as weight_masks

CHOSEN = NeuronSet.of(
    [(0, "q_proj", 1), (0, "q_proj", 5), (1, "k_proj", 3), (2, "v_proj", 2), (1, "o_proj", 7), (2, "mlp", 11)]
)
IDS = torch.randint(1, 120, (4, 10), generator=torch.Generator().manual_seed(0))


def reference(model) -> ModelRef:
    return ModelRef("tiny", "0" * 64, model.config.model_type, geometry(model))


def steps(model, n=4, lr=0.05, after_backward=lambda: None):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0.0)
    losses = []
    for _ in range(n):
        loss = model(IDS, labels=IDS).loss
        loss.backward()
        after_backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def owned(model, chosen=CHOSEN):
    """Weight name → the mask of entries that the chosen neurons own, by hand; neuron-LoRA does not train biases."""
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for layer, site, index in existing(model, chosen):
        for name, entries in owned_by_hand(model, layer, site, index).items():
            if not name.endswith("bias"):
                masks[name][entries] = True
    return masks


def test_only_the_chosen_weights_change_bit_for_bit_also_after_merging(any_model):
    original = copy.deepcopy(any_model)
    tuned = build(any_model, existing(original, CHOSEN))
    torch.testing.assert_close(tuned(IDS).logits, original(IDS).logits)
    losses = steps(tuned)
    assert losses[-1] < losses[0]
    merged, masks = tuned.merge_and_unload(), owned(original)
    moved = 0
    for (name, before), (_, after) in zip(original.named_parameters(), merged.named_parameters(), strict=True):
        changed = before != after
        assert not (changed & ~masks[name]).any(), name
        moved += int(changed.sum())
    assert moved > 0.9 * sum(int(m.sum()) for m in masks.values())


def test_equals_gradient_masking(any_model):
    """The paper's `θ ← θ − η (M ⊙ ∇L)` on the full model gives the same losses."""
    full = copy.deepcopy(any_model)
    tuned = build(any_model, existing(full, CHOSEN))
    masks = owned(full)

    def mask():
        for name, parameter in full.named_parameters():
            if parameter.grad is not None:
                parameter.grad *= masks[name]

    torch.testing.assert_close(steps(tuned, 8), steps(full, 8, after_backward=mask), atol=1e-5, rtol=1e-5)


def test_experts_of_a_layer_with_unequal_sets_and_dense_layers_beside_them():
    """PEFT has one rank for all experts of a stack; what fills it up stays zero, is not counted, and PEFT's name for it is no other weight's."""
    model = tiny("qwen3_moe")
    chosen = NeuronSet.of(
        [(0, "mlp", 1), (0, "mlp", 47), *((1, "mlp.0", i) for i in (0, 20, 43)), (1, "mlp.3", 7), (2, "mlp.5", 43)]
    )
    full, tuned = copy.deepcopy(model), build(model, chosen)
    rows = 3 * len(chosen) * 32
    assert trainable_parameters(tuned)[0] == rows
    masks = owned(full, chosen)
    assert {name: mask for name, mask in weight_masks(full, chosen).items() if (mask.bool() != masks[name]).any()} == {}
    free(full, Method("ss", "mask"), chosen)
    torch.testing.assert_close(steps(tuned, 8), steps(full, 8), atol=1e-5, rtol=1e-5)
    merged = dict(merge(tuned).named_parameters())
    for name, before in tiny("qwen3_moe").named_parameters():
        assert torch.equal(merged[name] != before, full.get_parameter(name) != before), name
        assert not ((merged[name] != before) & ~masks[name]).any(), name


def test_a_saved_adapter_loads_with_stock_peft_on_every_architecture(any_model, tmp_path, recwarn):
    from peft import PeftModel

    plain = copy.deepcopy(any_model)
    tuned = build(any_model, existing(plain, CHOSEN))
    steps(tuned)
    save_adapter(tuned, tmp_path / "a", reference(plain), {})
    expected = tuned(IDS).logits
    assert not torch.allclose(expected, plain(IDS).logits, atol=1e-3)
    stock = PeftModel.from_pretrained(plain, str(tmp_path / "a"))
    assert torch.equal(stock(IDS).logits, expected)
    assert not [w for w in recwarn if "fan_in_fan_out" in str(w.message)]  # PEFT would put it right, with a warning


def test_saved_adapter_loads_with_stock_peft_and_with_ours(llama, tmp_path):
    from peft import PeftModel

    plain = copy.deepcopy(llama)
    tuned = build(llama, CHOSEN)
    steps(tuned)
    save_adapter(tuned, tmp_path / "a", reference(plain), {"seed": 0})
    save_adapter(tuned, tmp_path / "b", reference(plain), {"seed": 0})
    assert files.sha256(tmp_path / "a") == files.sha256(tmp_path / "b")
    expected = tuned(IDS).logits
    stock = PeftModel.from_pretrained(copy.deepcopy(plain), str(tmp_path / "a"))
    assert torch.equal(stock(IDS).logits, expected)
    ours = load_adapter(copy.deepcopy(plain), tmp_path / "a", reference(plain))
    assert torch.equal(ours(IDS).logits, expected)
    assert trainable_parameters(tuned)[0] == 2 * 32 + 32 + 32 + 32 + 3 * 32


def test_an_intervention_sees_base_and_adapter_together(any_model):
    """Suppressing a trained neuron silences its adapter too: it equals suppressing it in the merged model."""
    chosen = existing(any_model, CHOSEN)
    tuned: Any = build(any_model, existing(any_model, CHOSEN))
    steps(tuned)
    with intervene(tuned, chosen, SUPPRESS):
        hooked = tuned(IDS).logits
    merged = tuned.merge_and_unload()
    with intervene(merged, chosen, SUPPRESS):
        torch.testing.assert_close(merged(IDS).logits, hooked, atol=1e-5, rtol=1e-4)


def test_bad_input(llama, tmp_path):
    with pytest.raises(EmptySetError):
        build(llama, NeuronSet(frozenset()))
    with pytest.raises(MissingInputError, match="adapter_config"):
        load_adapter(llama, tmp_path, reference(llama))
    ref = reference(llama)
    tuned = build(llama, CHOSEN)
    save_adapter(tuned, tmp_path / "a", ref, {})
    other = ModelRef("other", "1" * 64, ref.model_type, ref.geometry)
    with pytest.raises(MismatchError, match="same shape, another model"):
        refuse_other_base(tmp_path / "a", other)
    weights = tmp_path / "a" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(FormatError, match="damaged"):
        load_adapter(tuned.unload(), tmp_path / "a", ref)
