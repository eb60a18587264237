"""Training in which several processes share the weights: FSDP2 and DeepSpeed, as `accelerate launch --config_file` sets them up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssn_eval.core import processes
from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
"""the variables by which accelerate tells its processes"""


def is_on() -> bool:
    """Whether the processes of this run share the weights."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in (FSDP, DEEPSPEED))


def prepare(trainer: Trainer, masks: Mapping[str, torch.Tensor] | None) -> None:
    """Check that the weights are shared where they should be, and mask the gradients of shards after every backward pass.

    The hooks of `weights.mask_gradients` sit on whole parameters. FSDP replaces these by shards, on which no hook is called.

    Raises:
        ParamsError: accelerate does not share the weights here, or DeepSpeed keeps the gradients to itself.
    """
    is_shared = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if is_on() and not (is_shared and trainer.args.world_size == processes.count()):
        raise ParamsError(
            "The processes should share the weights, but accelerate does so on GPUs alone and with several processes; start two or "
            "more on GPUs, or leave out --config_file."
        )
    if masks is None or not is_on():
        return
    if trainer.is_deepspeed_enabled:
        raise ParamsError(
            "Masked gradients cannot be trained under DeepSpeed, which keeps the gradients to itself; use FSDP, or the neuron-LoRA "
            "of the same neurons, which gives the same weights."
        )
    step, shards = trainer.training_step, {}

    def masked(*args: Any, **keywords: Any) -> Any:
        loss = step(*args, **keywords)
        for name, parameter in trainer.model.named_parameters():  # type: ignore[union-attr]
            if parameter.grad is None:
                continue
            if name not in masks:
                parameter.grad.zero_()
                continue
            if not masks[name].ndim:  # it moves as a whole
                continue
            if name not in shards:
                shards[name] = _shard_like(masks[name], parameter.grad)
            parameter.grad.mul_(shards[name])
        return loss

    trainer.training_step = masked  # type: ignore[method-assign]


def _shard_like(mask: torch.Tensor, gradient: Any) -> torch.Tensor:
    """The part of a mask that belongs to this process's part of a gradient."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(gradient, DTensor):
        return mask.to(gradient.device)
    whole = mask.to(device=gradient.to_local().device, dtype=gradient.dtype)
    return distribute_tensor(whole, gradient.device_mesh, gradient.placements)


def gathered(trainer: Trainer) -> dict[str, torch.Tensor] | None:
    """The whole weights on the first process, when the processes share them; None when every process has them anyway.

    Of an adapter only its own matrices are gathered, one after the other. Every process must call this.
    """
    if not is_on():
        return None
    if trainer.is_deepspeed_enabled:
        state: Any = trainer.accelerator.get_state_dict(trainer.model_wrapped)
        return state
    from torch.distributed.tensor import DTensor

    model: Any = trainer.model
    is_adapter, weights = hasattr(model, "peft_config"), {}
    for name, part in model.state_dict().items():
        if is_adapter and "lora_" not in name:
            continue
        whole: Any = part.full_tensor() if isinstance(part, DTensor) else part
        whole = whole.wait() if hasattr(whole, "wait") else whole
        if processes.is_main():
            weights[name] = whole.detach().cpu()
    return weights
