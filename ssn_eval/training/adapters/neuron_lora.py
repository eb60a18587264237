"""Neuron-LoRA: fine-tune chosen neurons only, as an ordinary PEFT LoRA adapter (METHOD.md, section 3).

A masked update that touches only the rows R of W is `ΔW = E_R · A`: a LoRA whose `lora_B` is the fixed one-hot `E_R`
(out × |R|) and whose `lora_A` (|R| × in, zero at start) is trained. For columns C, `lora_A` is the fixed one-hot and `lora_B`
(zero at start) is trained. With `rank_pattern` = `alpha_pattern` = |R| the scaling is exactly 1. So any tool that loads
LoRA loads these, and merging changes only the chosen rows and columns. Biases are not trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError, EmptySetError, ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.models.architectures.resolving import bare_model, geometry, resolve
from ssn_eval.models.architectures.sites import is_transposed

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def build(model: PreTrainedModel, neurons: NeuronSet) -> PeftModel:
    """Wrap a model so that exactly the weights of `neurons` can be trained; its outputs are unchanged at first.

    Raises:
        EmptySetError: the set is empty.
        MismatchError: a neuron lies outside the model.
        ArchitectureError: the model's sites are not known, or a neuron belongs to a routed expert.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    if not neurons:
        raise EmptySetError("No adapter for an empty neuron set; use a larger p.")
    geometry(model).check(neurons)
    rows, columns = _by_weight(model, neurons)
    ranks = {name: len(indices) for name, indices in (rows | columns).items()}
    bare = dict(model.named_modules())
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=1,
        lora_alpha=1,
        target_modules=sorted(ranks),
        rank_pattern=ranks,
        alpha_pattern=ranks,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=all(is_transposed(bare[name]) for name in ranks),
    )
    try:
        wrapped = get_peft_model(model, config)
    except ValueError as error:
        raise ArchitectureError(
            f"PEFT cannot put a LoRA on all of these weights of a {bare_model(model).config.model_type} model: {str(error).splitlines()[0]} "
            f"Train without the neurons of recurrent layers, or use a method with masked gradients."
        ) from error
    base: Any = wrapped.base_model.model
    modules: dict[str, Any] = dict(base.named_modules())
    with torch.no_grad():
        for name, indices in (rows | columns).items():
            lora_a, lora_b = modules[name].lora_A["default"].weight, modules[name].lora_B["default"].weight
            fixed, trained = (lora_b, lora_a) if name in rows else (lora_a.T, lora_b)
            fixed.zero_()
            fixed[indices, torch.arange(len(indices))] = 1.0
            trained.zero_()
            (lora_b if name in rows else lora_a).requires_grad_(False)
    return wrapped


def trainable_parameters(model: PeftModel) -> tuple[int, int]:
    """`(trained, all of the base model's)` parameters."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    base = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    return trained, base


def _by_weight(model: PreTrainedModel, neurons: NeuronSet) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Weight name → the rows, and weight name → the columns, that the neurons own."""
    rows: dict[str, list[int]] = {}
    columns: dict[str, list[int]] = {}
    sites = resolve(model)
    experts = any(site.expert is not None for site in sites.values())
    for key, indices in neurons.by_key().items():
        if sites[key].expert is not None:
            raise ArchitectureError(
                f"{key} is a routed expert, whose weights are slices of one stacked tensor that LoRA cannot train row by row; "
                f"train the attention neurons of this model (sites: attention)."
            )
        if key.endswith(".mlp") and experts:
            raise ArchitectureError(
                f"{key} is a dense layer of a model with experts, and PEFT takes any name of its weights for the experts' ones; "
                f"train the attention neurons of this model (sites: attention)."
            )
        for owned in sites[key].owned:
            weights = rows if owned.side == "output" else columns
            weights.setdefault(owned.name, []).extend(owned.of(indices))
    return ({name: sorted(set(indices)) for name, indices in weights.items()} for weights in (rows, columns))  # type: ignore[return-value]


def merge(tuned: PeftModel) -> PreTrainedModel:
    """Add the adapter to the weights and remove it; in the plain model only the adapter's own entries have changed.

    If the adapter adds nothing to an entry, its bits stay (a stored −0 would become 0 by adding 0).

    Raises:
        ParamsError: the weights are quantized.
    """
    import torch

    base: Any = tuned.get_base_model()
    if getattr(base.config, "quantization_config", None) is not None:
        raise ParamsError("The weights are quantized, so an adapter cannot be merged into them; load plain weights.")
    before = {
        name: module.base_layer.weight.detach().clone()
        for name, module in base.named_modules()
        if hasattr(module, "base_layer")
    }
    plain: Any = tuned.merge_and_unload()
    with torch.no_grad():
        for name, old in before.items():
            weight = plain.get_submodule(name).weight
            weight.copy_(torch.where(weight == old, old, weight))
    return plain
