"""Training in which several processes share the weights: FSDP2 and DeepSpeed, as `accelerate launch --config_file` sets them up."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

FSDP, DEEPSPEED = "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"
"""the variables by which accelerate tells its processes"""


def is_on() -> bool:
    """Whether the processes of this run share the weights."""
    return any(os.environ.get(name, "").lower() in ("1", "true", "yes") for name in (FSDP, DEEPSPEED))


def hold_masks(trainer: Trainer, masks: Mapping[str, torch.Tensor] | None) -> None:
    """Mask the gradients of a model whose weights are shared, after every backward pass.

    The hooks of `weights.mask_gradients` sit on whole parameters. FSDP replaces these by shards, on which no hook is called.

    Raises:
        ParamsError: DeepSpeed keeps the gradients to itself.
    """
    if masks is None:
        return
    if getattr(trainer, "is_deepspeed_enabled", False):
        raise ParamsError(
            "Masked gradients cannot be trained under DeepSpeed, which keeps the gradients to itself; use FSDP, or the neuron-LoRA "
            "of the same neurons, which gives the same weights."
        )
    if not getattr(trainer, "is_fsdp_enabled", False):
        return
    step, shards = trainer.training_step, {}

    def masked(*args: Any, **keywords: Any) -> Any:
        loss = step(*args, **keywords)
        for name, parameter in trainer.model.named_parameters():  # type: ignore[union-attr]
            if parameter.grad is None:
                continue
            if name not in masks:
                parameter.grad.zero_()
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

    Every process must call this.
    """
    if not is_on():
        return None
    weights: dict[str, torch.Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights
