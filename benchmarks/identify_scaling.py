"""The speedup of two processes over one: `python benchmarks/identify_scaling.py [--repeats 3] [--quick]`.

Prints one JSON object: seconds of `ssn identify` with one process and under `accelerate launch --num_processes 2` on this machine,
one thread per process; the speedup of each turn and the median; and the largest relative difference of the scores. Each time is
the difference to a run on an eighth of the prompts, so it leaves out loading and is the time for seven eighths of the prompts.
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
"""Without MPI, accelerate starts several processes only with `--multi_gpu`; `ACCELERATE_USE_CPU` then makes them use the CPU."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="One turn on fewer prompts; takes less than a minute.")
    options = parser.parse_args()
    count, repeats = (128, 1) if options.quick else (1536, options.repeats)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        organism_tokenizer = tokenizer.build(lexicon.load())
        plain_llama(layers=6, hidden=256, vocab=len(organism_tokenizer)).save_pretrained(folder / "model")
        organism_tokenizer.save_pretrained(folder / "model")
        items = questions.items(lexicon.load(), "en", "harmless", "train")
        rows = [
            {"id": str(i), "lang": "en", "label": "harmful", "prompt": items[i % len(items)].prompt}
            for i in range(count)
        ]
        (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
        turns = [
            {p: -identify(folder, p, count // 8) + identify(folder, p, count) for p in (1, 2)} for _ in range(repeats)
        ]
        scores, scores_of_two = (store.load_scores(folder / f"{p}.safetensors").scores for p in (1, 2))
    difference = max(
        float((np.abs(scores[k] - scores_of_two[k]) / np.maximum(np.abs(scores[k]), 1e-12)).max()) for k in scores
    )
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
    """Seconds of one `ssn identify`, on `count` prompts."""
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
