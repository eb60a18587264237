"""RMS norms that take a site's activation as their input, bit for bit; the sketch treats their change exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ssn_eval.models.architectures.discovery.attention import Source
from ssn_eval.models.architectures.discovery.passes import CAPTURED, TOKENS, Bench, by_time, first_tensor, hooks


class Norm(NamedTuple):
    """A norm behind a site."""

    name: str
    """path below the layer"""
    time: int
    """the axis of its input that is time"""
    is_rms: bool


def find(bench: Bench, sources: Mapping[str, Source]) -> dict[str, Norm]:
    """Role → the norm behind it."""
    if not sources:
        return {}
    activations: dict[str, torch.Tensor] = {}
    calls: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    edits: list[Any] = []
    for kind, source in sources.items():

        def keep(_module: nn.Module, _args: object, output: Any, kind: str = kind, source: Source = source) -> None:
            view = by_time(output, CAPTURED)
            if view is not None:
                activations[kind] = view[..., list(source.coordinates)].detach().clone()

        edits.append(source.linear.module.register_forward_hook(keep))
    used = {id(source.linear.module) for source in sources.values()}
    for name, module in bench.layer.named_modules():
        if not name or id(module) in used or any(True for _ in module.children()):
            continue

        def watch(_module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any, name: str = name) -> None:
            x = first_tensor([*args, *kwargs.values()])
            if x is not None and torch.is_tensor(output) and output.shape == x.shape:
                calls.append((name, x.detach().clone(), output.detach().clone()))

        edits.append(module.register_forward_hook(watch, with_kwargs=True))
    with hooks(*edits):
        bench.call(CAPTURED)
    norms: dict[str, Norm] = {}
    for kind, activation in activations.items():
        for name, x, y in calls:
            time = _time_axis(x, activation)
            if time is not None and not torch.equal(x, y):
                norms[kind] = Norm(name, time, _is_rms(x, y))
                break
    return norms


def _time_axis(x: torch.Tensor, activation: torch.Tensor) -> int | None:
    """The axis of time of a norm's input that is the activation in another shape; None if it is something else."""
    if x.numel() != activation.numel() or x.shape[0] != CAPTURED:
        return None
    if x.shape[1] == TOKENS and torch.equal(x.reshape(CAPTURED, TOKENS, -1), activation):
        return 1
    if (
        x.ndim == 4
        and x.shape[2] == TOKENS
        and torch.equal(x.transpose(1, 2).reshape(CAPTURED, TOKENS, -1), activation)
    ):
        return 2
    return None


def _is_rms(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether every coordinate of y is that of x over its root mean square, times a factor of its own."""
    ratio = (y.float() * x.float().pow(2).mean(-1, keepdim=True).sqrt() / x.float()).reshape(-1, x.shape[-1])
    return bool((ratio - ratio.mean(0)).abs().max() < 2e-2 * ratio.abs().max())
