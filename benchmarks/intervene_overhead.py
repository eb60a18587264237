"""The cost of each kind of intervention in `model.generate`, against the same model without hooks.

`python benchmarks/intervene_overhead.py [--model smollm2|plain] [--repeats 7]` prints one JSON object. One neuron in 33 of every site
is changed, so every site of every layer has a hook, which is the most expensive case. Every turn runs the stock side and each
intervention, in alternating order. A ratio is one of CPU seconds in the same turn, the median over turns. All sides generate the
same number of tokens. `baked` has the intervention in its weights, which should cost nothing. `plain` is a Llama with random
weights; it needs no other package.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from subjects import encoded_prompts, machine, open_model, plain_llama

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions import measuring
from ssn_eval.interventions.hooks import intervene_all
from ssn_eval.interventions.ops import SUPPRESS, Intervention, Op, parse_op
from ssn_eval.interventions.reference import Reference
from ssn_eval.interventions.weights import bake
from ssn_eval.models.architectures.resolving import geometry

BAR = 1.05
PROMPTS, TOKENS = 8, 32
QUICK = (2, 8)
"""prompts and tokens of a quick run"""
SHARE = 33
"""one neuron in 33, which is 3 %"""


def main() -> None:
    """Measure and print; with `--check`, exit with 1 if suppressing costs more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("smollm2", "plain"), default="smollm2")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="one repeat of 2 prompts and 8 tokens")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    prompts, tokens = QUICK if options.quick else (PROMPTS, TOKENS)
    result = measure(options.model, prompts, tokens, 1 if options.quick else options.repeats)
    print(json.dumps({"model": options.model, **result, "machine": machine()}))
    if options.check and result["ratio"]["suppress"] > BAR:
        sys.exit(f"The ratio of suppress, {result['ratio']['suppress']}, is above {BAR}.")


def measure(name: str, prompts: int, tokens: int, repeats: int) -> dict[str, Any]:
    """The ratios of all sides, which are measured in turn."""
    model, ids = subject(name, prompts)
    shape = geometry(model)
    neurons = NeuronSet.from_keys({key: range(0, width, SHARE) for key, width in shape.widths.items()})
    activations = measuring.measure(model, ids, neurons=neurons)
    reference = Reference(activations, ModelRef(name, "0" * 64, model.config.model_type, shape))
    baked = copy.deepcopy(model)
    bake(baked, neurons, SUPPRESS)
    batch = left_padded(ids)

    def hooked(op: Op, **fields: Any) -> Callable[[], AbstractContextManager[None]]:
        return lambda: intervene_all(model, [Intervention(neurons, op, **fields)], reference)

    sides: dict[str, tuple[Any, Callable[[], AbstractContextManager[None]]]] = {
        "stock": (model, nullcontext),
        "suppress": (model, hooked(SUPPRESS)),
        "scale": (model, hooked(Op(2.0))),
        "mean": (model, hooked(parse_op("mean"))),
        "prompt_only": (model, hooked(SUPPRESS, positions="prompt")),
        "generated_only": (model, hooked(SUPPRESS, positions="generated")),
        "baked": (baked, nullcontext),
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(-1, repeats):
        for side in list(sides)[:: 1 if turn % 2 else -1]:
            side_model, intervention = sides[side]
            with intervention():
                duration = cpu_seconds(side_model, batch, tokens)
            if turn >= 0:  # the first turn is a warm-up
                seconds[side].append(duration)
    ratios = {
        side: [duration / stock for duration, stock in zip(durations, seconds["stock"], strict=True)]
        for side, durations in seconds.items()
        if side != "stock"
    }
    return {
        "ratio": {side: round(statistics.median(values), 4) for side, values in ratios.items()},
        "range": {side: [round(min(values), 4), round(max(values), 4)] for side, values in ratios.items()},
        "cpu_seconds": {side: round(statistics.median(durations), 3) for side, durations in seconds.items()},
        "hooked_sites": len(neurons.by_key()),
        "neurons": len(neurons),
        "prompts": prompts,
        "new_tokens": tokens,
        "repeats": repeats,
    }


def subject(name: str, prompts: int) -> tuple[Any, list[list[int]]]:
    """A model and the token ids of its prompts."""
    if name == "plain":
        generator = torch.Generator().manual_seed(0)
        return plain_llama(), [torch.randint(1, 2000, (12 + i,), generator=generator).tolist() for i in range(prompts)]
    loaded = open_model(name)
    return loaded.model, encoded_prompts(name, loaded, prompts)


def left_padded(ids: list[list[int]]) -> dict[str, torch.Tensor]:
    """One batch for `generate`: (prompts, longest prompt) token ids, padded on the left, and their mask."""
    longest = max(map(len, ids))
    rows = [[0] * (longest - len(row)) + row for row in ids]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in ids]
    return {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(mask)}


def cpu_seconds(model: Any, batch: dict[str, torch.Tensor], tokens: int) -> float:
    """CPU seconds of generating exactly `tokens` new tokens for one batch."""
    started = time.process_time()
    with torch.no_grad():
        model.generate(**batch, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0)
    return time.process_time() - started


if __name__ == "__main__":
    main()
