"""The refusal direction, a baseline beside neurons: its file and its ops. No torch.

A direction is the difference of two means: the residual stream at the last prompt token on harmful prompts, minus that on harmless ones,
behind each decoder layer (arXiv 2406.11717; across languages arXiv 2505.17306). One layer's difference is used everywhere.

With x the residual stream, r the difference and r̂ = r / ‖r‖:

- the op `direction:ablate` makes `x − (x · r̂) r̂` behind the embedding and behind every layer;
- the op `direction:add:<α>` makes `x + α r` behind the direction's own layer.

`ssn-direction/1`: safetensors with one tensor `differences`, (layers, hidden), float32; the provenance names the layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssn_eval.core.errors import FormatError, ParamsError, UnknownNameError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.setnames import DIRECTION
from ssn_eval.core.tensors import read_tensors, write_tensors

FORMAT = "ssn-direction/1"
PREFIX = f"{DIRECTION}:"
_OPS = ("direction:ablate", "direction:add:1")


@dataclass(frozen=True)
class Direction:
    """The differences of one model, and the layer that is used."""

    differences: np.ndarray
    """(layers, hidden), float32"""
    layer: int
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def difference(self) -> np.ndarray:
        """The chosen layer's difference r, (hidden,), float32."""
        return self.differences[self.layer]


@dataclass(frozen=True)
class DirectionOp:
    """What is done with a direction."""

    strength: float | None
    """α, the strength of an addition; None: the direction is ablated"""

    def __str__(self) -> str:
        return f"{PREFIX}ablate" if self.strength is None else f"{PREFIX}add:{self.strength:.12g}"


def parse_op(text: str) -> DirectionOp:
    """Read `direction:ablate` or `direction:add:<number>`.

    Raises:
        UnknownNameError: another word.
        ParamsError: the number is not finite.
    """
    name, _, number = text.removeprefix(PREFIX).partition(":")
    if not text.startswith(PREFIX) or name not in ("ablate", "add") or (name == "ablate" and number):
        raise UnknownNameError("op of a direction", text, _OPS)
    if name == "ablate":
        return DirectionOp(None)
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise ParamsError(f"The op {text!r} needs a finite number at its end, for example direction:add:1.")
    return DirectionOp(strength)


def random_control(direction: Direction, seed: int) -> Direction:
    """The control of a direction: in each layer a random one of the same length (Gaussian, so every direction is as likely)."""
    generator = np.random.default_rng(seed)
    drawn = generator.standard_normal(direction.differences.shape)
    lengths = np.linalg.norm(direction.differences, axis=1, keepdims=True)
    differences = drawn / np.linalg.norm(drawn, axis=1, keepdims=True) * lengths
    origin = {**direction.provenance, "control_of": DIRECTION, "seed": seed}
    return replace(direction, differences=differences.astype(np.float32), provenance=origin)


def save(path: Path, direction: Direction) -> None:
    """Write a direction, whole or not at all.

    Raises:
        FormatError: a value is NaN or infinite.
        ParamsError: the ending is not .safetensors.
    """
    if not np.isfinite(direction.differences).all():
        raise FormatError("The direction holds NaN or infinite values; nothing was written. Load the model in float32.")
    tensors = {"differences": np.ascontiguousarray(direction.differences, np.float32)}
    write_tensors(path, tensors, FORMAT, direction.model, {**direction.provenance, "layer": direction.layer})


def load(path: Path) -> Direction:
    """Read a direction.

    Raises:
        MissingInputError: no such file.
        FormatError: damaged, or of another format.
    """
    tensors, model, provenance = read_tensors(path, FORMAT)
    differences, layer = tensors.get("differences"), provenance.get("layer")
    if differences is None or differences.ndim != 2 or not np.isfinite(differences).all():
        raise FormatError(f"{path} holds no finite differences of shape (layers, hidden); find the direction again.")
    if not isinstance(layer, int) or not 0 <= layer < len(differences) or not differences[layer].any():
        raise FormatError(f"{path} names no usable layer; find the direction again.")
    return Direction(differences, layer, model, provenance)
