"""Find the sites of a loaded model: their modules, their widths, and the weights that belong to them.

The module names come from `layouts.py`, which has one row for each architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.core.neurons import SITES, Geometry, expert_site, is_among, parse_key, site_key
from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.layouts import LAYOUTS, Layout, Part, Place
from ssn_eval.models.architectures.sites import Owned, Site, is_transposed

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def layout_of(model: PreTrainedModel) -> Layout:
    """The layout of a model, by its `config.model_type`.

    Raises:
        ArchitectureError: the type is not in the table.
    """
    model_type = str(getattr(model.config, "model_type", "unknown"))
    if model_type not in LAYOUTS:
        raise ArchitectureError(
            f"The architecture {model_type!r} is not known; known are {', '.join(sorted(LAYOUTS))}. Add a row for it to LAYOUTS in "
            f"ssn_eval/models/architectures/layouts.py: the path of its decoder layers, and the module and side of each site ("
            f"{', '.join(SITES)})."
        )
    return LAYOUTS[model_type]


def resolve(model: PreTrainedModel, sites: Sequence[str] = SITES) -> dict[str, Site]:
    """Find the sites of a model, in layer order: site key → site.

    The model may be wrapped by PEFT. A site then has PEFT's wrapper as its module, so that an intervention acts on base weights
    and adapter together. For this, load the adapter first.

    Raises:
        ArchitectureError: the type is unknown, or a module is missing or exists twice.
    """
    layout = layout_of(model)
    modules = _Modules(model, layout)
    positions = _positions_function(model)
    sites_by_key: dict[str, Site] = {}
    for layer in range(num_layers(model)):
        for site in (s for s in SITES if s in layout.sites):
            parts = (
                _expert_sites(modules, layout.experts, layer)
                if site == "mlp" and layout.experts and modules.has(layer, layout.experts)
                else [_site(modules, layout, layer, site, positions)]
            )
            sites_by_key |= {part.key: part for part in parts if is_among(parse_key(part.key)[1], sites)}
    return sites_by_key


def geometry(model: PreTrainedModel) -> Geometry:
    """The widths of all sites of a model."""
    return Geometry({key: site.width for key, site in resolve(model).items()})


def num_layers(model: PreTrainedModel) -> int:
    """Number of decoder layers, from the config."""
    return int(model.config.get_text_config().num_hidden_layers)


def decoder(model: PreTrainedModel) -> nn.Module:
    """The part of a model up to its last norm; a call returns `last_hidden_state`, (batch, time, hidden)."""
    bare_model = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    return bare_model.base_model  # type: ignore[union-attr]


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers, first to last."""
    modules = _Modules(model, layout_of(model))
    return [modules.get(i) for i in range(num_layers(model))]


class _Modules:
    """The modules of a model's decoder layers by name, without PEFT's prefix."""

    def __init__(self, model: PreTrainedModel, layout: Layout) -> None:
        self._prefix = layout.layers
        self._model_type = model.config.model_type
        self._modules: dict[str, list[nn.Module]] = {}
        for name, module in model.named_modules():
            start = 0 if name.startswith(self._prefix + ".") else name.find("." + self._prefix + ".") + 1
            if start or name.startswith(self._prefix + "."):
                self._modules.setdefault(name[start:], []).append(module)

    def name(self, layer: int, below: str = "") -> str:
        """The full name of a layer, or of a module below it."""
        return f"{self._prefix}.{layer}" + (f".{below}" if below else "")

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
    return Site(site_key(layer, site), module, place.side, width, part, owned, norm, place.norm_time)


def _expert_sites(modules: _Modules, below: str, layer: int) -> list[Site]:
    """One site for every routed expert of a layer."""
    stack = modules.get(layer, below)
    block = modules.get(layer, below.rpartition(".")[0])
    count, width = experts.count_and_width(stack, modules.name(layer, below))
    return [Site(site_key(layer, expert_site(e)), stack, "input", width, expert=e, block=block) for e in range(count)]


def _width(module: Any, place: Place) -> int:
    """The number of coordinates of one side of a linear module. For a `Conv1D`, which has no `out_features`, the weight's shape is used."""
    if is_transposed(module):
        rows, columns = (int(n) for n in reversed(getattr(module, "base_layer", module).weight.shape))
        return rows if place.side == "output" else columns
    return int(module.out_features if place.side == "output" else module.in_features)
