"""A tiny model in a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def llama(folder: Path, seed: int = 0, *, hidden: int = 32, positions: int = 128) -> LlamaForCausalLM:
    """A random Llama of the organism's vocabulary, saved with its tokenizer."""
    from ssn_eval.organism import lexicon, tokenizer

    words = tokenizer.build(lexicon.load())
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=3 * hidden // 2,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        **{name: getattr(words, name) for name in ("eos_token_id", "pad_token_id")},
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return model
