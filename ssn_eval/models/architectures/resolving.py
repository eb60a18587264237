"""Find the sites of a loaded model: their modules, their widths, and the weights that belong to them.

The module names of known types come from `layouts.py`. Those of any other type are found by experiment on the model itself
(`discovery`), once for each model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.core.neurons import SITES, Geometry, expert_site, is_among, parse_key, site_key, site_order
from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.found import Found, FoundLayer
from ssn_eval.models.architectures.layouts import LAYOUTS, Layout, Part, Place
from ssn_eval.models.architectures.sites import Owned, Site, is_transposed

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

_ATTRIBUTE = "_ssn_found_sites"


def found_of(model: PreTrainedModel) -> Found:
    """What is known about a model's sites; for an unknown type the experiments run at the first call.

    Raises:
        ArchitectureError: the type is not in the table, and no site could be proven.
    """
    model_type = str(getattr(model.config, "model_type", "unknown"))
    if model_type in LAYOUTS:
        return Found("table", (FoundLayer(LAYOUTS[model_type]),) * _layers_of_config(model))
    bare: Any = bare_model(model)
    if vars(bare).get(_ATTRIBUTE) is None:
        from ssn_eval.models.architectures.discovery import entry

        remember(bare, entry.discover(model))
    return vars(bare)[_ATTRIBUTE]


def remember(model: PreTrainedModel, found: Found | None) -> None:
    """Keep what was found on the model, so that it is not looked for again; None forgets it."""
    setattr(bare_model(model), _ATTRIBUTE, found)


def bare_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model inside PEFT's wrapper."""
    return model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator, return-value]


def resolve(model: PreTrainedModel, sites: Sequence[str] = SITES) -> dict[str, Site]:
    """Find the sites of a model, in layer order: site key → site. Layers may have different sites.

    The model may be wrapped by PEFT. A site then has PEFT's wrapper as its module, so that an intervention acts on base weights
    and adapter together. For this, load the adapter first.

    Raises:
        ArchitectureError: no site is known or could be proven, or a module is missing or exists twice.
    """
    found = found_of(model)
    modules = _Modules(model, found)
    positions = _positions_function(model)
    sites_by_key: dict[str, Site] = {}
    for layer in range(len(found.layers)):
        for site in _sites_of_layer(modules, layer, positions):
            if is_among(parse_key(site.key)[1], sites):
                sites_by_key[site.key] = site
    return sites_by_key


def refuse_without_sites(model: PreTrainedModel, sites: Sequence[str]) -> None:
    """Stop if no layer of a model has any of the sites that are asked for.

    Raises:
        ArchitectureError: the message gives the reason.
    """
    if not resolve(model, sites):
        reasons = [r for layer in found_of(model).layers for site, r in layer.missing.items() if is_among(site, sites)]
        raise ArchitectureError(
            f"This {model.config.model_type} model has none of the sites {', '.join(sites)}: {(reasons or ['not found'])[0]}; "
            f"`ssn doctor --model` shows its sites."
        )


def geometry(model: PreTrainedModel) -> Geometry:
    """The widths of all sites of a model."""
    return Geometry({key: site.width for key, site in resolve(model).items()})


def num_layers(model: PreTrainedModel) -> int:
    """Number of decoder layers."""
    return len(found_of(model).layers)


def decoder(model: PreTrainedModel) -> nn.Module:
    """The part of a model up to its last norm; a call returns `last_hidden_state`, (batch, time, hidden)."""
    bare = bare_model(model)
    path = found_of(model).decoder
    return bare.base_model if path is None else bare.get_submodule(path)  # type: ignore[return-value]


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers, first to last."""
    found = found_of(model)
    modules = _Modules(model, found)
    return [modules.get(i) for i in range(len(found.layers))]


def _layers_of_config(model: PreTrainedModel) -> int:
    return int(model.config.get_text_config().num_hidden_layers)


class _Modules:
    """The modules of a model's decoder layers by name, without PEFT's prefix."""

    def __init__(self, model: PreTrainedModel, found: Found) -> None:
        self.layouts = [layer.layout for layer in found.layers]
        self._model_type = model.config.model_type
        self._modules: dict[str, list[nn.Module]] = {}
        prefixes = {layout.layers for layout in self.layouts}
        for name, module in model.named_modules():
            for prefix in prefixes:
                start = 0 if name.startswith(prefix + ".") else name.find("." + prefix + ".") + 1
                if start or name.startswith(prefix + "."):
                    self._modules.setdefault(name[start:], []).append(module)

    def name(self, layer: int, below: str = "") -> str:
        """The full name of a layer, or of a module below it."""
        return f"{self.layouts[layer].layers}.{layer}" + (f".{below}" if below else "")

    def has(self, layer: int, below: str) -> bool:
        """Whether the layer has that module."""
        return self.name(layer, below) in self._modules

    def get(self, layer: int, below: str = "") -> nn.Module:
        """The module.

        Raises:
            ArchitectureError: it is missing or exists twice.
        """
        name = self.name(layer, below)
        modules = self._modules.get(name, [])
        if len(modules) != 1:
            raise ArchitectureError(
                f"Expected one module {name!r} in this {self._model_type} model, found {len(modules)}."
            )
        return modules[0]


def _positions_function(model: PreTrainedModel) -> Callable[[Part | None], torch.Tensor | None]:
    """A function that turns a part into an index tensor; all layers share the tensors."""
    import torch

    config = model.config.get_text_config()
    positions_by_part: dict[Part, torch.Tensor] = {}

    def positions(part: Part | None) -> torch.Tensor | None:
        if part is None:
            return None
        if part not in positions_by_part:
            positions_by_part[part] = torch.tensor(list(part(config)), dtype=torch.long, device=model.device)
        return positions_by_part[part]

    return positions


def _sites_of_layer(
    modules: _Modules, layer: int, positions: Callable[[Part | None], torch.Tensor | None]
) -> list[Site]:
    """The sites of one layer, in the order of `SITES`."""
    layout = modules.layouts[layer]
    has_experts = layout.experts is not None and modules.has(layer, layout.experts)
    names = [site for site in layout.sites if site != "mlp" or layout.beside or not has_experts]
    sites = [_site(modules, layout, layer, site, positions) for site in sorted(names, key=site_order)]
    return sites + (_expert_sites(modules, str(layout.experts), layer) if has_experts else [])


def _site(
    modules: _Modules, layout: Layout, layer: int, site: str, positions: Callable[[Part | None], torch.Tensor | None]
) -> Site:
    """One site whose neurons are the coordinates of one side of a module, or a part of them."""
    place = layout.sites[site]
    module = modules.get(layer, place.module)
    places = (place, *layout.mlp_rows) if site == "mlp" else (place,)
    owned = tuple(Owned(modules.name(layer, p.module), p.side, positions(p.part)) for p in places)
    part = positions(place.part)
    module_width = _width(module, place)
    if part is not None and int(part.max()) >= module_width:
        raise ArchitectureError(
            f"{modules.name(layer, place.module)} has {module_width} {place.side}s, too few for the {site} of the config."
        )
    norm = modules.get(layer, place.norm) if place.norm and modules.has(layer, place.norm) else None
    width = module_width if part is None else len(part)
    key, block = site_key(layer, site), modules.get(layer) if place.is_flat else None
    return Site(key, module, place.side, width, part, owned, norm, place.norm_time, None, block, place.is_flat)


def _expert_sites(modules: _Modules, below: str, layer: int) -> list[Site]:
    """One site for every routed expert of a layer."""
    stack: Any = modules.get(layer, below)
    while hasattr(stack, "base_layer"):  # PEFT nests one wrapper for each parameter; the hooks act inside of them
        stack = stack.base_layer
    name, block = modules.name(layer, below), modules.get(layer, below.rpartition(".")[0])
    count, width = experts.count_and_width(stack, name)
    places = experts.places(stack, width)
    return [
        Site(
            *(site_key(layer, expert_site(e)), stack, "input", width),
            owned=tuple(Owned(name, side, positions, parameter, e) for parameter, side, positions in places),
            expert=e,
            block=block,
        )
        for e in range(count)
    ]


def _width(module: Any, place: Place) -> int:
    """The number of coordinates of one side of a linear module. For a `Conv1D`, which has no `out_features`, the weight's shape is used."""
    if is_transposed(module):
        rows, columns = (int(n) for n in reversed(getattr(module, "base_layer", module).weight.shape))
        return rows if place.side == "output" else columns
    return int(module.out_features if place.side == "output" else module.in_features)
