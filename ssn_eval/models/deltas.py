"""A sparse delta: only the rows, columns or entries of a model's weights that differ in another checkpoint.

`ssn-delta/1` is a safetensors file with two tensors for each changed weight. `<weight>/rows`, `<weight>/columns` or
`<weight>/entries`, (n,), int64, holds the positions. `<weight>/values` holds the new values: (n, …) for rows, (…, n) for
columns, (n,) for entries. The values are not differences, so base and delta give the checkpoint back bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.tensors import read_tensors, write_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT = "ssn-delta/1"
Where = Literal["rows", "columns", "entries"]


class Patch(NamedTuple):
    """The changes of one weight."""

    where: Where
    positions: torch.Tensor
    """(n,), long: rows (first axis), columns (last axis) or entries of the flattened weight"""
    values: torch.Tensor

    def bytes(self) -> int:
        """Size on disk, in bytes."""
        return self.positions.numel() * 8 + self.values.numel() * self.values.element_size()

    def apply(self, weight: torch.Tensor) -> None:
        """Write the values into a weight, in place."""
        index, values = self.positions.to(weight.device), self.values.to(weight.device, weight.dtype)
        if self.where == "rows":
            weight[index] = values
        elif self.where == "columns":
            weight[..., index] = values
        else:
            weight.view(-1)[index] = values

    def values_in(self, weight: torch.Tensor) -> torch.Tensor:
        """What a weight holds at the positions now, in the form of `values`; a copy."""
        index = self.positions.to(weight.device)
        if self.where == "rows":
            return weight[index]
        return weight[..., index] if self.where == "columns" else weight.view(-1)[index]


@dataclass(frozen=True)
class Delta:
    """The changes of a model's weights, with their base model and provenance."""

    patches: Mapping[str, Patch]
    """weight name, as in the model's state dict → its changes"""
    base: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)


def between(base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> dict[str, Patch]:
    """Compare two state dicts bit by bit; each changed weight is stored in the smallest of the three forms.

    Raises:
        MismatchError: names, shapes or dtypes differ.
        EmptySetError: no weight changed.
        ParamsError: the delta would be larger than 90 % of the checkpoint.
    """
    if base.keys() != tuned.keys():
        unmatched = sorted(base.keys() ^ tuned.keys())
        raise MismatchError(
            f"The two checkpoints do not have the same weights; {unmatched[0]!r} is in one of them only."
        )
    patches: dict[str, Patch] = {}
    for name, base_weight in base.items():
        tuned_weight = tuned[name]
        if (base_weight.shape, base_weight.dtype) != (tuned_weight.shape, tuned_weight.dtype):
            raise MismatchError(
                f"{name} is {tuple(base_weight.shape)} {base_weight.dtype} in the base and {tuple(tuned_weight.shape)} "
                f"{tuned_weight.dtype} in the checkpoint; give a checkpoint of that base, and one dtype for both."
            )
        patch = _smallest_patch(base_weight, tuned_weight)
        if patch is not None:
            patches[name] = patch
    checkpoint_size = sum(t.numel() * t.element_size() for t in tuned.values())
    delta_size = sum(patch.bytes() for patch in patches.values())
    if not patches:
        raise EmptySetError("The two checkpoints are equal; there is no delta.")
    if delta_size > 0.9 * checkpoint_size:
        raise ParamsError(
            f"A delta would have {delta_size / checkpoint_size:.0%} of the checkpoint's size, because nearly all of it differs from "
            f"its base; use the checkpoint itself (checkpoint=DIR)."
        )
    return patches


def apply(model: nn.Module, delta: Delta) -> None:
    """Write a delta into a model, in place: every patch or none. The caller checks that the model is the delta's base.

    Raises:
        MismatchError: a weight is missing or has another shape.
    """
    _write(_fitting(model, delta), delta.patches)


@contextmanager
def applied(model: nn.Module, delta: Delta) -> Iterator[None]:
    """A model with a delta while the body runs; its weights are what they were afterwards. Raises what `apply` raises."""
    weights = _fitting(model, delta)
    before = {name: patch._replace(values=patch.values_in(weights[name])) for name, patch in delta.patches.items()}
    _write(weights, delta.patches)
    try:
        yield
    finally:
        _write(weights, before)


def _fitting(model: nn.Module, delta: Delta) -> Mapping[str, torch.Tensor]:
    """The weights of a model that has every weight of the delta, in its shape.

    Raises:
        MismatchError: it has not.
    """
    weights = model.state_dict()
    for name, patch in delta.patches.items():
        if name not in weights or not _fits(patch, weights[name]):
            raise MismatchError(
                f"The delta of {delta.base.id} changes {name!r}, but this model lacks that weight or has it in another shape."
            )
    return weights


def _write(weights: Mapping[str, torch.Tensor], patches: Mapping[str, Patch]) -> None:
    import torch

    with torch.no_grad():
        for name, patch in patches.items():
            patch.apply(weights[name])


def save(path: Path, delta: Delta) -> None:
    """Write a delta as safetensors.

    Raises:
        ParamsError: the file name does not end in .safetensors.
    """
    tensors = {}
    for name, (form, positions, values) in delta.patches.items():
        tensors |= {f"{name}/{form}": positions.cpu().contiguous(), f"{name}/values": values.cpu().contiguous()}
    write_tensors(path, tensors, FORMAT, delta.base, delta.provenance, "pt")


def load(path: Path) -> Delta:
    """Read a delta.

    Raises:
        MissingInputError: no such file.
        FormatError: the file is damaged or has another format.
    """
    tensors, base, provenance = read_tensors(path, FORMAT, "pt")
    patches: dict[str, Patch] = {}
    for key in tensors:
        name, _, form = key.rpartition("/")
        if form in ("rows", "columns", "entries"):
            if f"{name}/values" not in tensors or name in patches:
                raise FormatError(f"{path} is not a delta: {key} has no values, or its weight is listed twice.")
            patches[name] = Patch(form, tensors[key], tensors[f"{name}/values"])
    if not patches or 2 * len(patches) != len(tensors):
        raise FormatError(f"{path} is not a delta: its tensors are not pairs of positions and values.")
    return Delta(patches, base, provenance)


def _smallest_patch(base: torch.Tensor, tuned: torch.Tensor) -> Patch | None:
    """The changes from one weight to another in the form that needs the fewest bytes; None if no bit differs."""
    import torch

    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[base.element_size()]
    mask = base.contiguous().view(bits) != tuned.contiguous().view(bits).to(base.device)
    if not mask.any():
        return None
    entries = mask.flatten().nonzero().squeeze(1)
    candidates = [Patch("entries", entries, tuned.flatten()[entries.to(tuned.device)])]
    if base.ndim > 1:
        rows = mask.flatten(1).any(1).nonzero().squeeze(1)
        columns = mask.flatten(0, -2).any(0).nonzero().squeeze(1)
        candidates += [Patch("rows", rows, tuned[rows]), Patch("columns", columns, tuned[..., columns])]
    return min(candidates, key=Patch.bytes)


def _fits(patch: Patch, weight: torch.Tensor) -> bool:
    """Whether the patch's positions lie inside the weight and its values have the matching shape."""
    n, shape = len(patch.positions), tuple(weight.shape)
    limit = {"rows": shape[0] if shape else 1, "columns": shape[-1] if shape else 1, "entries": weight.numel()}[
        patch.where
    ]
    expected_shape = {"rows": (n, *shape[1:]), "columns": (*shape[:-1], n), "entries": (n,)}[patch.where]
    return (
        tuple(patch.values.shape) == expected_shape
        and n > 0
        and 0 <= int(patch.positions.min()) <= int(patch.positions.max()) < limit
    )
