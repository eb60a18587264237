"""The decoder layers of a model: the list whose items a text pass calls once each, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.models.architectures.discovery.passes import CAPTURED, hooks, run

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""positional and named arguments of one call"""
_LENGTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")


def text_config(model: Any) -> Any:
    """The config of a model's decoder."""
    try:
        return model.config.get_text_config(decoder=True)
    except (AttributeError, TypeError, ValueError):
        return model.config


def value(config: Any, *names: str) -> int | None:
    """The first of a config's numbers that is set; some configs raise for a name whose value differs by layer."""
    for name in names:
        try:
            number = getattr(config, name, None)
        except Exception:  # noqa: BLE001, S112  # transformers has no class of its own for this
            continue
        if isinstance(number, int) and not isinstance(number, bool):
            return number
    return None


class Observed(NamedTuple):
    """One text pass: the decoder layers, the inputs of their calls, and where the last hidden state is."""

    path: str
    """path of the list of layers"""
    layers: list[nn.Module]
    inputs: list[list[Inputs]]
    """of each layer, one entry a call"""
    decoder: str | None
    """see `found.Found.decoder`"""


def observe(model: Any) -> Observed:
    """Find the decoder layers: the list whose modules a text pass calls once each, in order, with the config's length.

    Raises:
        ArchitectureError: there is no such list, or the model does not run on text.
    """
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    inputs: dict[int, list[Inputs]] = {}
    order: list[int] = []
    heads: list[torch.Tensor] = []
    states: list[tuple[str, torch.Tensor]] = []

    def restart() -> None:
        for record in (inputs, order, heads, states):
            record.clear()

    def keep_inputs(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        inputs.setdefault(id(module), []).append((args, dict(kwargs)))
        order.append(id(module))

    def keep_head(_module: nn.Module, args: tuple[Any, ...]) -> None:
        heads.append(args[0])

    def keep_state(name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: Any, kwargs: dict[str, Any], output: Any) -> None:
            state = getattr(output, "last_hidden_state", None)
            if torch.is_tensor(state) and kwargs.get("input_ids") is not None:
                states.append((name, state))

        return keep

    children = {id(child): child for modules in lists.values() for child in modules}.values()
    handles: list[Any] = [child.register_forward_pre_hook(keep_inputs, with_kwargs=True) for child in children]
    handles += [m.register_forward_hook(keep_state(n), with_kwargs=True) for n, m in model.named_modules() if n]
    head = model.get_output_embeddings()
    if head is not None:
        handles.append(head.register_forward_pre_hook(keep_head))
    with hooks(*handles):
        run(model, CAPTURED, restart=restart)
    path = _path(model, lists, order)
    layers = list(lists[path])
    return Observed(path, layers, [inputs.get(id(layer), []) for layer in layers], _decoder(model, heads, states))


def _path(model: Any, lists: Mapping[str, nn.ModuleList], called: Sequence[int]) -> str:
    config = text_config(model)
    lengths = {value(config, name) for name in _LENGTHS} - {None}
    orders = {name: _calls(modules, called) for name, modules in lists.items()}
    in_order = [
        name
        for name, order in orders.items()
        if order and order == sorted(set(order)) and 2 * len(order) > len(lists[name])
    ]
    outer = [name for name in in_order if not any(name.startswith(f"{other}.") for other in in_order)]
    fitting = [name for name in outer if len(lists[name]) in lengths]
    if not fitting:
        seen = ", ".join(f"{name} ({len(lists[name])})" for name in orders if orders[name]) or "none"
        wanted = " or ".join(map(str, sorted(lengths, key=str))) or "decoder"
        raise ArchitectureError(
            f"No list of {wanted} layers is called once each, in order, in a pass of this {model.config.model_type} model; lists "
            f"called: {seen[:200]}."
        )
    return max(fitting, key=lambda name: sum(p.numel() for p in lists[name].parameters()))


def _calls(modules: nn.ModuleList, called: Sequence[int]) -> list[int]:
    """The indices of a list's modules in the order of their calls."""
    index = {id(module): i for i, module in enumerate(modules)}
    return [index[key] for key in called if key in index]


def _decoder(model: Any, heads: Sequence[torch.Tensor], states: Sequence[tuple[str, torch.Tensor]]) -> str | None:
    """The outermost module that takes token ids and whose last hidden state is what the output head reads."""
    good = [name for name, s in states if not heads or (s.shape == heads[0].shape and torch.equal(s, heads[0]))]
    base = next((name for name, module in model.named_modules() if name and module is model.base_model), None)
    return None if base in good or not good else min(good, key=lambda name: name.count("."))
