"""Which weights a method lets move: a neuron-LoRA, masked gradients of the full model, an ordinary LoRA, all of them, or all but a set's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.models import quantization
from ssn_eval.models.architectures.resolving import geometry, resolve
from ssn_eval.models.architectures.sites import is_transposed
from ssn_eval.models.architectures.slices import Clusters, slices
from ssn_eval.training.adapters.neuron_lora import build, quiet, targets, trainable_parameters

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel


class Free(NamedTuple):
    """A model that is ready for training."""

    model: PreTrainedModel | PeftModel
    trainable: int
    """how many parameters can move"""
    total: int
    """how many the base model has"""
    masks: dict[str, torch.Tensor] | None = None
    """of masked gradients: parameter name → 1 where it may move; one number for a parameter that moves as a whole"""

    @property
    def is_adapter(self) -> bool:
        """Whether the base weights stay as they are."""
        return hasattr(self.model, "peft_config")


def free(model: PreTrainedModel, method: Method, neurons: NeuronSet | None, clusters: Clusters | None = None) -> Free:
    """Let the method's weights move, and no others.

    Args:
        model: a plain model; changed in place.
        method: how.
        neurons: the set, for a method that uses one.
        clusters: of these neurons, for the weights `tied` (`clusters.of_method`).

    Raises:
        EmptySetError: neurons are needed, and there are none.
        MismatchError, ArchitectureError: they do not fit the model, or its modules cannot be trained so.
        ParamsError: the weights are quantised, and the method would change them.
    """
    total = model.num_parameters()
    quantization.refuse_training(model)
    if method.uses_set and not neurons:
        use = "trains the neurons of" if method.on_neurons else "needs the neurons of"
        raise EmptySetError(f"The method {use} {method.set or 'a set'}, which is empty; use a larger select.p.")
    if method.weights == "tied" and clusters is None:
        raise EmptySetError("The weights tied need clusters of the neurons; make them with `clusters.of_method`.")
    if method.weights in ("neurons", "tied") and neurons:
        tuned = build(model, neurons, clusters if method.weights == "tied" else None)
        return Free(tuned, trainable_parameters(tuned)[0], total)
    if method.weights == "lora":
        tuned = low_rank(model, method.rank)
        return Free(tuned, trainable_parameters(tuned)[0], total)
    quantization.refuse(
        model, "this method changes them", "train an adapter beside them (ssn, lora), or load the model's plain weights"
    )
    model.requires_grad_(True)
    if method.masks_gradients and neurons:
        mask_by_name = masks(model, neurons) if method.weights == "mask" else complement(model, neurons)
        return Free(model, mask_gradients(model, mask_by_name), total, mask_by_name)
    return Free(model, total, total)


def low_rank(model: PreTrainedModel, rank: int) -> PeftModel:
    """An ordinary LoRA on every weight in which a site has rows or columns; scale 2 (α = 2 r), no dropout.

    Raises:
        ArchitectureError: the model's sites are not known, or PEFT cannot put a LoRA on one of the weights.
    """
    from peft import LoraConfig, get_peft_model

    modules, parameters = targets(model, NeuronSet.from_keys({key: [0] for key in geometry(model).widths}))
    names = sorted({part.module for part in modules})
    bare = dict(model.named_modules())
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=rank,
        lora_alpha=2 * rank,
        target_modules=names,
        target_parameters=sorted({part.name for part in parameters}) or None,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=bool(names) and all(is_transposed(bare[name]) for name in names),
    )
    with quiet():
        tuned: Any = get_peft_model(model, config)
    return tuned


def masks(model: PreTrainedModel, neurons: NeuronSet) -> dict[str, torch.Tensor]:
    """Parameter name → 1 if a chosen neuron owns the entry, else 0; weights without a chosen neuron are left out.

    As in neuron-LoRA, biases are not trained.

    Raises:
        MismatchError: a neuron lies outside the model.
    """
    import torch

    geometry(model).check(neurons)
    modules = dict(model.named_modules())
    mask_by_name: dict[str, torch.Tensor] = {}
    for part in slices(resolve(model), neurons):
        module = modules[part.module]
        mask = mask_by_name.setdefault(part.name, torch.zeros_like(getattr(module, part.parameter)))
        for expert, positions in part.positions.items():
            matrix = mask if expert is None else mask[expert]
            matrix[positions if part.axis(module) == -2 else (slice(None), positions)] = 1.0
    return mask_by_name


def complement(model: PreTrainedModel, neurons: NeuronSet) -> dict[str, torch.Tensor]:
    """Parameter name → 0 where a chosen neuron owns the entry, else 1, of every parameter; a single 1 where none owns any.

    A chosen neuron's entry of a bias is held, too: it is that neuron's own.

    Raises:
        MismatchError: a neuron lies outside the model.
    """
    import torch

    modules = dict(model.named_modules())
    masks_by_name = {name: 1.0 - mask for name, mask in masks(model, neurons).items()}
    for part in slices(resolve(model), neurons):
        name = f"{part.module}.bias"
        bias = getattr(modules[part.module], "bias", None)
        if part.side == "output" and not part.is_stack and isinstance(bias, torch.nn.Parameter):
            masks_by_name.setdefault(name, torch.ones_like(bias))[part.positions[None]] = 0.0
    return {
        name: masks_by_name.get(name, torch.ones((), dtype=parameter.dtype, device=parameter.device))
        for name, parameter in model.named_parameters()
    }


def mask_gradients(model: PreTrainedModel, mask_by_name: Mapping[str, torch.Tensor]) -> int:
    """The paper's `θ ← θ − η (M ⊙ ∇L)`: every gradient is computed, and at once multiplied by its mask; without one it is zero.

    Needs an optimizer without weight decay, which would move masked weights.

    Returns:
        How many weights can move.
    """
    import torch

    count = 0
    for name, parameter in model.named_parameters():
        mask = mask_by_name.get(name)
        count += 0 if mask is None else int(mask.count_nonzero()) * (parameter.numel() // mask.numel())
        if mask is None or mask.ndim:  # a single 1 changes nothing
            parameter.register_hook(lambda grad, mask=mask: torch.zeros_like(grad) if mask is None else grad * mask)
    return count
