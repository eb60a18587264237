"""The memory that a run needs and the memory that is free; a run that cannot fit is refused before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import FormatError, SsnError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

GIB = 1 << 30
MARGIN = 1.1
"""factor on every estimate, because allocators round up and gradients need memory beside the activations"""


class MemoryNeedError(SsnError):
    """A run needs more memory than is free."""


def gib(size: float) -> str:
    """A number of bytes as text, for example `1.5 GiB`."""
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.0f} GiB"


def free(devices: set[torch.device]) -> int:
    """The free bytes of all devices together; for the CPU, the memory that is available without swapping."""
    import psutil
    import torch

    total = 0
    for device in devices:
        if device.type == "cuda":
            total += (
                torch.cuda.mem_get_info(device)[0]
                + torch.cuda.memory_reserved(device)
                - torch.cuda.memory_allocated(device)
            )
        else:
            total += psutil.virtual_memory().available
    return total


def empty(config: PreTrainedConfig, trust_remote_code: bool = False) -> Any:
    """A model without weights, from its config alone; nothing is loaded or allocated.

    Raises:
        FormatError: transformers has no class of it that writes text.
    """
    import torch

    from ssn_eval.models.classes import auto_class

    try:
        with torch.device("meta"):
            return auto_class(config).from_config(config, trust_remote_code=trust_remote_code)
    except ValueError as error:
        line = str(error).strip().split("\n")[0]
        raise FormatError(
            f"transformers has no class of {config.model_type} that reads and writes text: {line[:200]}"
        ) from error


def count_parameters(config: PreTrainedConfig, trust_remote_code: bool = False) -> int:
    """The number of a model's parameters, from its config alone.

    Raises:
        FormatError: as `empty`.
    """
    return sum(p.numel() for p in empty(config, trust_remote_code).parameters())


def weight_bytes(config: PreTrainedConfig, dtype: torch.dtype, trust_remote_code: bool = False) -> int:
    """The bytes of a model's weights in a dtype, from its config alone."""
    return count_parameters(config, trust_remote_code) * dtype.itemsize


def refuse_weights(need: int, device: torch.device, name: str) -> None:
    """Stop if a device cannot hold a model's weights. This is called before they are loaded.

    Args:
        need: bytes of the weights.
        device: the device.
        name: the model's name, for the message.

    Raises:
        MemoryNeedError: the message gives both numbers and what helps.
    """
    available = free({device})
    if need > available:
        raise MemoryNeedError(
            f"The weights of {name} need {gib(need)}, but {device} has {gib(available)} free; use a smaller dtype (bfloat16), "
            f"another device, or device_map=auto to spread them over several."
        )


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder on which its memory depends, from the config alone."""

    layers: int
    hidden: int
    queries: int
    """width of all query heads together"""
    keys: int
    """width of all key heads together; values are as wide"""
    mlp: int
    """intermediate width; for a mixture of experts, the sum over the experts of one token"""
    vocab: int
    parameters: int

    def kept(self) -> int:
        """An upper estimate of the values that one layer keeps of one token for a backward pass (a test measures it)."""
        return 8 * self.hidden + 4 * (self.queries + self.keys) + 4 * self.mlp


def shape(config: PreTrainedConfig, parameters: int) -> Shape:
    """Read the sizes from a config; architectures use different names for them."""
    text: Any = config.get_text_config()
    hidden = _number(text, "hidden_size", "n_embd", "d_model") or 1
    heads = _number(text, "num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads") or 1
    head = _number(text, "head_dim") or hidden // heads
    experts = _number(text, "num_experts_per_tok", "moe_topk", "top_k_experts")
    intermediate = _number(text, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size") or 4 * hidden
    mlp = experts * (_number(text, "moe_intermediate_size") or intermediate) if experts else intermediate
    keys = (_number(text, "num_key_value_heads") or heads) * head
    layers = _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers") or 1
    return Shape(layers, hidden, heads * head, keys, mlp, _number(text, "vocab_size") or 1, parameters)


def _number(config: Any, *names: str) -> int:
    """The first number of a config that is set, the largest where it differs by layer, else 0; a config may raise for a name."""
    for name in names:
        try:
            value = getattr(config, name, None)
        except Exception:  # noqa: BLE001, S112  # Gemma 4 raises for a name whose value differs by layer
            continue
        if isinstance(value, list) and value and all(isinstance(v, int) for v in value):
            value = max(value)
        if isinstance(value, int) and value:
            return value
    return 0


@dataclass(frozen=True)
class Use:
    """One use of a model, and the memory that it needs."""

    name: str
    batch: int
    tokens: int
    """tokens of the longest sequence of a batch"""
    need: float
    """bytes, weights included"""


def uses(sizes: Shape, itemsize: int) -> list[Use]:
    """The estimated memory of generation and identification, with usual batches; `training.memory` has that of training.

    Args:
        sizes: the sizes of the model.
        itemsize: bytes of one weight.
    """
    model_bytes = sizes.parameters * itemsize
    generate, identify = (16, 1024), (8, 256)
    cache_bytes = 2 * sizes.layers * sizes.keys * itemsize
    activation_bytes = sizes.layers * sizes.kept() * itemsize

    def use(name: str, batch_shape: tuple[int, int], token_bytes: float, row_bytes: float = 0) -> Use:
        batch, tokens = batch_shape
        need = (model_bytes + batch * (tokens * token_bytes + row_bytes)) * MARGIN
        return Use(name, batch, tokens, need)

    return [
        use("generate", generate, cache_bytes, row_bytes=4 * sizes.vocab),
        use("identify", identify, activation_bytes),
    ]
