"""The cost of finding the sites of an unknown architecture by experiment.

`python benchmarks/resolve_cost.py [--quick] [--check]` prints one JSON object with two measurements.

1. One decoder layer of true 8B widths (Llama 3: hidden 4,096, 32 heads, 8 key heads, MLP 14,336), random weights, bfloat16 unless
   `--dtype` says otherwise: CPU seconds of the experiments, and of one pass of 512 tokens through the same model.
2. `ssn identify` on a small model on disk, once as a type of the table and once as an unknown type of the same size and weights
   (a Llama and a SmolLM3 of equal widths): seconds from the start of the process until the model
   is loaded and its sites are known, median over turns in alternating order, without the cache of sites.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from subjects import machine

BAR = 1.10
WIDE: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 512,
    "max_position_embeddings": 1024,
}
SMALL: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 4096,
    "max_position_embeddings": 1024,
}
"""the widths of SmolLM2 135M, with fewer words"""
PASS = 512
START = """
import sys
from ssn_eval.models.loading import ModelSpec, load
from ssn_eval.models.architectures.resolving import found_of, resolve
loaded = load(ModelSpec(sys.argv[1]), device="cpu")
resolve(loaded.model)
print(found_of(loaded.model).origin)
"""


def main() -> None:
    """Measure and print; with `--check`, exit with 1 if an unknown type starts later than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "wide_layer": wide_layer(getattr(torch, options.dtype)),
        "start": start(1 if options.quick else options.repeats),
        "machine": machine(),
    }
    json.dump(result, sys.stdout, indent=1)
    if options.check and result["start"]["ratio"] > BAR:
        sys.exit(1)


def wide_layer(dtype: torch.dtype) -> dict[str, Any]:
    """The experiments on one layer of 8B widths against one pass of 512 tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from ssn_eval.models.architectures.discovery import finding

    seconds: dict[str, float] = {}
    layers: dict[int, float] = {}
    for count in (1, 1, 2):  # the first turn only warms up
        model: Any = LlamaForCausalLM(LlamaConfig(**WIDE, num_hidden_layers=count))
        model.to(dtype).eval()
        begin = time.process_time()
        found = finding.discover(model)
        layers[count] = time.process_time() - begin
        if count == 1:
            begin = time.process_time()
            with torch.no_grad():
                model.model(torch.randint(3, 500, (1, PASS)), use_cache=False)
            seconds["pass"] = time.process_time() - begin
        assert all(set(layer.layout.sites) == {"q_proj", "k_proj", "v_proj", "o_proj", "mlp"} for layer in found.layers)
        del model
    further = layers[2] - layers[1]
    return {
        "dtype": str(dtype),
        "experiments_s": round(layers[1], 2),
        "further_layer_s": round(further, 2),
        f"pass_of_{PASS}_tokens_s": round(seconds["pass"], 2),
        "tokens_first_layer": round(layers[1] / seconds["pass"] * PASS),
        "tokens_further_layer": round(further / seconds["pass"] * PASS),
    }


def start(repeats: int) -> dict[str, Any]:
    """Seconds until a small model is loaded and its sites are known, by table and by experiment."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        kinds = {"table": _save(root / "known", known=True), "experiment": _save(root / "unknown", known=False)}
        times: dict[str, list[float]] = {origin: [] for origin in kinds}
        for turn in range(repeats + 1):  # the first turn fills the disk cache
            for origin in sorted(kinds, reverse=bool(turn % 2)):
                taken = _timed(kinds[origin], root / f"cache{turn}", origin)
                if turn:
                    times[origin].append(taken)
    medians = {origin: statistics.median(values) for origin, values in times.items()}
    return {
        "seconds": {origin: round(value, 3) for origin, value in medians.items()},
        "ratio": round(medians["experiment"] / medians["table"], 4),
        "bar": BAR,
        "repeats": repeats,
    }


def _save(folder: Path, *, known: bool) -> Path:
    """A Llama, or a SmolLM3 of the same widths and number of weights, with a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM, SmolLM3Config, SmolLM3ForCausalLM

    from ssn_eval.organism import lexicon, tokenizer

    torch.manual_seed(0)
    model: Any = (
        LlamaForCausalLM(LlamaConfig(**SMALL)) if known else SmolLM3ForCausalLM(SmolLM3Config(**SMALL, pad_token_id=0))
    )
    model.save_pretrained(folder)
    tokenizer.build(lexicon.load()).save_pretrained(folder)
    return folder


def _timed(folder: Path, cache: Path, origin: str) -> float:
    environment = os.environ | {"SSN_CACHE_DIR": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    command = [sys.executable, "-c", START, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    taken = time.perf_counter() - begin
    assert done.stdout.split()[-1] == origin, done.stdout
    return taken


if __name__ == "__main__":
    main()
