"""Tiny models built from a config, one per architecture, and by hand which weights a neuron of each owns."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils import collect_env

# lm_eval asks pip and the system of it after every run
collect_env.get_pretty_env_info = cache(collect_env.get_pretty_env_info)

COMMON = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.05,
}
SLIDING = {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 4}
"""shorter than most prompts of the tests"""
CONFIGS = {
    "llama": ("LlamaConfig", {}),
    "mistral": ("MistralConfig", {"sliding_window": 4}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "gemma2": ("Gemma2Config", {**SLIDING, "attn_logit_softcapping": 0.05, "final_logit_softcapping": 0.5}),
    "gemma3_text": ("Gemma3TextConfig", SLIDING),
    "gemma3": ("Gemma3Config", {}),
    "olmo2": ("Olmo2Config", {"attention_bias": True}),
    "phi3": ("Phi3Config", {"sliding_window": 4}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "gpt2": ("GPT2Config", {"n_inner": 48}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 44, "mlp_only_layers": [0]},
    ),
}


def tiny_config(kind: str, **changes):
    """The config of one tiny architecture."""
    import transformers

    name, own = CONFIGS[kind]
    if kind == "gemma3":
        vision = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        vision |= {"image_size": 28, "patch_size": 14}
        return transformers.Gemma3Config(
            text_config=tiny_config("gemma3_text", **changes).to_dict(), vision_config=vision
        )
    return getattr(transformers, name)(**COMMON | own | changes)


def tiny(kind: str, seed: int = 0):
    """A random model of one architecture; biases are random too, so that forgetting one shows."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(tiny_config(kind)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model


@pytest.fixture
def own_tasks_only(monkeypatch):
    """lm_eval's own 14,000 tasks take seconds to read and are not what is tested."""
    from lm_eval.tasks import manager

    build = manager.TaskIndex.build

    def ours(self, paths, **more):
        return build([p for p in paths if "lm_eval/tasks" not in Path(p).as_posix()], **more)

    monkeypatch.setattr(manager.TaskIndex, "build", ours)


@pytest.fixture(params=sorted(CONFIGS))
def any_model(request: pytest.FixtureRequest):
    """Each architecture in turn."""
    return tiny(request.param)


@pytest.fixture
def llama():
    """A tiny Llama."""
    return tiny("llama")


def owned_by_hand(model, layer: int, site: str, index: int) -> dict[str, tuple]:
    """Parameter name → which entries of it a neuron owns, biases included; the first weight is the site's own.

    Written out per architecture from the forward functions of transformers, and not from our table.
    """
    kind = model.config.model_type
    i, every = index, slice(None)
    if kind == "gpt2":  # (in, out): queries, keys and values side by side
        at = f"transformer.h.{layer}."
        start = {"q_proj": 0, "k_proj": 32, "v_proj": 64}
        if site in start:
            return {at + "attn.c_attn.weight": (every, start[site] + i), at + "attn.c_attn.bias": (start[site] + i,)}
        if site == "o_proj":
            return {at + "attn.c_proj.weight": (i, every)}
        return {
            at + "mlp.c_proj.weight": (i, every),
            at + "mlp.c_fc.weight": (every, i),
            at + "mlp.c_fc.bias": (i,),
        }
    if kind == "gpt_neox":  # head by head: 8 query rows, 8 key rows, 8 value rows
        at = f"gpt_neox.layers.{layer}."
        start = {"q_proj": 0, "k_proj": 8, "v_proj": 16}
        if site in start:
            row = (i // 8) * 24 + start[site] + i % 8
            return {at + "attention.query_key_value.weight": (row,), at + "attention.query_key_value.bias": (row,)}
        if site == "o_proj":
            return {at + "attention.dense.weight": (every, i)}
        return {
            at + "mlp.dense_4h_to_h.weight": (every, i),
            at + "mlp.dense_h_to_4h.weight": (i,),
            at + "mlp.dense_h_to_4h.bias": (i,),
        }
    at = f"model.language_model.layers.{layer}." if kind == "gemma3" else f"model.layers.{layer}."
    if site == "o_proj":
        return {at + "self_attn.o_proj.weight": (every, i)}
    if site.startswith("mlp."):  # gate rows, then up rows, of one expert
        e, width = int(site[4:]), 44 if kind == "qwen3_moe" else 48
        return {
            at + "mlp.experts.down_proj": (e, every, i),
            at + "mlp.experts.gate_up_proj": (e, torch.tensor([i, width + i])),
        }
    if kind == "phi3":  # 32 query rows, 16 key rows, 16 value rows; 48 gate rows, 48 up rows
        start = {"q_proj": 0, "k_proj": 32, "v_proj": 48}
        if site in start:
            return {at + "self_attn.qkv_proj.weight": (start[site] + i,)}
        return {at + "mlp.down_proj.weight": (every, i), at + "mlp.gate_up_proj.weight": (torch.tensor([i, 48 + i]),)}
    if site == "mlp":
        return {
            at + "mlp.down_proj.weight": (every, i),
            at + "mlp.gate_proj.weight": (i,),
            at + "mlp.up_proj.weight": (i,),
        }
    module = at + f"self_attn.{site}"
    names = dict(model.named_parameters())
    return {name: (i,) for name in (module + ".weight", module + ".bias") if name in names}


def existing(model, neurons):
    """`(layer, site, index)` triples as the model has them: in a layer of experts, `mlp` is its expert 1."""
    from ssn_eval.core.neurons import NeuronSet, site_key
    from ssn_eval.models.architectures.resolving import geometry

    widths = geometry(model).widths
    return NeuronSet.of(
        (layer, site if site_key(layer, site) in widths else f"{site}.1", index) for layer, site, index in neurons
    )
