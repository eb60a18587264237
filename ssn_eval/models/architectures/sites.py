"""One site of a loaded model: hooks on its activation, and the weights of its neurons.

The layout of a module (fused, transposed, or a stack of experts) stays inside this package. Code that reads, changes, bakes or
trains neurons uses the coordinates 0 to width - 1 of a site.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.layouts import Side

if TYPE_CHECKING:
    import torch
    from torch import nn
from ssn_eval.models.architectures.hooking import Change, Handle


class Owned(NamedTuple):
    """Rows or columns of one weight that belong to a site's neurons."""

    name: str
    """full name of the module, without PEFT's prefix"""
    side: Side
    """`output`: rows of the weight as (out, in); `input`: columns"""
    positions: torch.Tensor | None
    """(width,), long: the row or column of neuron 0, 1, …; `None`: neuron i has row or column i"""
    parameter: str = "weight"
    """name of the weight in the module"""
    expert: int | None = None
    """for a stack of routed experts, (experts, …, …): the number of the expert"""

    def of(self, indices: Sequence[int]) -> list[int]:
        """The rows or columns of the given neurons, in their order."""
        return list(indices) if self.positions is None else self.positions[list(indices)].tolist()


@dataclass(frozen=True)
class Site:
    """One site of a loaded model."""

    key: str
    """`layers.<i>.<site>`"""
    module: nn.Module
    side: Side
    width: int
    positions: torch.Tensor | None = None
    """(width,), long: the coordinate of neuron 0, 1, … on the module's side; `None`: neuron i has coordinate i"""
    owned: tuple[Owned, ...] = ()
    """all weights in which the site's neurons own rows or columns"""
    norm: nn.Module | None = None
    """the RMS norm that takes the activation as its input; it acts on the last dimension (one head, or the whole width)"""
    norm_time: int = 1
    """the axis of the norm's input that is time"""
    expert: int | None = None
    """number of the expert, if `module` is a stack of routed experts; the neurons are columns of its down projection"""
    block: nn.Module | None = None
    """for an expert: the module that contains router and experts; for a flat site: the decoder layer"""
    is_flat: bool = False
    """whether the module gets batch and time in another form than (batch, time, width); `block` then tells the size of the batch"""

    def hook(self, change: Change) -> Handle:
        """Call `change` with the site's activation, (batch, time, width), in every forward pass until the hook is removed.

        The activation of an expert is zero at tokens that are not routed to it.
        """
        if self.expert is not None and self.block is not None:
            return experts.hook(self.block, self.module, self.expert, change)

        if self.is_flat and self.block is not None:
            batch = _BatchSize(self.block)
            return _Both(batch, replace(self, is_flat=False).hook(batch.shaped(change)))

        def change_output(_module: nn.Module, _args: object, output: Any) -> torch.Tensor | None:
            return self._changed(output, change)

        def change_input(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            new = self._changed(args[0], change)
            return None if new is None else (new, *args[1:])

        if self.side == "output":
            return self.module.register_forward_hook(change_output)
        return self.module.register_forward_pre_hook(change_input)

    def change_weights(self, indices: Sequence[int], factors: Sequence[float], constants: Sequence[float]) -> None:
        """Change rows (with their biases) or columns in place, so that each activation `a` becomes `factor · a + constant`.

        A constant is lost if there is no bias (see `bias`). Call this under `torch.no_grad()`.
        """
        import torch

        weight, bias = self.weight(), self.bias()
        index = torch.as_tensor(list(indices), device=weight.device)
        if self.positions is not None:
            index = self.positions.to(weight.device)[index]
        dtype = torch.promote_types(weight.dtype, torch.float32)
        factor, constant = (torch.tensor(list(v), dtype=dtype, device=weight.device) for v in (factors, constants))
        if self.side == "input":
            columns = weight[:, index].to(dtype)
            if bias is not None and constant.any():
                bias += (columns @ constant).to(bias.dtype)
            weight[:, index] = (columns * factor).to(weight.dtype)
            return
        weight[index] = (weight[index].to(dtype) * factor[:, None]).to(weight.dtype)
        if bias is not None:
            bias[index] = (bias[index].to(dtype) * factor + constant).to(bias.dtype)

    def bias(self) -> torch.Tensor | None:
        """The module's bias, (out,), to which a constant can be added; None if there is none."""
        return (
            getattr(self.module, "bias", None) if self.expert is None else experts.down_bias(self.module, self.expert)
        )

    def weight(self) -> torch.Tensor:
        """The module's whole weight as (out, in), a view; for an expert, its own down projection."""
        return out_in(self.module) if self.expert is None else experts.down(self.module, self.expert)

    def _changed(self, activation: torch.Tensor, change: Change) -> torch.Tensor | None:
        """A module's input or output after a change of the site's part; None if the change returns None."""
        if self.positions is None:
            return change(activation)
        positions = self.positions.to(activation.device)
        part = change(activation.index_select(-1, positions))
        return None if part is None else activation.index_copy(-1, positions, part)


class _BatchSize:
    """Follows the number of sequences that a decoder layer gets."""

    def __init__(self, layer: nn.Module) -> None:
        self._size = 1
        self._handle = layer.register_forward_pre_hook(self._record, with_kwargs=True)

    def _record(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        import torch

        state = next(v for v in (*args, *kwargs.values()) if torch.is_tensor(v) and v.is_floating_point())
        self._size = state.shape[-3]

    def shaped(self, change: Change) -> Change:
        """The change of an activation in the module's own form."""

        def changed(activation: torch.Tensor, /) -> torch.Tensor | None:
            new = change(activation.reshape(self._size, -1, activation.shape[-1]))
            return None if new is None else new.reshape(activation.shape)

        return changed

    def remove(self) -> None:
        self._handle.remove()


class _Both:
    """Two handles as one."""

    def __init__(self, *handles: Handle) -> None:
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def out_in(module: nn.Module) -> torch.Tensor:
    """The weight of a linear module as (out, in). A `Linear` stores (out, in), a `Conv1D` (GPT-2) stores (in, out)."""
    linear: Any = getattr(module, "base_layer", module)  # PEFT's wrapper holds the module there
    return linear.weight.T if is_transposed(linear) else linear.weight


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear module stores its weight as (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(getattr(module, "base_layer", module), Conv1D)
