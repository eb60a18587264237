"""The activations of routed experts: transformers keeps all experts in one module, so a hook on the module does not see them.

A mixture-of-experts layer holds its experts as stacked weights, `gate_up_proj` (experts, 2 * width, hidden) and `down_proj`
(experts, hidden, width), and computes them by one of several kernels. While at least one expert is hooked, the module's
forward is the plain one below, which shows the hooks each expert's `act(gate) * up`; it gives the same outputs to rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ssn_eval.models.architectures.hooking import Change

_ATTRIBUTE = "_ssn_hooked_experts"


def count_and_width(experts: nn.Module, name: str) -> tuple[int, int]:
    """How many experts a module holds, and how many neurons each has.

    Raises:
        ArchitectureError: its weights are not stacked as this file expects.
    """
    parameters = dict(experts.named_parameters(recurse=False))
    gate_up, down = parameters.get("gate_up_proj"), parameters.get("down_proj")
    if gate_up is None or down is None or set(parameters) != {"gate_up_proj", "down_proj"}:
        parameter_names = ", ".join(sorted(parameters)) or "none"
        raise ArchitectureError(
            f"The experts {name!r} must hold the stacked parameters gate_up_proj and down_proj and no others, found {parameter_names}; "
            f"this needs transformers 5 and no adapter on the experts."
        )
    number, hidden, width = down.shape
    if tuple(gate_up.shape) != (number, 2 * width, hidden):
        raise ArchitectureError(
            f"The experts {name!r} have gate_up_proj {tuple(gate_up.shape)} beside down_proj {tuple(down.shape)}; expected "
            f"(experts, 2 * width, hidden) and (experts, hidden, width)."
        )
    return number, width


def down(experts: nn.Module, expert: int) -> torch.Tensor:
    """One expert's down projection, (hidden, width), a view."""
    return experts.down_proj[expert]  # type: ignore[index, return-value]


def hook(block: nn.Module, experts: nn.Module, expert: int, change: Change) -> ExpertHandle:
    """Call `change` with one expert's activation, (batch, time, width), zero at tokens that are not routed to it.

    Args:
        block: the module around router and experts; its input, (batch, time, hidden), says which token belongs to which prompt.
        experts: the stacked experts.
        expert: the number of the expert.
        change: may return a new activation; only its routed tokens are used.
    """
    hooked = vars(experts).get(_ATTRIBUTE) or _Hooked(block, experts)
    handle = ExpertHandle(hooked)
    hooked.changes.setdefault(expert, {})[handle] = change
    return handle


class ExpertHandle:
    """Removes one hook; when no hook is left, the module gets its own forward back."""

    def __init__(self, hooked: _Hooked) -> None:
        """Store which hook of `hooked` this handle removes."""
        self._hooked = hooked

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for expert, changes in list(self._hooked.changes.items()):
            changes.pop(self, None)
            if not changes:
                del self._hooked.changes[expert]
        if not self._hooked.changes:
            self._hooked.uninstall()


class _Hooked:
    """The hooks of one experts module, kept on the module itself so that nested users share them."""

    def __init__(self, block: nn.Module, experts: nn.Module) -> None:
        self.experts: Any = experts
        self.changes: dict[int, dict[ExpertHandle, Change]] = {}
        self.shape: tuple[int, int] = (0, 0)
        self._before = vars(experts).get("forward")  # another tool's wrapper (accelerate) lies on the instance, too
        self._handle = block.register_forward_pre_hook(self._note_shape, with_kwargs=True)
        experts.forward = self.forward  # type: ignore[method-assign]
        setattr(experts, _ATTRIBUTE, self)

    def uninstall(self) -> None:
        """Restore the module's own forward."""
        if vars(self.experts).get(_ATTRIBUTE) is not self:
            return
        self._handle.remove()
        delattr(self.experts, _ATTRIBUTE)
        if self._before is None:
            del self.experts.forward
        else:
            self.experts.forward = self._before

    def _note_shape(self, _block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self.shape = (hidden.shape[0], hidden.shape[1])

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Compute the module's output, expert by expert.

        Args:
            hidden_states: (tokens, hidden).
            top_k_index: (tokens, k), the experts that a token is routed to.
            top_k_weights: (tokens, k), how much each of them counts.
        """
        from torch.nn.functional import linear

        total = hidden_states.new_zeros(hidden_states.shape)
        for expert in top_k_index.unique().tolist():
            if expert >= self.experts.num_experts:
                continue  # expert parallelism marks the tokens of other devices so
            token, slot = (top_k_index == expert).nonzero(as_tuple=True)
            gate, up = linear(hidden_states[token], self.experts.gate_up_proj[expert]).chunk(2, dim=-1)
            activation = self._shown(expert, self.experts.act_fn(gate) * up, token)
            out = linear(activation, self.experts.down_proj[expert]) * top_k_weights[token, slot, None]
            total = total.index_add(0, token, out.to(total.dtype))
        return total

    def _shown(self, expert: int, activation: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """One expert's activation after its hooks, (routed tokens, width); the hooks see it as (batch, time, width)."""
        for change in self.changes.get(expert, {}).values():
            laid_out = activation.new_zeros(self.shape[0] * self.shape[1], activation.shape[-1])
            new = change(laid_out.index_copy(0, token, activation).unflatten(0, self.shape))
            if new is not None:
                activation = new.flatten(0, 1)[token]
        return activation
