"""Routed experts: hooks on the activation of one expert, and its weights. One module holds all experts, so a hook on it does not see them.

The module has stacked weights. transformers leaves flags on it: with or without a gate, biases, weights stored as (in, out), gate and
up rows in two blocks or in turns, a norm behind every expert. The forward function below is written with these flags. While at
least one expert is hooked, it replaces the module's own, calls the hooks with each expert's activation, and gives the same
outputs except for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError

if TYPE_CHECKING:
    import torch
    from torch import nn

    from ssn_eval.models.architectures.hooking import Change
    from ssn_eval.models.architectures.layouts import Side

_ATTRIBUTE = "_ssn_hooked_experts"
Changed = Callable[[int, "torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""expert, activation (routed tokens, width) and tokens → new activation"""


def up_name(experts: nn.Module) -> str:
    """The parameter in front of the activation: gate and up together, or up alone."""
    return "gate_up_proj" if getattr(experts, "has_gate", True) else "up_proj"


def has_bias(experts: nn.Module) -> bool:
    """Whether both projections have biases."""
    return bool(getattr(experts, "has_bias", False))


def is_transposed(experts: nn.Module) -> bool:
    """Whether the weights are stored as (experts, in, out); by the shapes where there is no flag (Llama 4)."""
    flag = getattr(experts, "is_transposed", None)
    if flag is not None:
        return bool(flag)
    up, down = (tuple(getattr(experts, name).shape) for name in (up_name(experts), "down_proj"))
    return up[1] == down[2] and up[2] in (down[1], 2 * down[1]) and up[2] != down[2]


def count_and_width(experts: nn.Module, name: str) -> tuple[int, int]:
    """The number of experts of a module, and the number of neurons of each expert.

    Raises:
        ArchitectureError: the weights are not stacked as the flags say.
    """
    parameters = dict(experts.named_parameters(recurse=False))
    wanted = [up_name(experts), "down_proj"]
    wanted += [f"{parameter}_bias" for parameter in wanted] if has_bias(experts) else []
    if set(parameters) != set(wanted):
        parameter_names = ", ".join(sorted(parameters)) or "none"
        raise ArchitectureError(
            f"The experts {name!r} must hold the stacked parameters {' and '.join(wanted)} and no others, found {parameter_names}; "
            f"this needs transformers 5 and no adapter on the experts."
        )
    up, down = parameters[wanted[0]], parameters["down_proj"]
    number, hidden, width = (down.shape[0], *(reversed(down.shape[1:]) if is_transposed(experts) else down.shape[1:]))
    rows = (2 if up_name(experts) == "gate_up_proj" else 1) * width
    expected = (number, hidden, rows) if is_transposed(experts) else (number, rows, hidden)
    if up.shape[0] < number or tuple(up.shape[1:]) != expected[1:]:  # experts that only pass on (LongCat) may have rows
        raise ArchitectureError(
            f"The experts {name!r} have {wanted[0]} {tuple(up.shape)} beside down_proj {tuple(down.shape)}; expected {expected}."
        )
    return int(number), int(width)


def down(experts: nn.Module, expert: int) -> torch.Tensor:
    """One expert's down projection, (hidden, width), a view."""
    weight: torch.Tensor = experts.down_proj[expert]  # type: ignore[index]
    return weight.T if is_transposed(experts) else weight


def down_bias(experts: nn.Module, expert: int) -> torch.Tensor | None:
    """The bias of one expert's down projection, (hidden,), a view; None if there is none."""
    return experts.down_proj_bias[expert] if has_bias(experts) else None  # type: ignore[index]


def up(experts: nn.Module, expert: int) -> torch.Tensor:
    """One expert's projection in front of the activation, (rows, hidden), a view."""
    weight: torch.Tensor = getattr(experts, up_name(experts))[expert]
    return weight.T if is_transposed(experts) else weight


def rows_of(experts: nn.Module, width: int) -> list[list[int]]:
    """The rows of `up` that belong to each neuron: gate and up, in two blocks or in turns; one row without a gate."""
    if up_name(experts) != "gate_up_proj":
        return [[i] for i in range(width)]
    if getattr(experts, "is_concatenated", True):
        return [[i, width + i] for i in range(width)]
    return [[2 * i, 2 * i + 1] for i in range(width)]


def places(experts: nn.Module, width: int) -> list[tuple[str, Side, torch.Tensor | None]]:
    """The parameters in which an expert's neurons own rows or columns: name, side, and where those of neuron 0, 1, … are (see `Owned`)."""
    import torch

    rows = torch.tensor(rows_of(experts, width))
    up_places = [(up_name(experts), "output", rows[:, n]) for n in range(rows.shape[1])]
    return [("down_proj", "input", None), *up_places]  # type: ignore[list-item]


def activation(experts: Any, projected: torch.Tensor) -> torch.Tensor:
    """The activation of the experts' neurons from the output of `up`, (tokens, width)."""
    if up_name(experts) != "gate_up_proj":
        return experts.act_fn(projected)
    own = getattr(experts, "_apply_gate", None)
    if own is not None:
        return own(projected)
    gate, up_part = projected.chunk(2, dim=-1)
    return experts.act_fn(gate) * up_part


def is_pointwise(experts: Any) -> bool:
    """Whether each row of `up` reaches the one neuron that the flags give it; both ends and some rows between are tried."""
    import torch

    _, width = count_and_width(experts, "experts")
    owners = {row: i for i, rows in enumerate(rows_of(experts, width)) for row in rows}
    total = len(owners)
    tried = sorted({0, 1, total - 1, total // 2, total // 2 - 1, *(total * k // 9 for k in range(1, 9))})
    parameter = getattr(experts, up_name(experts))
    plain = torch.randn(1, total, generator=torch.Generator().manual_seed(0)).to(parameter)
    reached: dict[int, set[int]] = {row: set() for row in tried}
    with torch.no_grad():
        before = activation(experts, plain)
        for step in (1.5, -4.0, 8.0):
            changed = plain.repeat(len(tried), 1)
            changed[range(len(tried)), tried] += step
            moved = (activation(experts, changed) - before).abs() > 1e-6
            for i, row in enumerate(tried):
                reached[row] |= set(moved[i].nonzero().flatten().tolist())
    return all(reached[row] == {owners[row]} for row in tried)


def compute(experts: Any, *args: Any, changed: Changed | None = None, **kwargs: Any) -> torch.Tensor:
    """The output of a stack of experts, expert by expert.

    Args:
        experts: the module.
        args: hidden states (tokens, hidden), the experts of each token (tokens, k) and their weights (tokens, k); or hidden states
            alone, (experts · tokens, hidden), one block an expert (Llama 4).
        changed: gets each expert's activation and gives the one to be used.
        kwargs: the same by name, in this order.
    """
    values = [*args, *kwargs.values()]
    hidden = values[0]
    if len(values) == 1:
        count = experts.down_proj.shape[0]
        blocks = hidden.view(count, -1, hidden.shape[-1])
        tokens = _all_tokens(blocks.shape[1], hidden)
        return _joined([_one(experts, e, blocks[e], tokens, changed) for e in range(count)])
    index, weights = values[1], values[2]
    total = hidden.new_zeros(hidden.shape)
    for expert in index.unique().tolist():
        if not 0 <= expert < experts.down_proj.shape[0]:
            continue  # with expert parallelism, such a number marks tokens of other devices
        tokens, slots = (index == expert).nonzero(as_tuple=True)
        output = _one(experts, expert, hidden[tokens], tokens, changed) * weights[tokens, slots, None]
        total = total.index_add(0, tokens, output.to(total.dtype))
    return total


def _all_tokens(count: int, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.arange(count, device=like.device)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    import torch

    return torch.cat(parts)


def _one(experts: Any, expert: int, x: torch.Tensor, tokens: torch.Tensor, changed: Changed | None) -> torch.Tensor:
    """One expert's output for the tokens that are routed to it, (routed tokens, hidden)."""
    from torch.nn.functional import linear

    up_bias = getattr(experts, f"{up_name(experts)}_bias")[expert] if has_bias(experts) else None
    hidden = activation(experts, linear(x, up(experts, expert), up_bias))
    if changed is not None:
        hidden = changed(expert, hidden, tokens)
    output = linear(hidden, down(experts, expert), down_bias(experts, expert))
    return experts.post_expert_norm(output) if getattr(experts, "has_post_expert_norm", False) else output


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

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Compute the module's output, expert by expert (see `compute`)."""
        return compute(self.experts, *args, changed=self._changed, **kwargs)

    def _changed(self, expert: int, activation: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One expert's activation after its hooks, (routed tokens, width). The hooks get it as (batch, time, width)."""
        for change in self.changes.get(expert, {}).values():
            zeros = activation.new_zeros(self.shape[0] * self.shape[1], activation.shape[-1])
            new = change(zeros.index_copy(0, tokens, activation).unflatten(0, self.shape))
            if new is not None:
                activation = new.flatten(0, 1)[tokens]
        return activation
