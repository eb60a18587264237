"""Hooks on the activations of routed experts. One module holds all experts, so a hook on the module does not see them.

The module has stacked weights, `gate_up_proj` (experts, 2 * width, hidden) and `down_proj` (experts, hidden, width), and
computes its output with one of several kernels. While at least one expert is hooked, the forward below replaces the module's
own. It calls the hooks with each expert's `act(gate) * up` and gives the same outputs except for rounding.
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
    """The number of experts of a module, and the number of neurons of each expert.

    Raises:
        ArchitectureError: the weights are not stacked as described above.
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
        block: the module that contains router and experts; its input, (batch, time, hidden), gives the shape of the batch.
        experts: the module of the stacked experts.
        expert: the number of the expert.
        change: the function; of the activation that it returns, only the routed tokens are used.
    """
    hooks = vars(experts).get(_ATTRIBUTE) or _ExpertHooks(block, experts)
    handle = ExpertHandle(hooks)
    hooks.changes.setdefault(expert, {})[handle] = change
    return handle


class ExpertHandle:
    """Removes one hook. After the last hook is removed, the module has its own forward again."""

    def __init__(self, hooks: _ExpertHooks) -> None:
        """Make a handle for one of the hooks of a module."""
        self._hooks = hooks

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        for expert, changes in list(self._hooks.changes.items()):
            changes.pop(self, None)
            if not changes:
                del self._hooks.changes[expert]
        if not self._hooks.changes:
            self._hooks.uninstall()


class _ExpertHooks:
    """The hooks of one module of experts. They are stored on the module, so that nested interventions share them."""

    def __init__(self, block: nn.Module, experts: nn.Module) -> None:
        self.experts: Any = experts
        self.changes: dict[int, dict[ExpertHandle, Change]] = {}
        self.shape: tuple[int, int] = (0, 0)
        self._instance_forward = vars(experts).get("forward")  # accelerate, for example, puts a wrapper on the instance
        self._handle = block.register_forward_pre_hook(self._record_shape, with_kwargs=True)
        experts.forward = self.forward  # type: ignore[method-assign]
        setattr(experts, _ATTRIBUTE, self)

    def uninstall(self) -> None:
        """Restore the module's own forward."""
        if vars(self.experts).get(_ATTRIBUTE) is not self:
            return
        self._handle.remove()
        delattr(self.experts, _ATTRIBUTE)
        if self._instance_forward is None:
            del self.experts.forward
        else:
            self.experts.forward = self._instance_forward

    def _record_shape(self, _block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        self.shape = (hidden.shape[0], hidden.shape[1])

    def forward(
        self, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
    ) -> torch.Tensor:
        """Compute the module's output, expert by expert.

        Args:
            hidden_states: (tokens, hidden).
            top_k_index: (tokens, k), the experts to which a token is routed.
            top_k_weights: (tokens, k), the weight of each of these experts.
        """
        from torch.nn.functional import linear

        total = hidden_states.new_zeros(hidden_states.shape)
        for expert in top_k_index.unique().tolist():
            if expert >= self.experts.num_experts:
                continue  # with expert parallelism, this number marks tokens of other devices
            tokens, slots = (top_k_index == expert).nonzero(as_tuple=True)
            gate, up = linear(hidden_states[tokens], self.experts.gate_up_proj[expert]).chunk(2, dim=-1)
            activation = self._changed(expert, self.experts.act_fn(gate) * up, tokens)
            output = linear(activation, self.experts.down_proj[expert]) * top_k_weights[tokens, slots, None]
            total = total.index_add(0, tokens, output.to(total.dtype))
        return total

    def _changed(self, expert: int, activation: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One expert's activation after its hooks, (routed tokens, width). The hooks get it as (batch, time, width)."""
        for change in self.changes.get(expert, {}).values():
            zeros = activation.new_zeros(self.shape[0] * self.shape[1], activation.shape[-1])
            new = change(zeros.index_copy(0, tokens, activation).unflatten(0, self.shape))
            if new is not None:
                activation = new.flatten(0, 1)[tokens]
        return activation
