"""The table of architectures: under which module names a family of models keeps its sites. No torch, no model.

To add an architecture, add its `config.model_type` to `LAYOUTS`: the path of the decoder's layers, and per site the
module below a layer, the side of it that carries the neurons, and, where that module is fused, which of its coordinates
are the site's. Then add a tiny config to `tests/integration/conftest.py`, with the rows and columns that each site owns:
the tests prove that zeroing a neuron at the hook equals zeroing them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Side = Literal["input", "output"]
Part = Callable[[Any], Sequence[int]]
"""From a model's text config: the coordinates of a fused module that belong to one site, neuron 0 first."""


class Place(NamedTuple):
    """One side of one module, or a part of it."""

    module: str
    """path below a decoder layer"""
    side: Side
    """`output`: a neuron is a row of the module's weight; `input`: a column"""
    part: Part | None = None
    """`None`: every coordinate of that side"""
    norm: str | None = None
    """path below a decoder layer of an RMS norm that the site's activation goes through next, where the model has it"""
    norm_time: int = 1
    """which axis of that norm's input is time"""


class Layout(NamedTuple):
    """Where one family of models keeps its decoder layers and sites."""

    layers: str
    """path of the list of decoder layers inside the model"""
    sites: Mapping[str, Place]
    mlp_rows: tuple[Place, ...]
    """whose row `i` belongs to MLP neuron `i`, beside the column of the site's own module"""
    experts: str | None = None
    """path below a layer of the routed experts; a layer that has it has one MLP site an expert in place of `mlp`"""


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _grouped(part: Literal["q", "k", "v"]) -> Part:
    """Phi-3's `qkv_proj`: all query heads, then all key heads, then all value heads; fewer of the latter two."""

    def positions(config: Any) -> range:
        queries = config.num_attention_heads * _head_dim(config)
        keys = config.num_key_value_heads * _head_dim(config)
        start, width = {"q": (0, queries), "k": (queries, keys), "v": (queries + keys, keys)}[part]
        return range(start, start + width)

    return positions


def _third(i: int) -> Part:
    """GPT-2's `c_attn`: queries, keys and values in three equal blocks."""
    return lambda config: range(i * config.hidden_size, (i + 1) * config.hidden_size)


def _per_head(i: int) -> Part:
    """GPT-NeoX's `query_key_value`: each head has its query, key and value rows together; neurons count head by head."""

    def positions(config: Any) -> list[int]:
        width = _head_dim(config)
        return [(3 * head + i) * width + j for head in range(config.num_attention_heads) for j in range(width)]

    return positions


def _half(i: int) -> Part:
    """Phi-3's `gate_up_proj`: all gate rows, then all up rows."""
    return lambda config: range(i * config.intermediate_size, (i + 1) * config.intermediate_size)


_GATED = {
    "q_proj": Place("self_attn.q_proj", "output", norm="self_attn.q_norm"),
    "k_proj": Place("self_attn.k_proj", "output", norm="self_attn.k_norm"),
    "v_proj": Place("self_attn.v_proj", "output"),
    "o_proj": Place("self_attn.o_proj", "input"),
    "mlp": Place("mlp.down_proj", "input"),
}
_GATED_ROWS = (Place("mlp.gate_proj", "output"), Place("mlp.up_proj", "output"))
_PLAIN = Layout("model.layers", _GATED, _GATED_ROWS)
_ROUTED = _PLAIN._replace(experts="mlp.experts")
_GEMMA3 = _PLAIN._replace(
    sites={  # heads come before time when its norms are applied
        site: place._replace(norm_time=2) if place.norm else place for site, place in _GATED.items()
    }
)
_NESTED = _GEMMA3._replace(layers="model.language_model.layers")
_PHI3 = Layout(
    "model.layers",
    _GATED
    | {
        "q_proj": Place("self_attn.qkv_proj", "output", _grouped("q")),
        "k_proj": Place("self_attn.qkv_proj", "output", _grouped("k")),
        "v_proj": Place("self_attn.qkv_proj", "output", _grouped("v")),
    },
    (Place("mlp.gate_up_proj", "output", _half(0)), Place("mlp.gate_up_proj", "output", _half(1))),
)
_GPT_NEOX = Layout(
    "gpt_neox.layers",
    {
        "q_proj": Place("attention.query_key_value", "output", _per_head(0)),
        "k_proj": Place("attention.query_key_value", "output", _per_head(1)),
        "v_proj": Place("attention.query_key_value", "output", _per_head(2)),
        "o_proj": Place("attention.dense", "input"),
        "mlp": Place("mlp.dense_4h_to_h", "input"),
    },
    (Place("mlp.dense_h_to_4h", "output"),),
)
_GPT2 = Layout(
    "transformer.h",
    {
        "q_proj": Place("attn.c_attn", "output", _third(0)),
        "k_proj": Place("attn.c_attn", "output", _third(1)),
        "v_proj": Place("attn.c_attn", "output", _third(2)),
        "o_proj": Place("attn.c_proj", "input"),
        "mlp": Place("mlp.c_proj", "input"),
    },
    (Place("mlp.c_fc", "output"),),
)

LAYOUTS: Mapping[str, Layout] = {
    "llama": _PLAIN,
    "mistral": _PLAIN,
    "qwen2": _PLAIN,
    "qwen3": _PLAIN,
    "gemma2": _PLAIN,
    "gemma3_text": _GEMMA3,
    "gemma3": _NESTED,
    "olmo2": _PLAIN,
    "phi3": _PHI3,
    "gpt_neox": _GPT_NEOX,
    "gpt2": _GPT2,
    "mixtral": _ROUTED,
    "qwen3_moe": _ROUTED,
}
"""`config.model_type` → its layout. Every row has its tests."""
