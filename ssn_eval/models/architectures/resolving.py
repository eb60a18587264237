"""The only package that knows Hugging Face module names: where a model's sites are, how wide, which weights are theirs.

The names are in `layouts.py`, one row an architecture; `sites.py` is one site of a loaded model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.core.neurons import SITES, Geometry, expert_site, is_among, parse_key, site_key
from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.hooking import Change, Handle
from ssn_eval.models.architectures.layouts import LAYOUTS, Layout, Part, Place
from ssn_eval.models.architectures.sites import Owned, Site, is_transposed

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

__all__ = [
    "Change",
    "Handle",
    "Owned",
    "Site",
    "decoder",
    "decoder_layers",
    "geometry",
    "is_transposed",
    "layout_of",
    "num_layers",
    "resolve",
]


def layout_of(model: PreTrainedModel) -> Layout:
    """The layout of a model, by its `config.model_type`.

    Raises:
        ArchitectureError: the type is not in the table.
    """
    kind = str(getattr(model.config, "model_type", "unknown"))
    if kind not in LAYOUTS:
        raise ArchitectureError(
            f"The architecture {kind!r} is not known; known are {', '.join(sorted(LAYOUTS))}. Add a row for it to LAYOUTS in "
            f"ssn_eval/models/architectures/layouts.py: the path of its decoder layers, and the module and side of each of "
            f"{', '.join(SITES)}."
        )
    return LAYOUTS[kind]


def resolve(model: PreTrainedModel, sites: Sequence[str] = SITES) -> dict[str, Site]:
    """Find every site of a model, in layer order; works on plain and on PEFT-wrapped models.

    On a PEFT model the wrapper module is taken, so that base weights and adapter both see an intervention: resolve
    after the adapter is loaded.

    Raises:
        ArchitectureError: the type is unknown, or a module is missing or there twice.
    """
    layout = layout_of(model)
    modules = _Modules(model, layout)
    positions = _positions(model)
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
    """The part of a model that ends with the last norm; calling it gives `last_hidden_state`, (batch, time, hidden)."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model  # type: ignore[operator]
    return plain.base_model  # type: ignore[union-attr]


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers, first to last."""
    modules = _Modules(model, layout_of(model))
    return [modules.get(i) for i in range(num_layers(model))]


class _Modules:
    """A model's modules by their name below a decoder layer; a prefix of PEFT does not matter."""

    def __init__(self, model: PreTrainedModel, layout: Layout) -> None:
        self._prefix = layout.layers
        self._kind = model.config.model_type
        self._modules: dict[str, list[nn.Module]] = {}
        for name, module in model.named_modules():
            start = 0 if name.startswith(self._prefix + ".") else name.find("." + self._prefix + ".") + 1
            if start or name.startswith(self._prefix + "."):
                self._modules.setdefault(name[start:], []).append(module)

    def name(self, layer: int, below: str = "") -> str:
        """Full name of a layer or of a module below it."""
        return f"{self._prefix}.{layer}" + (f".{below}" if below else "")

    def has(self, layer: int, below: str) -> bool:
        """Whether the layer has that module."""
        return self.name(layer, below) in self._modules

    def get(self, layer: int, below: str = "") -> nn.Module:
        """The module.

        Raises:
            ArchitectureError: it is missing or there twice.
        """
        name = self.name(layer, below)
        hits = self._modules.get(name, [])
        if len(hits) != 1:
            raise ArchitectureError(f"Expected one module {name!r} in this {self._kind} model, found {len(hits)}.")
        return hits[0]


def _positions(model: PreTrainedModel) -> Callable[[Part | None], torch.Tensor | None]:
    """Turn parts into index tensors; all layers share them."""
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
    """One site that is a side of a module, or a part of one."""
    place = layout.sites[site]
    module = modules.get(layer, place.module)
    places = (place, *layout.mlp_rows) if site == "mlp" else (place,)
    owned = tuple(Owned(modules.name(layer, p.module), p.side, positions(p.part)) for p in places)
    part = positions(place.part)
    whole = _width(module, place)
    if part is not None and int(part.max()) >= whole:
        raise ArchitectureError(
            f"{modules.name(layer, place.module)} has {whole} {place.side}s, too few for the {site} that the config speaks of."
        )
    norm = modules.get(layer, place.norm) if place.norm and modules.has(layer, place.norm) else None
    width = whole if part is None else len(part)
    return Site(site_key(layer, site), module, place.side, width, part, owned, norm, place.norm_time)


def _expert_sites(modules: _Modules, below: str, layer: int) -> list[Site]:
    """One site for every routed expert of a layer."""
    stack = modules.get(layer, below)
    block = modules.get(layer, below.rpartition(".")[0])
    number, width = experts.count_and_width(stack, modules.name(layer, below))
    return [Site(site_key(layer, expert_site(e)), stack, "input", width, expert=e, block=block) for e in range(number)]


def _width(module: Any, place: Place) -> int:
    """Number of coordinates of a side of a linear module; PEFT's wrappers know theirs, a `Conv1D` does not."""
    if is_transposed(module):
        rows, columns = (int(n) for n in reversed(getattr(module, "base_layer", module).weight.shape))
        return rows if place.side == "output" else columns
    return int(module.out_features if place.side == "output" else module.in_features)
