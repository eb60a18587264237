"""Neuron-LoRA: fine-tune chosen neurons only, as an ordinary PEFT LoRA adapter (METHOD.md, section 3).

A masked update that touches only the rows R of W is `ΔW = E_R · A`: a LoRA whose `lora_B` is the fixed one-hot `E_R`
(out × |R|) and whose `lora_A` (|R| × in, zero at start) is trained. For columns C, `lora_A` is the fixed one-hot and `lora_B`
(zero at start) is trained. With `rank_pattern` = `alpha_pattern` = |R| the scaling is exactly 1. So any tool that loads
LoRA loads these, and merging changes only the chosen rows and columns. Biases are not trained.

With clusters of neurons, `E_R` is (out × clusters) with a 1 in row i and the column of i's cluster: the rows of a cluster share one update.

Routed experts are slices of one stacked parameter, (experts, …, …), which PEFT reaches by `target_parameters`: one pair of matrices
for each expert, all of one rank. That is the largest number of rows of an expert of the stack; an expert with fewer has zeros in the rest of
its one-hot matrix, so that the rest gets no gradient and stays zero.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError, EmptySetError
from ssn_eval.core.neurons import NeuronSet, site_kind
from ssn_eval.models import quantization
from ssn_eval.models.architectures.resolving import bare_model, geometry, resolve
from ssn_eval.models.architectures.sites import is_transposed
from ssn_eval.models.architectures.slices import Clusters, Slice, slices, tied

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from torch import nn
    from transformers import PreTrainedModel


def build(model: PreTrainedModel, neurons: NeuronSet, clusters: Clusters | None = None) -> PeftModel:
    """Wrap a model so that exactly the weights of `neurons` can be trained; its outputs are unchanged at first.

    Args:
        model: a plain model.
        neurons: the set.
        clusters: of these neurons; those of a cluster share one update (`slices.tied`). None: each has its own.

    Raises:
        EmptySetError: the set is empty.
        MismatchError: a neuron lies outside the model.
        ArchitectureError: the model's sites are not known, or PEFT cannot put a LoRA on one of the weights.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    if not neurons:
        raise EmptySetError("No adapter for an empty neuron set; use a larger p.")
    geometry(model).check(neurons)
    by_module, by_parameter = targets(model, neurons, clusters)
    ranks = {part.module: part.rank for part in by_module} | {part.name: part.rank for part in by_parameter}
    if len(ranks) < len(by_module) + len(by_parameter):
        raise ArchitectureError(
            "The set owns rows and columns of one weight, and a LoRA trains only one of them; train two sets in turn."
        )
    bare = dict(model.named_modules())
    modules = [part.module for part in by_module]
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=1,
        lora_alpha=1,
        target_modules=sorted(modules),
        target_parameters=sorted(part.name for part in by_parameter) or None,
        rank_pattern=ranks,
        alpha_pattern=ranks,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=bool(modules) and all(is_transposed(bare[name]) for name in modules),
    )
    try:
        with quiet():
            wrapped = get_peft_model(model, config)
    except ValueError as error:
        reason = str(error).splitlines()[0].partition(" Incompatible modules")[0]
        raise ArchitectureError(
            f"PEFT cannot put a LoRA on all of these weights of a {bare_model(model).config.model_type} model: {reason} "
            f"Train without the neurons of recurrent layers, or use a method with masked gradients."
        ) from error
    _refuse_lost(wrapped)
    tuned: Any = wrapped.base_model.model
    with torch.no_grad():
        for part in (*by_module, *by_parameter):
            _fix(_wrapper(tuned, part), part, bare[part.module])
    return wrapped


def targets(
    model: PreTrainedModel, neurons: NeuronSet, clusters: Clusters | None = None
) -> tuple[list[Slice], list[Slice]]:
    """What the neurons own: of the weights that PEFT is given as modules, and of those that it is given as parameters.

    Parameters are the stacks of experts, and every MLP weight of a model with experts, whose module names PEFT takes for the experts' ones.

    Raises:
        ArchitectureError: PEFT has no LoRA for one of the weights.
    """
    sites, modules = resolve(model), dict(model.named_modules())
    has_experts = any(p.ndim == 3 and name.endswith(".down_proj") for name, p in model.named_parameters())
    mlp = NeuronSet.of(n for n in neurons if has_experts and site_kind(n.site) == "mlp")
    by_module, by_parameter = (
        slices(sites, part) if clusters is None else tied(sites, {key: clusters[key] for key in part.by_key()})
        for part in (NeuronSet(neurons.members - mlp.members), mlp)
    )
    for part in by_module:
        parent, _, leaf = part.module.rpartition(".")
        if modules[part.module].weight.device.type == "cuda" and reads_weight(type(modules[parent]), leaf):
            raise ArchitectureError(
                f"A fused kernel of this {bare_model(model).config.model_type} model reads {part.name} itself on a GPU, so an adapter on it would not "
                f"be trained; train without the neurons of recurrent layers, or use a method with masked gradients."
            )
    for part in by_parameter:
        weight: Any = getattr(modules[part.module], part.parameter)
        if part.is_stack and len(weight) == 1:
            raise ArchitectureError(
                f"{part.name} is a stack of one expert, which PEFT cannot train; use masked gradients."
            )
    return by_module, by_parameter


def reads_weight(parent: type, leaf: str) -> bool:
    """Whether a class's forward function takes the weight of a module beside the module, as Mamba's fused kernels for training do."""
    import inspect

    try:
        return f"self.{leaf}.weight" in inspect.getsource(parent.forward)  # type: ignore[attr-defined]
    except (OSError, TypeError):
        return False


def _refuse_lost(wrapped: PeftModel) -> None:
    """Stop if PEFT would not find some of the adapter's matrices again when it loads the saved adapter.

    While loading, it renames them by the rules for old checkpoints of a model, and leaves out without a message what then has no place.

    Raises:
        ArchitectureError: names a weight.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    result: Any = set_peft_model_state_dict(wrapped, get_peft_model_state_dict(wrapped))
    lost = [name for name in result.missing_keys if ".lora_" in name]
    if lost:
        weight = without_wrappers(lost[0].removeprefix("base_model.model.").partition(".lora_")[0])
        base: Any = wrapped.unload()
        raise ArchitectureError(
            f"PEFT cannot put a LoRA on all of these weights of a {base.config.model_type} model: it would lose that of {weight} when "
            f"it loads the adapter again. Train without these neurons, or use a method with masked gradients."
        )


def _wrapper(tuned: nn.Module, part: Slice) -> Any:
    """PEFT's wrapper of a weight; those of several parameters of one module are nested."""
    wrapper: Any = tuned.get_submodule(part.module)
    while getattr(wrapper, "parameter_name", part.parameter) != part.parameter:
        wrapper = wrapper.base_layer
    return wrapper


def _fix(wrapper: Any, part: Slice, module: nn.Module) -> None:
    """Make one of the two matrices of a LoRA one-hot and fixed, and the other one zero and trained."""
    import torch

    lora_a, lora_b = wrapper.lora_A["default"].weight, wrapper.lora_B["default"].weight
    stacked = part.is_stack
    number = wrapper.num_experts if stacked else 1
    a, b = lora_a.view(number, -1, lora_a.shape[-1]), lora_b.view(lora_b.shape[0], -1, number)
    """(experts, rank, in) and (out, rank, experts)"""
    is_b = part.side == "output"
    if stacked:  # PEFT's in and out are the stored axes, in an order that depends on its version
        is_b = (part.axis(module) == -2) == getattr(wrapper, "_did_swap_in_out_features", False)
    lora_a.zero_()
    lora_b.zero_()
    for expert, indices in part.positions.items():
        ranks = torch.tensor(part.numbers(expert))
        if is_b:
            b[indices, ranks, expert or 0] = 1.0
        else:
            a[expert or 0, ranks, indices] = 1.0
    (lora_b if is_b else lora_a).requires_grad_(False)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide PEFT's warning that ranks of targeted parameters match no module: it applies them, and looks for modules alone."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"The following (rank|alpha)_pattern keys did not match", category=RuntimeWarning
        )
        yield


def trainable_parameters(model: PeftModel) -> tuple[int, int]:
    """`(trained, all of the base model's)` parameters; what only fills the rank of an expert is not counted."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    base = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    return trained - sum(
        _filling(m) for m in model.modules() if getattr(m, "num_experts", 1) > 1 and hasattr(m, "lora_A")
    ), base


def _filling(wrapper: Any) -> int:
    """How many trained numbers of a stack's LoRA stay zero, because their partner in the one-hot matrix is zero."""
    pair = [wrapper.lora_A["default"].weight, wrapper.lora_B["default"].weight]
    fixed = [weight for weight in pair if not weight.requires_grad]
    if len(fixed) != 1:
        return 0
    (trained,) = (weight for weight in pair if weight.requires_grad)
    ranks = wrapper.r["default"] * wrapper.num_experts
    is_b = fixed[0] is pair[1]
    return (ranks - int((fixed[0] != 0).any(dim=0 if is_b else 1).sum())) * (trained.numel() // ranks)


def merge(tuned: PeftModel) -> PreTrainedModel:
    """Add the adapter to the weights and remove it; in the plain model only the adapter's own entries have changed.

    If the adapter adds nothing to an entry, its bits stay (a stored −0 would become 0 by adding 0).

    Raises:
        ParamsError: the weights are quantised.
    """
    import torch

    base: Any = tuned.get_base_model()
    quantization.refuse(
        base,
        "an adapter cannot be added to them",
        "merge it into the model's plain weights, or load it beside these (adapter=)",
    )
    before: dict[tuple[str, str], torch.Tensor] = {}
    for name, module in base.named_modules():
        if hasattr(module, "base_layer"):
            parameter = getattr(module, "parameter_name", "weight")
            weight = getattr(module.get_base_layer(), parameter)
            before[without_wrappers(name), parameter] = weight.detach().clone()
    plain: Any = tuned.merge_and_unload()
    with torch.no_grad():
        for (name, parameter), old in before.items():
            weight = getattr(plain.get_submodule(name), parameter)
            weight.copy_(torch.where(weight == old, old, weight))
    return plain


def without_wrappers(name: str) -> str:
    """The name that a module has without PEFT's nested wrappers."""
    return ".".join(word for word in name.split(".") if word != "base_layer")
