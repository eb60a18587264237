"""Queries, keys, values and the output projection of a layer, by the effects of single coordinates (see `roles`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ssn_eval.models.architectures.discovery.layer_list import value
from ssn_eval.models.architectures.discovery.linears import Graph, Linear, Trace, noise
from ssn_eval.models.architectures.discovery.passes import CHANGED, Bench
from ssn_eval.models.architectures.discovery.roles import (
    SCALAR,
    WEAK,
    Effects,
    role,
    samples,
    settle,
    turned,
    unsettled,
)

HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads")
_ROWS = 64
"""coordinates that are changed in one pass"""
SITE_OF = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}


class Source(NamedTuple):
    """Where a site's activation is: coordinates of one linear module's output."""

    linear: Linear
    coordinates: tuple[int, ...]
    normed: bool
    """whether doubling the activation changes nothing"""

    @property
    def is_whole(self) -> bool:
        """Whether it is the module's whole output."""
        return len(self.coordinates) == self.linear.outputs


class Attention(NamedTuple):
    """One mixing of times: its output projection and what is behind it."""

    output: Linear
    sources: dict[str, Source]
    """q, k, v → where; empty for a recurrence"""
    is_shared: bool
    """whether keys and values come from another layer"""
    notes: list[str]


def outputs(bench: Bench, trace: Trace, graph: Graph) -> list[Linear]:
    """The output projections: linear modules behind a mixing of times that write to the residual stream, the first of each path."""
    by_mixing = {b for _, b in graph.mixes}
    mixed_ones = [b for b in trace.linears if b.name in by_mixing and b.outputs == bench.hidden]
    return [b for b in mixed_ones if not any((c.name, b.name) in graph.feeds for c in mixed_ones if c is not b)]


def study(bench: Bench, output: Linear, trace: Trace, graph: Graph, config: Any, *, every: bool = False) -> Attention:
    """Find the roles of everything that feeds an output projection.

    Args:
        bench: the layer.
        output: the output projection.
        trace: of the layer.
        graph: of the layer.
        config: of the layer's decoder.
        every: try every coordinate, and not samples.
    """
    feeders = graph.directly(trace.linears, output)
    head = head_width(config, output.inputs)
    roles: dict[str, list[str | None]] = {}
    by_name = {a.name: a for a in feeders}
    for a in feeders:
        roles[a.name] = _roles(bench, a, output, head, 1 if every else granule(config, a.outputs, head))
    queries = sum(found.count("q") for found in roles.values())
    if queries < output.inputs // 2:  # scalars of a recurrence can look like queries
        return Attention(output, {}, False, [])
    sources: dict[str, Source] = {}
    notes: list[str] = []
    for kind in SITE_OF:
        parts = {name: tuple(c for c, r in enumerate(found) if r == kind) for name, found in roles.items()}
        parts = {name: part for name, part in parts.items() if part}
        if not parts:
            continue
        best = max(parts, key=lambda name: (kind == "q" and len(parts[name]) == output.inputs, len(parts[name])))
        if len(parts) > 1:
            notes.append(f"{SITE_OF[kind]}: also {', '.join(sorted(set(parts) - {best}))}")
        sources[kind] = Source(by_name[best], parts[best], _is_normed(bench, by_name[best], parts[best], output))
    silent = {name: found.count(None) for name, found in roles.items() if None in found}
    notes += [f"{count} coordinates of {name} have no effect" for name, count in silent.items() if count]
    if any("gate" in found for found in roles.values()):
        notes.append("an output gate")
    return Attention(output, sources, not ({"k", "v"} & set(sources)), notes)


def head_width(config: Any, width: int) -> int:
    """Coordinates of one head in the output projection's input."""
    heads = value(config, *HEADS)
    head = value(config, "v_head_dim", "head_dim") or 0
    if (not head or width % head) and heads and width % heads == 0:
        return width // heads
    return head if head and width % head == 0 else width


def granule(config: Any, width: int, head: int) -> int:
    """Neighbouring coordinates that have one role: a head, or what is common to heads of different widths."""
    import math

    sizes = [head, value(config, "qk_nope_head_dim"), value(config, "qk_rope_head_dim"), value(config, "head_dim")]
    common = math.gcd(*(size for size in sizes if size)) or 1
    return common if width % common == 0 else math.gcd(common, width)


def _roles(bench: Bench, a: Linear, output: Linear, head: int, width: int) -> list[str | None]:
    """The role of every coordinate of one module, sampled by granules of `width` coordinates."""
    votes = _votes(bench, a, output, head, samples(a.outputs, width))
    for block in unsettled(votes, a.outputs, width):
        votes |= _votes(bench, a, output, head, [c for c in block if c not in votes])
    found = settle(votes, a.outputs, width)
    for block in unsettled(votes, a.outputs, width):
        roles = {votes[c][0] for c in block if votes[c][1] >= WEAK} - {None, SCALAR}
        if len(roles) > 1:  # a boundary inside the granule: every coordinate speaks for itself
            for c in block:
                found[c] = votes[c][0] if votes[c][1] >= WEAK and votes[c][0] != SCALAR else None
    return found


def _votes(
    bench: Bench, a: Linear, output: Linear, head: int, coordinates: Sequence[int]
) -> dict[int, tuple[str | None, float]]:
    """Coordinate → its role and the strength of its effect; weak ones are tried a second time, the other way and harder."""
    votes: dict[int, tuple[str | None, float]] = {}
    remaining = list(coordinates)
    for factor in (1.0, -3.0):
        for start in range(0, len(remaining), _ROWS):
            part = remaining[start : start + _ROWS]
            effects = _effects(bench, a, output, head, part, factor)
            if effects is None:
                return dict.fromkeys(coordinates, (None, 0.0))
            for i, c in enumerate(part):
                flags = [bool(t[i]) for t in (effects.later, effects.same, effects.turned, effects.turned_first)]
                vote = (role(*flags), float(effects.strength[i]))
                if c not in votes or vote[1] > votes[c][1]:
                    votes[c] = vote
        remaining = [c for c in remaining if votes[c][0] is None or votes[c][1] < WEAK]
    return votes


def _effects(
    bench: Bench, a: Linear, output: Linear, head: int, coordinates: Sequence[int], factor: float
) -> Effects | None:
    """Change single coordinates, each in two rows: once at the changed time, once at the first."""
    n = len(coordinates)
    step = factor * (2 * a.size + 0.5)

    def edit(view: torch.Tensor) -> None:
        for i, c in enumerate(coordinates):
            view[1 + i, CHANGED, c] += step
            view[1 + n + i, 0, c] += step

    (x,) = bench.run(2 * n + 1, {a.module: edit}, [output.module], output.module)
    if x is None:
        return None
    x = x.float() if x.dtype == torch.float64 else x
    base, at_changed, at_first = x[0], x[1 : 1 + n], x[1 + n :]
    largest = base.abs().max()
    moved = (at_changed - base).abs()
    floor = bench.tolerance * largest + 1e-7
    return Effects(
        moved[:, CHANGED + 1 :].amax((1, 2)) > floor,
        moved[:, CHANGED].amax(1) > floor,
        turned(at_changed[:, CHANGED], base[CHANGED], head),
        turned(at_first[:, 0], base[0], head),
        moved.amax((1, 2)).float() / largest.float().clamp_min(1e-9),
    )


def _is_normed(bench: Bench, a: Linear, coordinates: Sequence[int], output: Linear) -> bool:
    """Whether the output projection's input is the same after all coordinates of a site are doubled."""
    index = torch.as_tensor(list(coordinates))

    def double(view: torch.Tensor) -> None:
        view[1, :, index.to(view.device)] *= 2

    (x,) = bench.run(2, {a.module: double}, [output.module], output.module)
    return x is not None and bool((x[1] - x[0]).abs().max() < max(1e-3, 4 * bench.tolerance) * x[0].abs().max())


def agrees(bench: Bench, output: Linear, sources: Mapping[str, Source], head: int) -> bool:
    """A cheap check of another layer of the same structure: noise on a whole site has the site's causal signature."""
    kinds = list(sources)
    edits: dict[Any, Any] = {}
    for i, kind in enumerate(kinds):
        source = sources[kind]
        parts = [
            noise(1 + 2 * i, CHANGED, source.linear.size, source.coordinates),
            noise(2 + 2 * i, 0, source.linear.size, source.coordinates),
        ]
        edits.setdefault(source.linear.module, []).extend(parts)

    def together(parts: Sequence[Any]) -> Any:
        return lambda view: [part(view) for part in parts] and None

    by_module = {module: together(parts) for module, parts in edits.items()}
    (x,) = bench.run(1 + 2 * len(kinds), by_module, [output.module], output.module)
    if x is None:
        return False
    floor = bench.tolerance * x[0].abs().max() + 1e-7
    for i, kind in enumerate(kinds):
        at_changed = (x[1 + 2 * i] - x[0]).abs()
        is_later = bool(at_changed[CHANGED + 1 :].max() > floor)
        is_earlier = bool(at_changed[:CHANGED].max() > floor)
        turns_first = bool(turned(x[2 + 2 * i][:1], x[0, 0], head)[0])
        if is_earlier or is_later != (kind in "kv") or turns_first != (kind == "v"):
            return False
    return True
