"""GPU-hours and memory of identification on large models: `python benchmarks/cost_model.py [--quick]`.

Prints one JSON object. Two numbers are measured: how many forward passes the sketch costs (sketch_speed's ratio, on a random
Llama), and how many bytes of activations one token needs in one decoder layer of the model's true widths. The rest is computed:
a forward pass takes `2 · parameters · tokens` operations at an assumed speed, and memory is weights + layers × tokens × bytes. Exact
ablation counts as half a forward pass per neuron and prompt, because the layers below the neuron need no second pass.
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
"""assumed operations per second: 40 % of the 312 · 10¹² that an A100 gives in bfloat16"""
PROMPTS, TOKENS, LANGUAGES = 64, 64, 10
"""prompts per label and language, tokens per prompt with its chat template, and languages"""
MODELS: dict[str, dict[str, int]] = {
    "8B": {"hidden": 4096, "mlp": 14336, "layers": 32, "heads": 32, "kv": 8, "vocab": 128256},
    "70B": {"hidden": 8192, "mlp": 28672, "layers": 80, "heads": 64, "kv": 8, "vocab": 128256},
}
"""Llama 3.1's widths"""


def main() -> None:
    """Measure, compute and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Only the 8B model; takes less than a minute.")
    options = parser.parse_args()
    model, ids = plain_llama(), random_ids(16, 32)
    plain = best(lambda: forward(model, ids, logits=True))
    ratio = best(lambda: measure(model, ids, ScoreParams(sites="both", probes=PROBES, batch_size=BATCH))) / plain
    names = ["8B"] if options.quick else list(MODELS)
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
    """The GPU-hours and the memory of one model."""
    layer = one_layer(shape)
    layer_parameters = sum(p.numel() for p in layer.model.layers.parameters())
    parameters = layer_parameters * shape["layers"] + 2 * shape["vocab"] * shape["hidden"]
    layer_activations = activations(layer, resolve(layer), Readout())
    forward_hours = 2 * parameters * PROMPTS * 2 * LANGUAGES * TOKENS / SPEED / 3600
    layer_shape = geometry(layer)
    neurons = {
        "attention": layer_shape.size(ATTENTION) * shape["layers"],
        "both": layer_shape.size(SITES) * shape["layers"],
    }
    batch_bytes = layer_activations.linear * TOKENS * BATCH * shape["layers"]
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
                (batch_bytes / shape["layers"] + layer_activations.hidden * TOKENS * BATCH * shape["layers"]) / 2**30, 2
            ),
        },
    }


def one_layer(shape: dict[str, int]) -> Any:
    """A model with one decoder layer of the true widths, in bfloat16, with a small vocabulary."""
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
