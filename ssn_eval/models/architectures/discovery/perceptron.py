"""The MLP of a layer: the down projection, and the rows of gate and up that belong to each of its columns.

Each row must reach exactly one coordinate of the down projection's input, at its own time alone. So one pass can try another row
at every time of every row of the batch, and what is compared is the same batch without a change, bit for bit the same but for the
change's effect. Where all rows of a coordinate are zero, the coordinate must be zero too: only then does
a neuron own its rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ssn_eval.models.architectures.discovery.layer_list import value
from ssn_eval.models.architectures.discovery.linears import Graph, Linear, Trace
from ssn_eval.models.architectures.discovery.passes import TOKENS, Bench

_ROWS = 7
"""rows of a pass besides the plain one; each tries `TOKENS` coordinates"""
_WIDTHS = (
    *("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "intermediate_size_mlp", "inner_dim", "d_ff"),
    *("shared_expert_intermediate_size", "moe_intermediate_size", "shared_intermediate_size", "decoder_ffn_dim"),
    *("encoder_ffn_dim", "dense_intermediate_size", "moe_shared_expert_intermediate_size"),
)


class Rows(NamedTuple):
    """The rows of one linear module that belong to the neurons, neuron 0 first."""

    linear: Linear
    coordinates: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Whether neuron i has row i of a module that has no other rows."""
        return self.coordinates == tuple(range(self.linear.outputs))


class Perceptron(NamedTuple):
    """A down projection and the rows in front of it."""

    down: Linear
    rows: tuple[Rows, ...]
    """empty: the neurons own columns alone"""
    note: str | None = None


def study(
    bench: Bench, trace: Trace, graph: Graph, taken: Sequence[str], config: Any, *, every: bool = False
) -> tuple[Perceptron | None, list[str]]:
    """Find the MLP; and the names of down projections of other branches.

    Args:
        bench: the layer.
        trace: of the layer.
        graph: of the layer.
        taken: names of modules that belong to attention.
        config: of the layer's decoder.
        every: try every coordinate, and not samples.
    """
    whole: list[Perceptron] = []
    halves: list[Linear] = []
    for b in trace.linears:
        feeders = [a for a in trace.linears if (a.name, b.name) in graph.feeds and (a.name, b.name) not in graph.mixes]
        feeders = graph.directly([a for a in feeders if a.name not in taken], b)
        if b.name in taken or b.outputs != bench.hidden or not feeders:
            continue
        result = correspondence(bench, b, feeders, every=every)
        if result is None:
            halves.append(b)
        else:
            whole.append(result)
    wanted = {number for name in _WIDTHS if (number := value(config, name))} | {4 * bench.hidden}
    whole.sort(key=lambda p: (p.down.inputs in wanted, p.down.inputs), reverse=True)
    if whole:
        return whole[0], [p.down.name for p in whole[1:]]
    fitting = [b for b in halves if b.inputs in wanted]
    if len(fitting) == 1:
        return Perceptron(fitting[0], (), "columns alone: its rows do not reach one coordinate each"), []
    return None, []


def correspondence(bench: Bench, down: Linear, feeders: Sequence[Linear], *, every: bool = False) -> Perceptron | None:
    """The rows in front of a down projection, or None if they do not reach one coordinate each."""
    rows: list[Rows] = []
    for a in feeders:
        if a.outputs == 1:
            continue  # a scalar gate on the whole branch
        found = _rows(bench, down, a, every=every)
        if found is None:
            return None
        rows += found
    if not rows or not any(sorted(r.coordinates) == sorted(set(r.coordinates)) for r in rows):
        return None
    if zeros_are_zeros(bench, down, rows):
        return Perceptron(down, tuple(rows))
    return Perceptron(down, (), "columns alone: a neuron with zero rows is not zero")


def tried(a: Linear, down: Linear, *, every: bool = False) -> list[int]:
    """The rows that are tried: both ends, both sides of the middle, and some between."""
    if every:
        return list(range(a.outputs))
    n, half = a.outputs, a.outputs // 2
    generator = torch.Generator().manual_seed(5)
    drawn = torch.randint(0, n, (2 * TOKENS,), generator=generator).tolist()
    fixed = [0, 1, 2, n - 1, n - 2, half - 1, half, half + 1, n // 4, 3 * n // 4, down.inputs - 1, down.inputs]
    return sorted({c for c in (*fixed, *drawn) if 0 <= c < n})


def _rows(bench: Bench, down: Linear, a: Linear, *, every: bool) -> list[Rows] | None:
    hits: dict[int, int] = {}
    coordinates = tried(a, down, every=every)
    for factor in (1.0, -1.0, 5.0, -5.0):  # an activation may be flat on one side
        remaining = [c for c in coordinates if c not in hits]
        reached = _reached(bench, down, a, remaining, factor)
        if reached is None:
            return None
        hits |= reached
    if len(hits) < len(coordinates):
        return None
    width = down.inputs
    for targets in _arrangements(a.outputs, width):
        if all(targets(c) == j for c, j in hits.items()):
            part = range(a.outputs)
            copies = a.outputs // width
            by_neuron: list[list[int]] = [[] for _ in range(width)]
            for c in part:
                by_neuron[targets(c)].append(c)
            return [Rows(a, tuple(by_neuron[j][k] for j in range(width))) for k in range(copies)]
    return None


def _arrangements(outputs: int, width: int) -> list[Callable[[int], int]]:
    """Row → neuron: one row a neuron, gate and up in two blocks, or in turns."""
    if outputs == width:
        return [lambda c: c]
    if outputs == 2 * width:
        return [lambda c: c % width, lambda c: c // 2]
    return []


def _reached(bench: Bench, down: Linear, a: Linear, coordinates: Sequence[int], factor: float) -> dict[int, int] | None:
    """Row → the one coordinate that it reaches; rows without an effect are left out. None if a row reaches two."""
    step = factor * (2 * a.size + 0.5)
    hits: dict[int, int] = {}
    per_pass = _ROWS * TOKENS
    for start in range(0, len(coordinates), per_pass):
        part = coordinates[start : start + per_pass]
        places = {c: (1 + i // TOKENS, i % TOKENS) for i, c in enumerate(part)}

        def edit(view: torch.Tensor, places: Mapping[int, tuple[int, int]] = places) -> None:
            for c, (row, time) in places.items():
                view[row, time, c] += step

        moved_by = _differences(bench, down, {a.module: edit}, 1 + -(-len(part) // TOKENS))
        if moved_by is None:
            return None
        difference, floor, _ = moved_by
        for c, (row, time) in places.items():
            moved = (difference[row, time] > floor).nonzero().flatten().tolist()
            if len(moved) > 1:
                return None
            if moved:
                hits[c] = moved[0]
    return hits


def zeros_are_zeros(bench: Bench, down: Linear, rows: Sequence[Rows], *, quick: bool = False) -> bool:
    """Whether a coordinate of the down projection's input is zero where all of its rows are zero, and no other one moves.

    With `quick`, the unchanged row of the same batch is what is compared with, up to rounding.
    """
    width = down.inputs
    chosen = sorted({0, 1, width // 2, width - 1, *(width * k // 9 for k in range(1, 9))})[: 3 * TOKENS]
    places = {j: (1 + i // TOKENS, i % TOKENS) for i, j in enumerate(chosen)}
    edits: dict[Any, Any] = {}
    for module in dict.fromkeys(r.linear.module for r in rows):
        parts = [r for r in rows if r.linear.module is module]

        def edit(view: torch.Tensor, parts: Sequence[Rows] = parts) -> None:
            for j, (row, time) in places.items():
                for part in parts:
                    view[row, time, part.coordinates[j]] = 0

        edits[module] = edit
    count = 1 + -(-len(chosen) // TOKENS)
    if quick:
        (x,) = bench.run(count, edits, [down.module], down.module)
        if x is None:
            return False
        zero = floor = bench.tolerance * float(x[0].abs().max())
        difference = (x - x[:1]).abs()
    else:
        moved_by = _differences(bench, down, edits, count)
        if moved_by is None:
            return False
        difference, floor, x = moved_by
        zero = bench.tolerance * float(x[0].abs().max())
    for j, (row, time) in places.items():
        others = difference[row, time].clone()
        others[j] = 0
        if x[row, time, j].abs() > zero or others.max() > floor:
            return False
    return True


def _differences(bench: Bench, down: Linear, edits: Mapping[Any, Any], rows: int) -> tuple[Any, float, Any] | None:
    """How far edits move the down projection's input, (rows, tokens, width); what counts as no move; and the input."""
    (plain,) = bench.run(rows, {}, [down.module], down.module)
    (x,) = bench.run(rows, edits, [down.module], down.module)
    if x is None or plain is None:
        return None
    return (x - plain).abs(), bench.tolerance / 100 * float(plain.abs().max()) + 1e-9, x
