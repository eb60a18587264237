"""Tables on engines, memory and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from documents.shared import load, rows


def overlap() -> str:
    """English prompts that two sets share; sets that share none with another have no row and no column."""
    data = load("overlap")
    counts = {(row["first"], row["second"]): row["shared"] for row in data["pairs"]}
    names = [name for name in data["prompts"] if any(name in pair for pair in counts)]
    columns = names[1:]
    body = [
        (f"{name} ({data['prompts'][name]:,})", *(str(counts.get((name, other), "")) for other in columns))
        for name in names[:-1]
        if any((name, other) in counts for other in columns)
    ]
    return rows(("prompts shared", *columns), body)


def engines() -> str:
    """Time, start-up and memory of `hf`, `ssn_hf`, `vllm` and `ssn_vllm`."""
    result = load("engines_qwen_coder_05b")
    body = [
        (
            f"`{name}`",
            f"{one['start_seconds']:.0f}",
            f"{one['cpu_seconds']:.0f}",
            f"{one['peak_memory'] / 2**30:.1f}",
        )
        for name, one in result["engines"].items()
    ]
    return rows(("engine", "start-up, wall seconds", "replies, CPU seconds", "peak memory, GiB"), body)


def refilling() -> str:
    """Other ways to make a batch against whole batches."""
    r = load("refilling_qwen_coder_05b")
    body = [
        (
            way,
            f"{r['passes'][way]:,}",
            f"{r['rows'][way]:,}",
            f"{r['ratios'][way]:.2f} ×",
            f"{100 * r['equal'][way]:.0f} %",
            f"{100 * r['verdicts_equal'][way]:.0f} %",
        )
        for way in r["passes"]
    ]
    return rows(("batches", "passes", "rows in them", "time", "equal replies", "equal verdicts"), body)


def train_memory() -> str:
    """Peak memory of a neuron-LoRA step in one pass, and in micro-batches with checkpointing, by tokens."""
    body = []
    for tokens, sides in load("train_memory_qwen_coder_05b")["tokens"].items():
        seconds = [sides[side].get("seconds") for side in ("whole", "fitting")]
        slower = f"{seconds[1] / seconds[0]:.1f} ×" if None not in seconds else "–"
        body.append((tokens, _peak(sides["whole"]), _peak(sides["fitting"]), f"{sides['ratio']:.2f}", slower))
    header = ("tokens of a pair", "in one pass, GiB", "in parts of one, checkpointing, GiB", "ratio", "time")
    return rows(header, body)


def _peak(side: Mapping[str, Any]) -> str:
    return f"{side['peak_gib']:.2f}" if "peak_gib" in side else f"{side['extrapolated']:.1f} (extrapolated)"
