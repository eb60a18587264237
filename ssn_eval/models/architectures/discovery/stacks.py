"""Routed experts of a layer: stacked weights whose own forward function `experts` can compute expert by expert."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.discovery.layer_list import value
from ssn_eval.models.architectures.discovery.passes import CAPTURED, Bench, hooks

_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")


def find(bench: Bench, config: Any) -> tuple[str | None, str | None]:
    """The path of a layer's experts, and why experts that are there cannot be used."""
    reason = None
    counts = {value(config, name) for name in _COUNTS}
    for name, module in bench.layer.named_modules():
        stacked = {key: tuple(p.shape) for key, p in module.named_parameters(recurse=False) if p.ndim == 3}
        if not stacked or isinstance(module, nn.Conv1d) or any("conv" in key for key in stacked):
            continue
        if "down_proj" not in stacked:
            if not {shape[0] for shape in stacked.values()} & counts:
                continue
            reason = f"{name} holds stacked weights under other names ({', '.join(sorted(stacked))})"
            continue
        reason = refusal(bench, module, name)
        if reason is None:
            return name, None
    return None, reason


def refusal(bench: Bench, module: nn.Module, name: str) -> str | None:
    """Why our forward function cannot stand in for a stack's own; None if it gives the same output."""
    calls: list[tuple[Any, Any, Any]] = []

    def keep(_module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        calls.append((args, kwargs, output))

    with hooks(module.register_forward_hook(keep, with_kwargs=True)):
        bench.call(CAPTURED)
    if len(calls) != 1:
        return f"{name} is called {len(calls)} times in a pass"
    args, kwargs, output = calls[0]
    try:
        experts.count_and_width(module, name)
        with torch.no_grad():
            ours = experts.compute(module, *args, **kwargs)
        same = torch.allclose(ours, output, rtol=1e-2, atol=max(1e-4, 8 * bench.tolerance) * float(output.abs().max()))
        if same and not experts.is_pointwise(module):
            return f"the gate of {name} mixes neurons"
    except (ArchitectureError, AttributeError, TypeError, RuntimeError, IndexError, KeyError) as error:
        return f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return None if same else f"{name} computes something else than its weights and flags say"
