"""What identification needs on large models: `python benchmarks/cost_model.py [--quick]`.

Prints one JSON object. Measured here: how many forward passes the sketch costs (sketch_speed's ratio, on a random Llama), and
the bytes that one token keeps in one decoder layer of the model's true widths. Computed from them: time as
`2 · parameters · tokens` operations a forward pass at an assumed speed, and memory as weights + layers × tokens × bytes. Exact ablation
is counted as one half forward pass a neuron and prompt, the half being the layers below it that need no second pass.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import torch
from sketch_speed import BATCH, PROBES, best, forward, random_ids
from subjects import machine, plain_llama

from ssn_eval.core.neurons import ATTENTION, SITES
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.importance import measure
from ssn_eval.identification.memory import activations
from ssn_eval.identification.readout import Readout
from ssn_eval.models.architectures.resolving import geometry, resolve

SPEED = 125e12
"""assumed operations a second: 40 % of the 312 · 10¹² that an A100 gives in bfloat16"""
PROMPTS, TOKENS, LANGUAGES = 64, 64, 10
"""prompts of each label, tokens a prompt with its chat template, languages"""
MODELS: dict[str, dict[str, int]] = {
    "8B": {"hidden": 4096, "mlp": 14336, "layers": 32, "heads": 32, "kv": 8, "vocab": 128256},
    "70B": {"hidden": 8192, "mlp": 28672, "layers": 80, "heads": 64, "kv": 8, "vocab": 128256},
}
"""Llama 3.1's widths"""


def main() -> None:
    """Measure, compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="The 8B model only: under a minute.")
    chosen = parser.parse_args()
    model, ids = plain_llama(), random_ids(16, 32)
    plain = best(lambda: forward(model, ids, logits=True))
    ratio = best(lambda: measure(model, ids, ScoreParams(sites="both", probes=PROBES, batch_size=BATCH))) / plain
    names = ["8B"] if chosen.quick else list(MODELS)
    result = {
        "assumed": {
            "operations_per_second": SPEED,
            "prompts": PROMPTS,
            "labels": 2,
            "languages": LANGUAGES,
            "tokens": TOKENS,
        },
        "sketch_forward_passes": round(ratio, 2),
        "models": {name: needs(MODELS[name], ratio) for name in names},
        "machine": machine(),
    }
    print(json.dumps(result))


def needs(shape: dict[str, int], ratio: float) -> dict[str, Any]:
    """GPU-hours and memory of one model."""
    layer = one_layer(shape)
    each = sum(p.numel() for p in layer.model.layers.parameters())
    parameters = each * shape["layers"] + 2 * shape["vocab"] * shape["hidden"]
    kept = activations(layer, resolve(layer), Readout())
    forward_hours = 2 * parameters * PROMPTS * 2 * LANGUAGES * TOKENS / SPEED / 3600
    wide = geometry(layer)
    neurons = {"attention": wide.size(ATTENTION) * shape["layers"], "both": wide.size(SITES) * shape["layers"]}
    batch_bytes = kept.linear * TOKENS * BATCH * shape["layers"]
    return {
        "parameters": parameters,
        "neurons": neurons,
        "gpu_hours": {
            "sketch": round(forward_hours * ratio, 4),
            "exact": {name: round(forward_hours * n / 2) for name, n in neurons.items()},
        },
        "gib": {
            "weights_bf16": round(2 * parameters / 2**30, 1),
            "activations_batch_8": round(batch_bytes / 2**30, 2),
            "activations_checkpointed": round(
                (batch_bytes / shape["layers"] + kept.hidden * TOKENS * BATCH * shape["layers"]) / 2**30, 2
            ),
        },
    }


def one_layer(shape: dict[str, int]) -> Any:
    """One decoder layer of the true widths, bfloat16, with a small vocabulary."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=shape["hidden"],
        intermediate_size=shape["mlp"],
        num_hidden_layers=1,
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv"],
        dtype=torch.bfloat16,
    )
    model: Any = LlamaForCausalLM(config)
    return model.to(torch.bfloat16).eval()


if __name__ == "__main__":
    main()
