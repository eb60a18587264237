"""The decoder layers of a model: the list whose items a text pass calls once each, in order."""

from __future__ import annotations

from typing import Any

from torch import nn

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.models.architectures.discovery.passes import hooks, run

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


def find_layers(model: nn.Module) -> tuple[str, list[nn.Module]]:
    """The path of the list of decoder layers, and the layers.

    Raises:
        ArchitectureError: no list of modules is called once each, in order, with the config's length.
    """
    lists = {name: m for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m)}
    places: dict[int, list[tuple[str, int]]] = {}
    for name, modules in lists.items():
        for index, module in enumerate(modules):
            places.setdefault(id(module), []).append((name, index))
    called: list[tuple[str, int]] = []
    children = {id(child): child for modules in lists.values() for child in modules}.values()

    def note(module: nn.Module, _args: object) -> None:
        called.extend(places[id(module)])

    with hooks(*(child.register_forward_pre_hook(note) for child in children)):
        run(model, 2)
    lengths = {value(text_config(model), name) for name in _LENGTHS} - {None}
    orders = {name: [index for place, index in called if place == name] for name in lists}
    in_order = [name for name, order in orders.items() if order == list(range(len(lists[name])))]
    outer = [name for name in in_order if not any(name.startswith(f"{other}.") for other in in_order)]
    fitting = [name for name in outer if len(lists[name]) in lengths]
    if not fitting:
        seen = ", ".join(f"{name} ({len(lists[name])})" for name in orders if orders[name]) or "none"
        raise ArchitectureError(
            f"No list of {' or '.join(map(str, sorted(lengths, key=str))) or 'decoder'} layers is called once each, in order; lists called: {seen[:200]}."
        )
    path = max(fitting, key=lambda name: sum(p.numel() for p in lists[name].parameters()))
    return path, list(lists[path])
