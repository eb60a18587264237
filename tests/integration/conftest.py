"""Tiny models built from a config, one per architecture."""

from __future__ import annotations

import pytest
import torch

COMMON = {
    "vocab_size": 120,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
CONFIGS = {
    "llama": "LlamaConfig",
    "mistral": "MistralConfig",
    "qwen2": "Qwen2Config",
    "qwen3": "Qwen3Config",
    "gemma2": "Gemma2Config",
    "gemma3_text": "Gemma3TextConfig",
}


def tiny(kind: str, seed: int = 0):  # noqa: ANN201
    """A random model of one architecture; biases are random too, so that forgetting one shows."""
    import transformers

    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, CONFIGS[kind])(**COMMON)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model


@pytest.fixture(params=sorted(CONFIGS))
def any_model(request: pytest.FixtureRequest):  # noqa: ANN201
    """Each architecture in turn."""
    return tiny(request.param)


@pytest.fixture
def llama():  # noqa: ANN201
    """A tiny Llama."""
    return tiny("llama")
