"""The only file that knows Hugging Face module names: where a model's sites are, how wide, and on which side.

To add an architecture, add its `model_type` to `_LAYOUTS`: the path of the decoder's layers, and per site the module
below a layer and the side of it that carries the neurons. A test on a tiny model of that type then proves that zeroing
a neuron at the hook equals zeroing its weight row or column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ssn_eval.errors import ArchitectureError
from ssn_eval.neurons import SITES, Geometry, site_key

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

Side = Literal["input", "output"]


class SiteSpec(NamedTuple):
    """One site kind of an architecture."""

    module: str
    """path below a decoder layer"""
    side: Side
    """`output`: a neuron is a row of the module's weight; `input`: a column"""


class Layout(NamedTuple):
    """Where one family of models keeps its decoder layers and sites."""

    layers: str
    sites: Mapping[str, SiteSpec]
    mlp_rows: tuple[str, ...]
    """modules whose row `i` belongs to MLP neuron `i`, beside the column of the site's own module"""


_GATED = {
    "q_proj": SiteSpec("self_attn.q_proj", "output"),
    "k_proj": SiteSpec("self_attn.k_proj", "output"),
    "v_proj": SiteSpec("self_attn.v_proj", "output"),
    "o_proj": SiteSpec("self_attn.o_proj", "input"),
    "mlp": SiteSpec("mlp.down_proj", "input"),
}
_GATED_ROWS = ("mlp.gate_proj", "mlp.up_proj")
_PLAIN = Layout("model.layers", _GATED, _GATED_ROWS)
_NESTED = Layout("model.language_model.layers", _GATED, _GATED_ROWS)

_LAYOUTS: Mapping[str, Layout] = {
    "llama": _PLAIN,
    "mistral": _PLAIN,
    "qwen2": _PLAIN,
    "qwen3": _PLAIN,
    "gemma2": _PLAIN,
    "gemma3_text": _PLAIN,
    "gemma3": _NESTED,
}


@dataclass(frozen=True)
class Site:
    """One site of a loaded model."""

    key: str
    """`layers.<i>.<site>`"""
    name: str
    """full module name inside the model without PEFT's prefix"""
    module: nn.Module
    side: Side
    width: int


def layout_of(model: PreTrainedModel) -> Layout:
    """The layout of a model, by its `config.model_type`.

    Raises:
        ArchitectureError: the type is not in the table.
    """
    kind = str(getattr(model.config, "model_type", "unknown"))
    if kind not in _LAYOUTS:
        raise ArchitectureError(
            f"The architecture {kind!r} is not known; known are {', '.join(sorted(_LAYOUTS))}. "
            f"Add a row for it to _LAYOUTS in ssn_eval/architectures.py: the path of its layers and the module of each site."
        )
    return _LAYOUTS[kind]


def resolve(model: PreTrainedModel, sites: Sequence[str] = SITES) -> dict[str, Site]:
    """Find every site of a model, in layer order; works on plain and on PEFT-wrapped models.

    On a PEFT model the wrapper module is taken, so that base weights and adapter both see an intervention: resolve
    after the adapter is loaded.

    Raises:
        ArchitectureError: the type is unknown, or a module is missing or there twice.
    """
    layout = layout_of(model)
    modules = dict(model.named_modules())
    by_suffix = _suffix_index(modules, layout.layers)
    count = num_layers(model)
    found: dict[str, Site] = {}
    for layer in range(count):
        for site in (s for s in SITES if s in sites and s in layout.sites):
            spec = layout.sites[site]
            name = f"{layout.layers}.{layer}.{spec.module}"
            hits = by_suffix.get(name, [])
            if len(hits) != 1:
                raise ArchitectureError(
                    f"Expected one module {name!r} in this {model.config.model_type} model, found {len(hits)}."
                )
            module = modules[hits[0]]
            width = int(module.out_features if spec.side == "output" else module.in_features)  # type: ignore[arg-type]
            key = site_key(layer, site)
            found[key] = Site(key, name, module, spec.side, width)
    return found


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
    prefix = layout_of(model).layers
    by_suffix = _suffix_index(dict(model.named_modules()), prefix)
    modules = dict(model.named_modules())
    return [modules[by_suffix[f"{prefix}.{i}"][0]] for i in range(num_layers(model))]


def row_and_column_modules(model: PreTrainedModel, site: str, layer: int) -> tuple[list[str], list[str]]:
    """Names of the weights that a site's neurons own: those in which they are rows, and those in which they are columns."""
    layout = layout_of(model)
    spec = layout.sites[site]
    prefix = f"{layout.layers}.{layer}."
    rows = [spec.module] if spec.side == "output" else list(layout.mlp_rows) if site == "mlp" else []
    columns = [spec.module] if spec.side == "input" else []
    return [prefix + m for m in rows], [prefix + m for m in columns]


def _suffix_index(modules: Mapping[str, nn.Module], prefix: str) -> dict[str, list[str]]:
    """Index full module names by what they are from `prefix` on (`base_model.model.model.layers.0` → `model.layers.0`)."""
    index: dict[str, list[str]] = {}
    for name in modules:
        start = 0 if name.startswith(prefix + ".") else name.find("." + prefix + ".") + 1
        if start or name.startswith(prefix + "."):
            index.setdefault(name[start:], []).append(name)
    return index
