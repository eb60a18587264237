"""What can be done with quantised weights: they are read as they are, and nothing is written into them.

Scores, hooks and adapters beside the weights need a module's output alone, which the library of the quantisation computes. Whatever changes
weights (baking, merging, masked gradients, every weight) is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def method_of(model: PreTrainedModel) -> str | None:
    """The name of the quantisation of a model's weights, such as `torchao`; None if they are plain numbers."""
    return method_of_config(model.config)


def method_of_config(config: Any) -> str | None:
    """The name of the quantisation that a config gives; None if there is none."""
    settings: Any = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    return str(getattr(method, "value", method) or "unknown")


def is_packed(module: nn.Module) -> bool:
    """Whether a linear module holds its weight in another form than a plain matrix of floating-point numbers, (out, in) or (in, out)."""
    import torch

    if not isinstance(getattr(module, "in_features", None), int) or not isinstance(
        getattr(module, "out_features", None), int
    ):
        return False
    weight = getattr(module, "weight", None)
    if not torch.is_tensor(weight):  # GPTQ and others: whole numbers under other names
        return any(not t.is_floating_point() for t in (*module.parameters(), *module.buffers()))
    return not (
        type(weight) in (torch.Tensor, torch.nn.Parameter) and weight.is_floating_point() and weight.itemsize > 1
    )


def refuse_without_gradients(model: PreTrainedModel, instead: str) -> None:
    """Stop if no gradient comes through a model's quantised weights.

    bitsandbytes packs 4-bit weights anew for a CPU with AVX-512 when they first run outside of training; its kernel for them has no backward pass.

    Args:
        model: the model, without an adapter.
        instead: the way round.

    Raises:
        ParamsError: the weights are packed so.
    """
    for module in model.modules():
        if getattr(getattr(getattr(module, "weight", None), "quant_state", None), "packing_format_for_cpu", False):
            refuse(model, "on this CPU bitsandbytes gives no gradients through 4-bit weights", instead)


def refuse_training(model: PreTrainedModel) -> None:
    """Stop if nothing can be trained beside a model's quantised weights.

    Raises:
        ParamsError: the library of the quantisation gives no gradients.
    """
    refuse_without_gradients(model, "train on a GPU, or beside 8-bit or plain weights")
    if method_of(model) is not None and not getattr(getattr(model, "hf_quantizer", None), "is_trainable", False):
        refuse(model, "transformers has no training beside weights of this kind")


def refuse(model: PreTrainedModel, because: str, instead: str = "load the model's plain weights instead") -> None:
    """Stop if a model's weights are quantised.

    Args:
        model: the model, without an adapter.
        because: why they would have to be plain.
        instead: the way round.

    Raises:
        ParamsError: they are.
    """
    method = method_of(model)
    if method is not None:
        raise ParamsError(f"The weights are quantised ({method}), and {because}; {instead}.")
