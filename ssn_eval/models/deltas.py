"""A sparse delta: only the rows, columns or entries of a model's weights that differ in another checkpoint.

`ssn-delta/1`: safetensors with two tensors a changed weight, `<weight>/rows`, `/columns` or `/entries` (n,), int64, the places,
and `<weight>/values`, the new values, (n, …) for rows, (…, n) for columns, (n,) for entries. These are the new values and
not differences, so that base and delta give the checkpoint back bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """What changed in one weight."""

    where: Where
    at: torch.Tensor
    """(n,), long: rows (first axis), columns (last axis) or entries of the flattened weight"""
    values: torch.Tensor

    def bytes(self) -> int:
        """Size on disk."""
        return self.at.numel() * 8 + self.values.numel() * self.values.element_size()

    def apply(self, weight: torch.Tensor) -> None:
        """Write the values into a weight, in place."""
        index, values = self.at.to(weight.device), self.values.to(weight.device, weight.dtype)
        if self.where == "rows":
            weight[index] = values
        elif self.where == "columns":
            weight[..., index] = values
        else:
            weight.view(-1)[index] = values


@dataclass(frozen=True)
class Delta:
    """What changed in a model, with the origin."""

    patches: Mapping[str, Patch]
    """weight name, as in the model's state dict → what changed"""
    base: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)


def between(base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor]) -> dict[str, Patch]:
    """Compare two state dicts bit by bit; each weight in the smallest form of the three.

    Raises:
        MismatchError: names, shapes or dtypes differ.
        EmptySetError: nothing changed.
        ParamsError: nearly everything changed, so that a delta would be no smaller than the checkpoint.
    """
    if base.keys() != tuned.keys():
        odd = sorted(base.keys() ^ tuned.keys())
        raise MismatchError(f"The two checkpoints do not have the same weights; {odd[0]!r} is in one of them only.")
    patches: dict[str, Patch] = {}
    for name, old in base.items():
        new = tuned[name]
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise MismatchError(
                f"{name} is {tuple(old.shape)} {old.dtype} in the base and {tuple(new.shape)} {new.dtype} in the checkpoint; give a "
                f"checkpoint of that base, and one dtype for both."
            )
        patch = _patch(old, new)
        if patch is not None:
            patches[name] = patch
    whole = sum(t.numel() * t.element_size() for t in tuned.values())
    size = sum(patch.bytes() for patch in patches.values())
    if not patches:
        raise EmptySetError("The two checkpoints are equal; there is no delta.")
    if size > 0.9 * whole:
        raise ParamsError(
            f"{size / whole:.0%} of the checkpoint's size differs from its base, so a delta saves nothing; use the checkpoint itself "
            f"(checkpoint=DIR)."
        )
    return patches


def apply(model: nn.Module, delta: Delta) -> None:
    """Write a delta into a model, in place, as a whole or not at all. The caller checks that the model is the delta's base.

    Raises:
        MismatchError: a weight is missing or has another shape.
    """
    import torch

    weights = model.state_dict()
    for name, patch in delta.patches.items():
        if name not in weights or not _fits(patch, weights[name]):
            raise MismatchError(
                f"The delta of {delta.base.id} changes {name!r}, which this model has not, or in another shape."
            )
    with torch.no_grad():
        for name, patch in delta.patches.items():
            patch.apply(weights[name])


def save(path: Path, delta: Delta) -> None:
    """Write a delta as safetensors.

    Raises:
        ParamsError: another ending.
    """
    tensors = {}
    for name, (form, index, values) in delta.patches.items():
        tensors |= {f"{name}/{form}": index.cpu().contiguous(), f"{name}/values": values.cpu().contiguous()}
    write_tensors(path, tensors, FORMAT, delta.base, delta.provenance, "pt")


def load(path: Path) -> Delta:
    """Read a delta.

    Raises:
        MissingInputError: no such file.
        FormatError: damaged, or of another format.
    """
    tensors, base, provenance = read_tensors(path, FORMAT, "pt")
    patches: dict[str, Patch] = {}
    for full in tensors:
        name, _, form = full.rpartition("/")
        if form in ("rows", "columns", "entries"):
            if f"{name}/values" not in tensors or name in patches:
                raise FormatError(f"{path} is no delta: {full} needs values of its own.")
            patches[name] = Patch(form, tensors[full], tensors[f"{name}/values"])
    if not patches or 2 * len(patches) != len(tensors):
        raise FormatError(f"{path} is no delta: its tensors are not pairs of places and values.")
    return Delta(patches, base, provenance)


def _patch(old: torch.Tensor, new: torch.Tensor) -> Patch | None:
    import torch

    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[old.element_size()]
    differs = old.contiguous().view(bits) != new.contiguous().view(bits).to(old.device)
    if not differs.any():
        return None
    flat = differs.flatten().nonzero().squeeze(1)
    candidates = [Patch("entries", flat, new.flatten()[flat.to(new.device)])]
    if old.ndim > 1:
        rows = differs.flatten(1).any(1).nonzero().squeeze(1)
        columns = differs.flatten(0, -2).any(0).nonzero().squeeze(1)
        candidates += [Patch("rows", rows, new[rows]), Patch("columns", columns, new[..., columns])]
    return min(candidates, key=Patch.bytes)


def _fits(patch: Patch, weight: torch.Tensor) -> bool:
    n, shape = len(patch.at), tuple(weight.shape)
    limit = {"rows": shape[0] if shape else 1, "columns": shape[-1] if shape else 1, "entries": weight.numel()}[
        patch.where
    ]
    shapes = {"rows": (n, *shape[1:]), "columns": (*shape[:-1], n), "entries": (n,)}[patch.where]
    return tuple(patch.values.shape) == shapes and n > 0 and 0 <= int(patch.at.min()) <= int(patch.at.max()) < limit
