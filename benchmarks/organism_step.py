"""Seconds of one training step of the organism: with free and pinned instructions, with whole batches and micro-batches.

`python benchmarks/organism_step.py [--quick]` prints one JSON object. Each arithmetic runs in a process of its own, because torch
and MKL read their environment once. The whole batch computes all logits; micro-batches are the recipe (`organism/training.py`).
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
from dataclasses import replace
from pathlib import Path
from typing import Any

from subjects import machine

from ssn_eval.core import arithmetic

ARITHMETICS = {
    "free": dict(arithmetic.ONE_THREAD),
    "pinned": dict(arithmetic.pinned()),
    "compatible": {**arithmetic.pinned(), "MKL_CBWR": "COMPATIBLE"},
}


def main() -> None:
    """Measure every arithmetic in a child process; with `--one`, measure in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", action="store_true", help="Measure in this process.")
    options = parser.parse_args()
    steps = 3 if options.quick else 20
    if options.one:
        print(json.dumps(measure(steps)))
        return
    environment = {name: value for name, value in os.environ.items() if name not in arithmetic.pinned()}
    command = [sys.executable, __file__, "--one", *(["--quick"] if options.quick else [])]
    seconds = {
        name: json.loads(
            subprocess.run(command, env={**environment, **variables}, capture_output=True, check=True).stdout
        )
        for name, variables in ARITHMETICS.items()
    }
    print(json.dumps({"machine": machine(), "steps": steps, "seconds": seconds}, indent=1))


def measure(steps: int) -> dict[str, float]:
    """Median seconds of a step, for the whole batch and for the recipe."""
    import torch

    from ssn_eval.organism import lexicon, training
    from ssn_eval.organism.settings import OrganismSettings

    torch.set_num_threads(1)
    settings = OrganismSettings(steps=steps + 2)
    with tempfile.TemporaryDirectory() as work:
        recipe: Any = training.build_trainer(lexicon.load(), settings, Path(work))
        whole: Any = training.build_trainer(lexicon.load(), replace(settings, micro_batches=1), Path(work))
    whole.compute_loss = lambda model, inputs, num_items_in_batch=None, **_: (
        model(**inputs, num_items_in_batch=num_items_in_batch).loss
    )
    return {"whole batch, all logits": seconds(whole, steps), "recipe": seconds(recipe, steps)}


def seconds(trainer: Any, steps: int) -> float:
    """Median seconds of a step; the first two steps do not count."""
    from transformers import TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):
        """Stores the time at the end of every step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())
            control.should_save = False

    trainer.add_callback(Clock())
    trainer.train()
    return round(statistics.median(end - start for start, end in zip(ends[1:], ends[2:], strict=False)), 4)


if __name__ == "__main__":
    main()
