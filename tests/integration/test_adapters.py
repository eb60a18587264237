"""Neuron-LoRA: only chosen rows and columns can move, stock PEFT loads it, and it equals gradient masking."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import existing, owned_by_hand, tiny

from ssn_eval.core import files
from ssn_eval.core.errors import ArchitectureError, EmptySetError, FormatError, MismatchError, MissingInputError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.models.architectures.resolving import geometry
from ssn_eval.training.adapters.folder import load_adapter, refuse_other_base, save_adapter
from ssn_eval.training.adapters.neuron_lora import build, trainable_parameters

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


def trainable(model):
    """The chosen neurons that neuron-LoRA can train: all but those of routed experts."""
    return NeuronSet.of(n for n in existing(model, CHOSEN) if not n.site.startswith("mlp."))


def owned(model):
    """Weight name → the mask of entries that the chosen neurons own, by hand; neuron-LoRA does not train biases."""
    masks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    for layer, site, index in trainable(model):
        for name, entries in owned_by_hand(model, layer, site, index).items():
            if not name.endswith("bias"):
                masks[name][entries] = True
    return masks


def test_only_the_chosen_weights_change_bit_for_bit_also_after_merging(any_model):
    original = copy.deepcopy(any_model)
    tuned = build(any_model, trainable(original))
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
    tuned = build(any_model, trainable(full))
    masks = owned(full)

    def mask():
        for name, parameter in full.named_parameters():
            if parameter.grad is not None:
                parameter.grad *= masks[name]

    torch.testing.assert_close(steps(tuned, 8), steps(full, 8, after_backward=mask), atol=1e-5, rtol=1e-5)


def test_experts_cannot_be_trained_and_their_model_s_attention_can():
    model = tiny("qwen3_moe")
    with pytest.raises(ArchitectureError, match=r"layers\.2\.mlp\.1 is a routed expert.*sites: attention"):
        build(model, existing(model, CHOSEN))
    with pytest.raises(ArchitectureError, match=r"layers\.0\.mlp.*PEFT.*sites: attention"):
        build(tiny("qwen3_moe"), NeuronSet.of([(0, "mlp", 1), (1, "q_proj", 3)]))
    attention = NeuronSet.of([(1, "q_proj", 3), (2, "o_proj", 4)])
    assert trainable_parameters(build(model, attention))[0] == 2 * 32


def test_a_saved_adapter_loads_with_stock_peft_on_every_architecture(any_model, tmp_path, recwarn):
    from peft import PeftModel

    plain = copy.deepcopy(any_model)
    tuned = build(any_model, trainable(plain))
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
    tuned: Any = build(any_model, trainable(any_model))
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
