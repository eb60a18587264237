"""The linear modules of a layer, shown to compute `x W' + b` of their own weight, and which of them reaches which.

A module of which this is true, and which runs once in a pass, is what hooks and weights agree on: zero at one coordinate of its
output is a zero row, and zero at one of its input is a zero column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ssn_eval.models import quantization
from ssn_eval.models.architectures.discovery.passes import (
    CAPTURED,
    CHANGED,
    TOKENS,
    Bench,
    Edit,
    by_time,
    first_tensor,
    hooks,
)

_COMPARED = 64
"""coordinates of a module's output that are compared with its weight"""


class Linear(NamedTuple):
    """One linear module."""

    name: str
    """path below the layer"""
    module: nn.Module
    inputs: int
    outputs: int
    size: float
    """root mean square of its output"""
    is_flat: bool
    """see `layouts.Place`"""


class Trace(NamedTuple):
    """What one pass of a layer shows."""

    linears: list[Linear]
    """in the order of their calls"""
    refused: dict[str, str]
    """name → why a module with a matrix is no site"""


def trace(bench: Bench) -> Trace:
    """Find the linear modules of a layer."""
    linears: dict[str, Linear] = {}
    refused: dict[str, str] = {}
    calls: dict[str, int] = {}
    names = {id(m): name for name, m in bench.layer.named_modules() if not _is_inside_adapter(name)}

    def look(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        name = names[id(module)]
        inner: Any = getattr(module, "base_layer", module)
        weight = getattr(inner, "weight", None)
        x = first_tensor([*args, *kwargs.values()])
        is_packed = quantization.is_packed(inner)
        if isinstance(module, nn.Embedding) or x is None or not torch.is_tensor(output):
            return
        if not is_packed and (not torch.is_tensor(weight) or weight.ndim != 2):
            return
        calls[name] = calls.get(name, 0) + 1
        if is_packed and not is_affine(module, x, output):
            refused[name] = "has a quantised weight, and its output is no linear function of its input"
        elif not is_packed and not computes(module, x, output):
            refused[name] = "does not compute x W' + b of its weight"
        elif by_time(x, CAPTURED) is None:
            refused[name] = "its input is not (batch, time, width)"
        elif x.shape[:2] == (TOKENS, CAPTURED):
            refused[name] = "its input has time before batch"
        else:
            size = output.detach().float().pow(2).mean().sqrt().item()
            linears[name] = Linear(
                name, module, int(x.shape[-1]), int(output.shape[-1]), size, x.shape[:-1] != (CAPTURED, TOKENS)
            )

    watched = [m for m in bench.layer.modules() if id(m) in names]
    with hooks(*(m.register_forward_hook(look, with_kwargs=True) for m in watched)):
        bench.call(CAPTURED)
    for name, count in calls.items():
        if count > 1 and linears.pop(name, None):
            refused[name] = "is called more than once in a pass"
    return Trace(list(linears.values()), refused)


def computes(module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether an output is `x W' + b` of the module's own weight, in one of the two orientations that `out_in` knows.

    Up to 64 coordinates of the output are compared, both ends among them.
    """
    from ssn_eval.models.architectures.sites import out_in

    linear: Any = getattr(module, "base_layer", module)
    weight: torch.Tensor = out_in(module)
    if (x.shape[-1], output.shape[-1]) != (weight.shape[1], weight.shape[0]) or x.shape[:-1] != output.shape[:-1]:
        return False
    rows = torch.linspace(0, weight.shape[0] - 1, min(weight.shape[0], _COMPARED), device=weight.device).long()
    bias = getattr(linear, "bias", None)
    try:
        expected = nn.functional.linear(
            x.detach(), weight[rows].to(x.dtype), None if bias is None else bias[rows].to(x.dtype)
        )
    except RuntimeError:
        return False
    tolerance = max(1e-4, 8 * torch.finfo(x.dtype).eps)
    compared = output.detach()[..., rows]
    return bool(torch.allclose(expected, compared, rtol=tolerance, atol=tolerance * float(compared.abs().max())))


def is_affine(module: Any, x: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether an output is `x W' + b` with some W and b, the same at every token: the proof for a quantised weight, which cannot be read.

    The module is tried on two inputs, their sum, zero, and one token alone. With activations that are quantised too it fails.
    """
    if (x.shape[-1], output.shape[-1]) != (module.in_features, module.out_features) or x.shape[:-1] != output.shape[
        :-1
    ]:
        return False
    x, output = x.detach(), output.detach().float()
    turned = 0.7 * x.flip(-2)
    with torch.no_grad():
        by_turned, by_sum, by_zero = (
            module.forward(value).float() for value in (turned, x + turned, torch.zeros_like(x))
        )
        by_token = module.forward(x[..., :1, :]).float()
    tolerance = max(1e-4, 8 * torch.finfo(x.dtype).eps)

    def close(one: torch.Tensor, other: torch.Tensor) -> bool:
        return bool(torch.allclose(one, other, rtol=tolerance, atol=tolerance * float(output.abs().max())))

    return (
        close(by_sum, output + by_turned - by_zero)
        and close(by_turned - by_zero, 0.7 * (output - by_zero).flip(-2))
        and close(by_token, output[..., :1, :])
    )


def _is_inside_adapter(name: str) -> bool:
    return "lora_" in name or name.endswith("base_layer") or ".base_layer." in name


class Graph(NamedTuple):
    """Which linear module reaches the input of which other one."""

    feeds: set[tuple[str, str]]
    """(from, to), at any time"""
    mixes: set[tuple[str, str]]
    """(from, to), at later times"""
    acausal: bool
    """whether some effect goes back in time"""

    def directly(self, sources: Sequence[Linear], target: Linear) -> list[Linear]:
        """Those modules that reach the target without another one of `sources` between."""
        feeders = [a for a in sources if (a.name, target.name) in self.feeds and a is not target]
        return [a for a in feeders if not any((a.name, c.name) in self.feeds for c in feeders if c is not a)]


def noise(row: int, time: int, size: float, coordinates: Sequence[int] | None = None) -> Edit:
    """An edit that adds noise at one row and time, at some coordinates or all."""

    def edit(view: torch.Tensor) -> None:
        index = slice(None) if coordinates is None else torch.as_tensor(list(coordinates), device=view.device)
        draw = torch.randn(view[row, time, index].shape, generator=torch.Generator().manual_seed(7))
        view[row, time, index] += (draw * (2 * size + 0.5)).to(view)

    return edit


def graph(bench: Bench, linears: Sequence[Linear]) -> Graph:
    """Noise on every linear module's output at one time, each in a row of its own, and the inputs of all others."""
    edits = {a.module: noise(row, CHANGED, a.size) for row, a in enumerate(linears, start=1)}
    inputs = bench.run(len(linears) + 1, edits, [a.module for a in linears])
    feeds: set[tuple[str, str]] = set()
    mixes: set[tuple[str, str]] = set()
    acausal = False
    for b, x in zip(linears, inputs, strict=True):
        if x is None:
            continue
        moved = (x - x[:1]).abs().float().amax(-1) / (x[0].abs().max().float() + 1e-9)
        floor = max(1e-5, bench.tolerance)
        for row, a in enumerate(linears, start=1):
            if moved[row].max() > floor:
                feeds.add((a.name, b.name))
            if moved[row, CHANGED + 1 :].max() > floor:
                mixes.add((a.name, b.name))
            acausal |= bool(moved[row, :CHANGED].max() > floor)
    return Graph(feeds, mixes, acausal)
