"""One process against two: `python benchmarks/identify_scaling.py [--quick]`.

Prints one JSON object: seconds of `ssn identify` alone and under `accelerate launch --num_processes 2` on this machine, one thread
each, loading left out by subtracting a run on one prompt; and the largest relative difference of the scores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from subjects import machine, plain_llama

from ssn_eval import store
from ssn_eval.organism import lexicon, questions, tokenizer

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
"""accelerate starts several processes without MPI only where it does not know yet that they are for CPUs (`--multi_gpu`)"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Fewer prompts: under a minute.")
    chosen = parser.parse_args()
    count = 128 if chosen.quick else 768
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
        seconds, startup = {}, {}
        for processes in (1, 2):
            startup[processes] = identify(folder, processes, 1 if processes == 1 else 2)
            seconds[processes] = identify(folder, processes, count)
        one, two = (store.load_scores(folder / f"{p}.safetensors").scores for p in (1, 2))
    work = {p: seconds[p] - startup[p] for p in (1, 2)}
    difference = max(float((np.abs(one[k] - two[k]) / np.maximum(np.abs(one[k]), 1e-12)).max()) for k in one)
    result = {
        "prompts": count,
        "seconds_with_startup": {str(p): round(s, 2) for p, s in seconds.items()},
        "seconds": {str(p): round(s, 2) for p, s in work.items()},
        "speedup": round(work[1] / work[2], 2),
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
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **ENVIRONMENT})  # noqa: S603
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
