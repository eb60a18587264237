"""The cost of an intervention inside lm_eval: `ssn_hf` with suppressed neurons against stock `hf`, on the same requests.

`python benchmarks/harness_speed.py [--model smollm2] [--path FOLDER] [--repeats 5]` prints one JSON object. Both sides are lm_eval
models with the same weights. The suppressed model writes other replies, so `min_new_tokens` gives every reply the same length on
both sides. One neuron in 33 of every site is suppressed, so every site of every layer has a hook, which is the most expensive
case. The sides take turns, so that a busy machine slows both. The ratio is one of CPU seconds, the median over pairs. Without
`--path` and without a pipeline's organism, `organism` has random weights, which takes the same time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from subjects import ROOT, encoded_prompts, machine

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.params import load
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import loading

BAR = 1.05
PROMPTS, TOKENS, BATCH = 16, 32, 8
QUICK = (8, 16)
"""prompts and tokens of a quick run"""
SHARE = 33
"""one neuron in 33, which is 3 %"""


def main() -> None:
    """Measure and print; with `--check`, exit with 1 if the ratio is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("organism", "smollm2"), default="organism")
    parser.add_argument("--path", type=Path, help="the organism's folder")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat of 8 prompts and 16 tokens")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(options, Path(temporary))
    print(json.dumps({"model": options.model, **result, "machine": machine()}))
    if options.check and result["ratio"] > BAR:
        sys.exit(f"The ratio {result['ratio']} is above {BAR}.")


def measure(options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """The ratio of both sides, which are measured in turn."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    from ssn_eval.harness.model import SsnHFLM

    prompts, tokens = QUICK if options.quick else (PROMPTS, TOKENS)
    arguments = {**place(options, temporary), "device": "cpu", "batch_size": BATCH}
    spec = loading.ModelSpec(arguments["pretrained"], gguf_file=arguments.get("gguf_file"), dtype="float32")
    loaded = loading.load(spec, device="cpu")
    neurons = NeuronSet.from_keys({key: range(0, width, SHARE) for key, width in loaded.ref.geometry.widths.items()})
    store.save_neurons(temporary / "neurons.json", NeuronFile(neurons, loaded.ref))
    texts = [loaded.tokenizer.decode(ids) for ids in encoded_prompts(options.model, loaded, prompts)]
    del loaded
    settings = {"until": [], "max_gen_toks": tokens, "min_new_tokens": tokens, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, settings), i, ("speed", i, 1)) for i, text in enumerate(texts)]
    stock_class: Any = HFLM
    sides = {
        "hf": stock_class(**arguments),
        "ssn_hf": SsnHFLM(**arguments, neurons=str(temporary / "neurons.json"), op="suppress"),
    }
    replies = {name: lm.generate_until(requests, disable_tqdm=True) for name, lm in sides.items()}  # a warm-up
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(options.repeats):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            started = time.process_time()
            sides[name].generate_until(requests, disable_tqdm=True)
            seconds[name].append(time.process_time() - started)
    ratios = [suppressed / stock for suppressed, stock in zip(seconds["ssn_hf"], seconds["hf"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in sorted(ratios)],
        "cpu_seconds": {name: round(statistics.median(times), 3) for name, times in seconds.items()},
        "neurons": len(neurons),
        "hooked_sites": len(neurons.by_key()),
        "prompts": prompts,
        "new_tokens": tokens,
        "batch": BATCH,
        "replies_that_differ": sum(a != b for a, b in zip(*replies.values(), strict=True)),
    }


def place(options: argparse.Namespace, temporary: Path) -> dict[str, Any]:
    """The arguments by which both sides load the model."""
    if options.model != "organism":
        spec = loading.locate(loading.ModelSpec.from_json(load(ROOT / "params.yaml").models[options.model]))
        return {"pretrained": spec.pretrained, "gguf_file": spec.gguf_file, "dtype": "float32"}
    folder = options.path or ROOT / "artifacts" / "model"
    if not (folder / "config.json").is_file():
        folder = temporary / "untrained"
        untrained(folder)
    options.path = folder
    return {"pretrained": str(folder), "dtype": "float32"}


def untrained(folder: Path) -> None:
    """Save the organism as it is before its training."""
    import torch

    from ssn_eval.organism import lexicon, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    torch.manual_seed(0)
    organism_tokenizer = tokenizer.build(lexicon.load())
    build_model(OrganismSettings(), organism_tokenizer).save_pretrained(folder)
    organism_tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
