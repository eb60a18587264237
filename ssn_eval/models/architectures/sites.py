"""One site of a loaded model: its activation under a hook, and the weights of its neurons.

Only this module knows that a module is fused, transposed or a stack of experts. Code that watches, changes, bakes or trains
neurons uses a site's coordinates 0 to width - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    """full module name, without PEFT's prefix"""
    side: Side
    """`output`: rows; `input`: columns"""
    positions: torch.Tensor | None
    """(width,), long: the row or column of neuron 0, 1, …; `None`: the neuron's own number"""

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
    """(width,), long: the coordinate of `module`'s side of neuron 0, 1, …; `None`: all of them in order"""
    owned: tuple[Owned, ...] = ()
    """every weight in which the site's neurons own rows or columns; empty for an expert, whose weights are no module's"""
    norm: nn.Module | None = None
    """the RMS norm that the activation goes through next, over its last dimension (a head, or the whole width)"""
    norm_time: int = 1
    """which axis of the norm's input is time"""
    expert: int | None = None
    """which expert of `module`, a stack of routed experts; its neurons are columns of that expert's down projection"""
    block: nn.Module | None = None
    """of an expert: the module that routes tokens to it"""

    def hook(self, change: Change) -> Handle:
        """Call `change` with the site's activation, (batch, time, width), in every forward pass until removed.

        For an expert the activation is zero at the tokens that are not routed to it.
        """
        if self.expert is not None and self.block is not None:
            return experts.hook(self.block, self.module, self.expert, change)

        def after(_module: nn.Module, _args: object, output: Any) -> torch.Tensor | None:
            return self._changed(output, change)

        def before(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            new = self._changed(args[0], change)
            return None if new is None else (new, *args[1:])

        if self.side == "output":
            return self.module.register_forward_hook(after)
        return self.module.register_forward_pre_hook(before)

    def change_weights(self, indices: Sequence[int], factors: Sequence[float], constants: Sequence[float]) -> None:
        """Change rows (with their biases) or columns, in place: activation `a` of each neuron becomes `factor · a + constant`.

        A constant needs a bias (see `bias`). Call it under `torch.no_grad()`.
        """
        import torch

        weight, bias = self.weight(), self.bias()
        index = torch.as_tensor(list(indices), device=weight.device)
        if self.positions is not None:
            index = self.positions.to(weight.device)[index]
        exact = torch.promote_types(weight.dtype, torch.float32)
        factor, constant = (torch.tensor(list(v), dtype=exact, device=weight.device) for v in (factors, constants))
        if self.side == "input":
            columns = weight[:, index].to(exact)
            if bias is not None and constant.any():
                bias += (columns @ constant).to(bias.dtype)
            weight[:, index] = (columns * factor).to(weight.dtype)
            return
        weight[index] = (weight[index].to(exact) * factor[:, None]).to(weight.dtype)
        if bias is not None:
            bias[index] = (bias[index].to(exact) * factor + constant).to(bias.dtype)

    def bias(self) -> torch.Tensor | None:
        """The module's bias, (out,), which can hold a constant; an expert has none."""
        return None if self.expert is not None else getattr(self.module, "bias", None)

    def weight(self) -> torch.Tensor:
        """The module's whole weight as (out, in), a view; for an expert, its own down projection."""
        return out_in(self.module) if self.expert is None else experts.down(self.module, self.expert)

    def _changed(self, whole: torch.Tensor, change: Change) -> torch.Tensor | None:
        """Apply a change to the site's part of a module's input or output."""
        if self.positions is None:
            return change(whole)
        positions = self.positions.to(whole.device)
        new = change(whole.index_select(-1, positions))
        return None if new is None else whole.index_copy(-1, positions, new)


def out_in(module: nn.Module) -> torch.Tensor:
    """The weight of a linear module as (out, in): a `Linear` stores it so, a `Conv1D` (GPT-2) the other way round."""
    plain: Any = getattr(module, "base_layer", module)  # inside PEFT's wrapper
    return plain.weight.T if is_transposed(plain) else plain.weight


def is_transposed(module: nn.Module) -> bool:
    """Whether a linear module stores its weight as (in, out)."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(getattr(module, "base_layer", module), Conv1D)
