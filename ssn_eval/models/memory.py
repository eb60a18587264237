"""The memory that a run needs and the memory that is free; a run that cannot fit is refused before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import SsnError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

GIB = 1 << 30
MARGIN = 1.1
"""what a need is multiplied by: allocators round up, and gradients pass through beside the activations"""


class MemoryNeedError(SsnError):
    """A run that does not fit into the memory that is free."""


def gib(size: float) -> str:
    """A number of bytes as text, for example `1.5 GiB`."""
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.0f} GiB"


def free(devices: set[torch.device]) -> int:
    """The free bytes of all devices together; for a CPU, what the system can give without swapping."""
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


def count_parameters(config: PreTrainedConfig, trust_remote_code: bool = False) -> int:
    """How many weights a model has, from its config alone: nothing is loaded or allocated."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return sum(p.numel() for p in model.parameters())


def weight_bytes(config: PreTrainedConfig, dtype: torch.dtype, trust_remote_code: bool = False) -> int:
    """Bytes of a model's weights in a dtype, from its config alone."""
    return count_parameters(config, trust_remote_code) * dtype.itemsize


def refuse_weights(need: int, device: torch.device, name: str) -> None:
    """Stop before weights are loaded that the device cannot hold.

    Raises:
        MemoryNeedError: says how much is missing and what helps.
    """
    available = free({device})
    if need > available:
        raise MemoryNeedError(
            f"The weights of {name} need {gib(need)}, but {device} has {gib(available)} free; use a smaller dtype (bfloat16), "
            f"another device, or device_map=auto to spread them over several."
        )


@dataclass(frozen=True)
class Shape:
    """The widths of a decoder, on which its memory depends, from the config alone."""

    layers: int
    hidden: int
    queries: int
    """width of all query heads together"""
    keys: int
    """width of all key heads together; values are as wide"""
    mlp: int
    """intermediate width; of a mixture, that of the experts that one token goes through"""
    vocab: int
    parameters: int

    def kept(self) -> int:
        """An upper estimate of the values that one token keeps in one layer for a backward pass (a test measures it)."""
        return 8 * self.hidden + 4 * (self.queries + self.keys) + 4 * self.mlp


def shape(config: PreTrainedConfig, parameters: int) -> Shape:
    """Read a config's widths under any architecture's names."""
    text: Any = config.get_text_config()
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    head = int(getattr(text, "head_dim", None) or hidden // heads)
    experts = getattr(text, "num_experts_per_tok", None)
    wide = getattr(text, "intermediate_size", None) or getattr(text, "n_inner", None) or 4 * hidden
    mlp = int(experts) * int(getattr(text, "moe_intermediate_size", None) or wide) if experts else int(wide)
    keys = int(getattr(text, "num_key_value_heads", None) or heads) * head
    return Shape(int(text.num_hidden_layers), hidden, heads * head, keys, mlp, int(text.vocab_size), parameters)


@dataclass(frozen=True)
class Use:
    """One use of a model and the bytes that it needs, weights included."""

    name: str
    batch: int
    tokens: int
    """of the longest sequence of a batch"""
    need: float


def uses(found: Shape, itemsize: int) -> list[Use]:
    """About how much generating, identifying and training need, with usual batches.

    Args:
        found: the model's widths.
        itemsize: bytes of one weight.
    """
    weights = found.parameters * itemsize
    generate, identify, train = (16, 1024), (8, 256), (8, 512)
    cache = 2 * found.layers * found.keys * itemsize
    cache_bytes = found.layers * found.kept() * itemsize
    logits = found.vocab * (itemsize + 8)  # kept once, and in float32 with its gradient
    trained = 0.03 * found.parameters * (itemsize + 12)  # p = 3 %: the values, gradient and Adam's two moments

    def use(name: str, size: tuple[int, int], token: float, row: float = 0, fixed: float = 0) -> Use:
        batch, tokens = size
        return Use(name, batch, tokens, (weights + fixed + batch * (tokens * token + row)) * MARGIN)

    return [
        use("generate", generate, cache, row=4 * found.vocab),
        use("identify", identify, cache_bytes),
        use("train neurons", train, cache_bytes + logits, fixed=trained),
        use("train all weights", train, cache_bytes + logits, fixed=3 * weights),
    ]
