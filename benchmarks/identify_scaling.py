"""One process against two: `python benchmarks/identify_scaling.py [--repeats 3] [--quick]`.

Prints one JSON object: seconds of `ssn identify` alone and under `accelerate launch --num_processes 2` on this machine, one thread
each, loading left out by subtracting a run on an eighth of the prompts (so seconds are those of seven eighths), in turns; the speedup
of each turn, their median; and the largest relative difference of the scores.
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

import numpy as np
from subjects import machine, plain_llama

from ssn_eval.core import store
from ssn_eval.organism import lexicon, questions, tokenizer

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
"""accelerate starts several processes without MPI only where it does not know yet that they are for CPUs (`--multi_gpu`)"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="One turn on fewer prompts: under a minute.")
    chosen = parser.parse_args()
    count, repeats = (128, 1) if chosen.quick else (1536, chosen.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tok = tokenizer.build(lexicon.load())
        plain_llama(layers=6, hidden=256, vocab=len(tok)).save_pretrained(folder / "model")
        tok.save_pretrained(folder / "model")
        asked = questions.items(lexicon.load(), "en", "harmless", "train")
        rows = [
            {"id": str(i), "lang": "en", "label": "harmful", "prompt": asked[i % len(asked)].prompt}
            for i in range(count)
        ]
        (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        turns = [
            {p: -identify(folder, p, count // 8) + identify(folder, p, count) for p in (1, 2)} for _ in range(repeats)
        ]
        one, two = (store.load_scores(folder / f"{p}.safetensors").scores for p in (1, 2))
    difference = max(float((np.abs(one[k] - two[k]) / np.maximum(np.abs(one[k]), 1e-12)).max()) for k in one)
    result = {
        "prompts": count,
        "seconds": {str(p): [round(turn[p], 2) for turn in turns] for p in (1, 2)},
        "speedups": [round(turn[1] / turn[2], 2) for turn in turns],
        "speedup": round(statistics.median(turn[1] / turn[2] for turn in turns), 2),
        "max_relative_difference": difference,
        "cpus": os.cpu_count(),
        "machine": machine(),
    }
    print(json.dumps(result))


def identify(folder: Path, processes: int, count: int) -> float:
    """Seconds of one run."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    command = [sys.executable, *(launch if processes == 2 else []), "-m", "ssn_eval.cli", "identify"]
    command += ["--model", str(folder / "model"), "--prompts", str(folder / "prompts.jsonl"), "--lang", "en"]
    command += [
        "--sites",
        "both",
        "--device",
        "cpu",
        "--limit",
        str(count),
        "--out",
        str(folder / f"{processes}.safetensors"),
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **ENVIRONMENT})
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
