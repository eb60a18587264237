"""How much memory something needs and how much there is, so that a run that cannot fit is refused before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_eval.errors import SsnError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

GIB = 1 << 30
MARGIN = 1.1
"""what a need is multiplied by: allocators round up, and gradients pass through beside the activations"""


class MemoryNeedError(SsnError):
    """A run that does not fit into the memory that is free."""


def gib(size: float) -> str:
    """A size for people."""
    return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.0f} GiB"


def free(devices: set[torch.device]) -> int:
    """Free bytes on the devices together; on a CPU what the system can give without swapping."""
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


def weight_bytes(config: PreTrainedConfig, dtype: torch.dtype, trust_remote_code: bool = False) -> int:
    """Bytes of a model's weights in a dtype, from its config alone: nothing is loaded or allocated."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    return sum(p.numel() for p in model.parameters()) * dtype.itemsize


def refuse_weights(need: int, device: torch.device, name: str) -> None:
    """Stop before weights are loaded that the device cannot hold.

    Raises:
        MemoryNeedError: says how much is missing and what helps.
    """
    there = free({device})
    if need > there:
        raise MemoryNeedError(
            f"The weights of {name} need {gib(need)}, but {device} has {gib(there)} free; use a smaller dtype (bfloat16), "
            f"another device, or device_map=auto to spread them over several."
        )
