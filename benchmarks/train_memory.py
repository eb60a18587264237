"""Peak memory of a neuron-LoRA step at one effective batch: `python benchmarks/train_memory.py --model FOLDER`.

Prints one JSON object. `whole` makes the step in one pass and keeps every activation; `fitting` makes it in micro-batches and computes
the layers again (`train.micro_batch`, `train.checkpointing`). Both train the same neurons, 3 % of the neurons of the attention sites, on
the same 16 pairs, each side in a process of its own (Linux), in the dtype of the model's files:

- `peak_gib`: the peak of the whole process, weights and libraries included; `beyond_gib`: without the loaded model;
- `estimate_gib`: what `ssn train` estimates beside the weights before it starts; `seconds`: of the step;
- `ratio`: the peak of `fitting` ÷ that of `whole`, at the same tokens; `loss_diff`: the difference of the two losses.

A side that needs more than is free is not run, and the result says so. Memory is linear in the tokens (attention is fused), so for such
tokens `extrapolated` gives the line through the two largest that were measured; it is marked, and no measurement.
Each side is also printed to stderr as soon as it is measured. `--check` exits with 1 if the ratio at the most tokens is above a third.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from subjects import forget_peak, machine, resident
from train_step import sampled

from ssn_eval.core.settings import TrainParams
from ssn_eval.models import loading, memory
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import planning
from ssn_eval.training.adapters.neuron_lora import build
from ssn_eval.training.encoding import encode
from ssn_eval.training.fit import SFT, fitted

BATCH = 16
BAR = 1 / 3
SIDES = {"whole": {"micro_batch": BATCH}, "fitting": {"micro_batch": 1, "checkpointing": True}}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model's folder or hub id")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[64, 128, 256, 512], help="tokens of every pair, rising"
    )
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quick", action="store_true", help="16 and 32 tokens")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(step(options.model, options.dtype, options.side, options.tokens[0])))
        return
    if options.quick:
        options.tokens = [16, 32]
    sides: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in SIDES}
    for tokens in sorted(options.tokens):
        for name in SIDES:
            sides[name][tokens] = in_process(options.model, options.dtype, name, tokens)
            print(name, tokens, json.dumps(sides[name][tokens]), file=sys.stderr, flush=True)
    result = compared(sides)
    print(json.dumps({"model": Path(options.model).name, "batch": BATCH, **result, "machine": machine()}, indent=1))
    if options.check and (result["ratio"] is None or result["ratio"] > BAR):
        sys.exit(f"The ratio {result['ratio']} is not at most {BAR:.3f}.")


def compared(sides: dict[str, dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """The sides by tokens, and their ratio at the most tokens, extrapolated if it has to be."""
    for values in sides.values():
        measured = [n for n, value in values.items() if "peak_gib" in value]
        for tokens, value in values.items():
            if tokens not in measured and len(measured) > 1:
                (x, y), (a, b) = measured[-2:], (values[n]["peak_gib"] for n in measured[-2:])
                value["extrapolated"] = round(b + (b - a) / (y - x) * (tokens - y), 2)
    by_tokens = {}
    for tokens in next(iter(sides.values())):
        whole, fitting = (sides[name][tokens] for name in SIDES)
        peaks = [side.get("peak_gib", side.get("extrapolated")) for side in (whole, fitting)]
        entry: dict[str, Any] = {"whole": whole, "fitting": fitting}
        if peaks[0] is not None and peaks[1] is not None:
            entry |= {"ratio": round(peaks[1] / peaks[0], 3), "measured": "peak_gib" in whole and "peak_gib" in fitting}
        if "loss" in whole and "loss" in fitting:
            entry["loss_diff"] = abs(whole["loss"] - fitting["loss"])
        by_tokens[tokens] = entry
    last = by_tokens[max(by_tokens)]
    return {"tokens": by_tokens, "ratio": last.get("ratio"), "measured": last.get("measured", False)}


def in_process(model: str, dtype: str, side: str, tokens: int) -> dict[str, Any]:
    """The step of one side, measured in a new process."""
    command = [sys.executable, __file__, "--model", model, "--dtype", dtype, "--side", side, "--tokens", str(tokens)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(f"The side {side} at {tokens} tokens failed: {process.stderr.strip()[-600:]}")
    return json.loads(process.stdout)


def step(model: str, dtype: str, side: str, tokens: int) -> dict[str, Any]:
    """One step of one side in this process; it is not made if it would not fit."""
    loaded = loading.load_model(model, dtype=dtype, device="cpu")
    tuned = build(loaded.model, sampled(loaded.model))
    settings = TrainParams(steps=1, batch_size=BATCH, max_length=tokens, warmup_ratio=0.0, **SIDES[side])
    free = memory.free({loaded.model.device})
    need = planning.demand(tuned, SFT, None).need(settings, settings.micro_batch or BATCH, tokens)
    if need > free:
        return {"not_run": f"needs about {memory.gib(need)} beside the weights, and {memory.gib(free)} are free"}
    for parameter in loaded.model.parameters():  # the file is mapped: its pages come into memory with the first use
        parameter.data = parameter.data.clone()
    begun, started = forget_peak(), time.perf_counter()
    texts = pairs(loaded.tokenizer, tokens)
    done = fitted(tuned, loaded.tokenizer, texts, settings, lr=1e-4, work=None)
    peak = resident("VmHWM")
    return {
        "peak_gib": round(peak / memory.GIB, 2),
        "beyond_gib": round((peak - begun) / memory.GIB, 2),
        "estimate_gib": round(done.plan.need / memory.GIB, 2),
        "seconds": round(time.perf_counter() - started, 1),
        "loss": done.curve[0]["loss"],
    }


def pairs(tokenizer: Any, tokens: int) -> list[Pair]:
    """Pairs of exactly so many tokens, about half of them in the response; the texts are numbers."""
    made = []
    for number in range(BATCH):
        text = " ".join(str((7 * number + i) % 10) for i in range(tokens))
        pair = Pair(str(number), "en", "harmful", text, text[: tokens // 2])
        if len(encode(tokenizer, pair, tokens)["input_ids"]) != tokens:
            sys.exit(f"A pair has not {tokens} tokens.")
        made.append(pair)
    return made


if __name__ == "__main__":
    main()
