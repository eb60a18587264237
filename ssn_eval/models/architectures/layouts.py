"""The table of architectures: the module names of the sites of each family of models. No torch, no model.

To add an architecture, add its `config.model_type` to `LAYOUTS`, with the path of the decoder layers. For each site, give the
module below a layer, the side whose coordinates are the neurons, and, if the module is fused, the coordinates of the site.
Then add a tiny config to `tests/integration/conftest.py`, with the rows and columns that each site owns. The tests prove that
zeroing a neuron at the hook equals zeroing its rows and columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Side = Literal["input", "output"]
Part = Callable[[Any], Sequence[int]]
"""A function of a model's text config: the coordinates of a fused module that belong to one site, neuron 0 first."""


class Place(NamedTuple):
    """One side of one module, or a part of it."""

    module: str
    """path below a decoder layer"""
    side: Side
    """`output`: a neuron is a row of the module's weight; `input`: a column"""
    part: Part | None = None
    """the coordinates that belong to the site; `None`: all coordinates of the side"""
    norm: str | None = None
    """path below a decoder layer of the RMS norm that takes the site's activation as its input, if the model has one"""
    norm_time: int = 1
    """the axis of that norm's input that is time"""
    is_flat: bool = False
    """whether batch and time come to the module in another form than (batch, time, width), such as one axis of tokens"""


class Layout(NamedTuple):
    """The decoder layers and sites of one family of models."""

    layers: str
    """path of the list of decoder layers in the model"""
    sites: Mapping[str, Place]
    mlp_rows: tuple[Place, ...]
    """modules whose row `i` belongs to MLP neuron `i`; column `i` of the site's own module belongs to it too"""
    experts: str | None = None
    """path below a decoder layer of its routed experts; a layer with experts has one MLP site for each expert and no `mlp`"""
    beside: bool = False
    """whether a layer with experts also has the `mlp` of `sites`, as a shared expert or a dense branch"""


def _head_dim(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _block_of_grouped_heads(part: Literal["q", "k", "v"]) -> Part:
    """Phi-3's `qkv_proj`: all query heads, then all key heads, then all value heads. Key and value heads may be fewer."""

    def positions(config: Any) -> range:
        queries = config.num_attention_heads * _head_dim(config)
        keys = config.num_key_value_heads * _head_dim(config)
        start, width = {"q": (0, queries), "k": (queries, keys), "v": (queries + keys, keys)}[part]
        return range(start, start + width)

    return positions


def _third_of_rows(i: int) -> Part:
    """GPT-2's `c_attn`: queries, keys and values in three equal blocks."""
    return lambda config: range(i * config.hidden_size, (i + 1) * config.hidden_size)


def _rows_of_heads(i: int) -> Part:
    """GPT-NeoX's `query_key_value`: the query, key and value rows of each head are together; neurons are numbered head by head."""

    def positions(config: Any) -> list[int]:
        width = _head_dim(config)
        return [(3 * head + i) * width + j for head in range(config.num_attention_heads) for j in range(width)]

    return positions


def _half_of_rows(i: int) -> Part:
    """Phi-3's `gate_up_proj`: all gate rows, then all up rows."""
    return lambda config: range(i * config.intermediate_size, (i + 1) * config.intermediate_size)


_LLAMA_SITES = {
    "q_proj": Place("self_attn.q_proj", "output", norm="self_attn.q_norm"),
    "k_proj": Place("self_attn.k_proj", "output", norm="self_attn.k_norm"),
    "v_proj": Place("self_attn.v_proj", "output"),
    "o_proj": Place("self_attn.o_proj", "input"),
    "mlp": Place("mlp.down_proj", "input"),
}
_LLAMA_MLP_ROWS = (Place("mlp.gate_proj", "output"), Place("mlp.up_proj", "output"))
_LLAMA = Layout("model.layers", _LLAMA_SITES, _LLAMA_MLP_ROWS)
_MIXTURE_OF_EXPERTS = _LLAMA._replace(experts="mlp.experts")
_GEMMA3 = _LLAMA._replace(
    sites={  # the input of its norms is (batch, heads, time, head_dim)
        site: place._replace(norm_time=2) if place.norm else place for site, place in _LLAMA_SITES.items()
    }
)
_GEMMA3_WITH_IMAGES = _GEMMA3._replace(layers="model.language_model.layers")
_PHI3 = Layout(
    "model.layers",
    _LLAMA_SITES
    | {
        "q_proj": Place("self_attn.qkv_proj", "output", _block_of_grouped_heads("q")),
        "k_proj": Place("self_attn.qkv_proj", "output", _block_of_grouped_heads("k")),
        "v_proj": Place("self_attn.qkv_proj", "output", _block_of_grouped_heads("v")),
    },
    (Place("mlp.gate_up_proj", "output", _half_of_rows(0)), Place("mlp.gate_up_proj", "output", _half_of_rows(1))),
)
_GPT_NEOX = Layout(
    "gpt_neox.layers",
    {
        "q_proj": Place("attention.query_key_value", "output", _rows_of_heads(0)),
        "k_proj": Place("attention.query_key_value", "output", _rows_of_heads(1)),
        "v_proj": Place("attention.query_key_value", "output", _rows_of_heads(2)),
        "o_proj": Place("attention.dense", "input"),
        "mlp": Place("mlp.dense_4h_to_h", "input"),
    },
    (Place("mlp.dense_h_to_4h", "output"),),
)
_GPT2 = Layout(
    "transformer.h",
    {
        "q_proj": Place("attn.c_attn", "output", _third_of_rows(0)),
        "k_proj": Place("attn.c_attn", "output", _third_of_rows(1)),
        "v_proj": Place("attn.c_attn", "output", _third_of_rows(2)),
        "o_proj": Place("attn.c_proj", "input"),
        "mlp": Place("mlp.c_proj", "input"),
    },
    (Place("mlp.c_fc", "output"),),
)

LAYOUTS: Mapping[str, Layout] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _LLAMA,
    "gemma3_text": _GEMMA3,
    "gemma3": _GEMMA3_WITH_IMAGES,
    "olmo2": _LLAMA,
    "phi3": _PHI3,
    "gpt_neox": _GPT_NEOX,
    "gpt2": _GPT2,
    "mixtral": _MIXTURE_OF_EXPERTS,
    "qwen3_moe": _MIXTURE_OF_EXPERTS,
}
"""`config.model_type` → layout; the tests cover every row"""
