"""The intervention ops, their layers and positions, and their text form. No torch, no files.

In every op the activation `a` of a neuron becomes `factor · a + constant`: `suppress` is 0, `scale:α` is α, `mean` and
`set:<quantile>` are a constant that a reference set gives (`reference.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from ssn_eval.core.errors import EmptySetError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import NeuronSet

Positions = Literal["all", "prompt", "generated"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)
_OPS = ("suppress", "scale:2", "mean", "set:0.95", "none")
_LAYERS = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class Op:
    """The change of a neuron's activation: `factor` times itself, or a constant if there is a `source`."""

    factor: float
    source: Literal["mean"] | float | None = None
    """`"mean"`, or which quantile (0 to 1), of the neuron's activations on a reference set"""

    def __str__(self) -> str:
        if self.source is not None:
            return "mean" if self.source == "mean" else f"set:{self.source:.12g}"
        return {0.0: "suppress", 1.0: "none"}.get(self.factor, f"scale:{self.factor:.12g}")


SUPPRESS = Op(0.0)
NONE = Op(1.0)
MEAN = Op(0.0, "mean")


class Layers(NamedTuple):
    """A range of decoder layers, both ends included."""

    first: int
    last: int

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


@dataclass(frozen=True)
class Intervention:
    """One neuron set with its op, layers and positions."""

    neurons: NeuronSet
    op: Op
    layers: Layers | None = None
    """`None`: in every layer"""
    positions: Positions = "all"

    def chosen(self) -> NeuronSet:
        """The neurons within the layers.

        Raises:
            EmptySetError: there is none.
        """
        if not self.neurons:
            raise EmptySetError(
                f"The neuron set to {self.op} is empty; use a larger p, or op=none for the unchanged model."
            )
        if self.layers is None:
            return self.neurons
        first, last = self.layers
        neurons = NeuronSet(frozenset(n for n in self.neurons.members if first <= n.layer <= last))
        if not neurons:
            layers_text = ", ".join(map(str, sorted(self.neurons.per_layer())))
            raise EmptySetError(
                f"The neuron set to {self.op} holds no neuron in layers {self.layers}; it has some in {layers_text}."
            )
        return neurons


def parse_op(text: str | None) -> Op:
    """Read `suppress`, `scale:<number>`, `mean`, `set:<quantile>` or `none`.

    Raises:
        UnknownNameError: another word.
        ParamsError: the number is not finite, or the quantile not from 0 to 1.
    """
    ops = {None: NONE, "none": NONE, "suppress": SUPPRESS, "mean": MEAN}
    if text in ops:
        return ops[text]
    name, _, number = str(text).partition(":")
    if name not in ("scale", "set"):
        raise UnknownNameError("op", text, _OPS)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name == "scale":
        if not math.isfinite(value):
            raise ParamsError(f"The op {text!r} needs a finite number after the colon, for example scale:2.")
        return Op(value)
    if not 0 <= value <= 1:
        raise ParamsError(f"The op {text!r} needs a quantile from 0 to 1 after the colon, for example set:0.95.")
    return Op(0.0, value)


def parse_layers(text: str | int | None) -> Layers | None:
    """Read `0-11`, or `5` for one layer; `None` means every layer.

    Raises:
        ParamsError: it is no such range.
    """
    if text is None:
        return None
    match = _LAYERS.fullmatch(str(text).strip())
    layers = Layers(int(match[1]), int(match[2] or match[1])) if match else None
    if layers is None or layers.first > layers.last:
        raise ParamsError(f"layers={text} is no range of layers; write the first and the last, for example 0-11, or 5.")
    return layers


def parse_positions(text: str | None) -> Positions:
    """Read `prompt`, `generated` or `all`, which is also what `None` means.

    Raises:
        UnknownNameError: another word.
    """
    for name in POSITIONS:
        if text == name or (text is None and name == "all"):
            return name
    raise UnknownNameError("positions", text, POSITIONS)


def combine(
    sets: Sequence[NeuronSet],
    ops: Sequence[str | None],
    layers: Sequence[str | int | None] = (),
    positions: Sequence[str | None] = (),
) -> list[Intervention]:
    """One intervention a set; an op, a layer range and a choice of positions for each, or one for all of them.

    Raises:
        ParamsError: the number of ops, layer ranges or positions is neither one nor the number of sets.
        UnknownNameError: a name is not known.
    """
    many = len(sets)
    each_op = [parse_op(text) for text in _each("ops", ops, many)]
    each_layers = [parse_layers(text) for text in _each("layer ranges", layers, many)]
    each_positions: list[Positions] = [parse_positions(text) for text in _each("positions", positions, many)]
    ways = zip(sets, each_op, each_layers, each_positions, strict=True)
    return [Intervention(neurons, op, layer_range, position) for neurons, op, layer_range, position in ways]


def _each(what: str, values: Sequence[Any], count: int) -> list[Any]:
    if len(values) > 1 and len(values) != count:
        raise ParamsError(f"{len(values)} {what} for {count} neuron sets; give one for all of them, or one for each.")
    return list(values) if len(values) > 1 else [*values, None][:1] * count


def describe(neurons: NeuronSet, op: Op) -> dict[str, Any]:
    """The record of an intervention in an artefact: the op, the size, and its layers."""
    return describe_all([Intervention(neurons, op)])[0]


def describe_all(interventions: Sequence[Intervention]) -> list[dict[str, Any]]:
    """The record of several interventions in an artefact: of each the op, the positions, the size, and its layers."""
    descriptions = []
    for intervention in interventions:
        neurons = intervention.chosen()
        layers, sites = sorted(neurons.per_layer()), dict(neurons.per_site())
        descriptions.append(
            {
                "op": str(intervention.op),
                "positions": intervention.positions,
                "neurons": len(neurons),
                "layers": layers,
                "per_site": sites,
            }
        )
    return descriptions
