"""What the statistics of the prompts add to scoring: `python benchmarks/statistics_overhead.py [--model KEY] [--path FOLDER] [--quick]`.

Prints one JSON object. One side scores as `ssn identify` does: sums of importance, and sums and sums of squares of the relative log
scores, all kept on disk after every batch. The other side, in the same run, keeps the sums of importance alone, as before. Every
turn runs both, in alternating order; the ratio is one of CPU seconds in the same turn, the median over turns. Peak memory is measured
in a process for each side (Linux). All sites, batches of 8, 2 probes (the fewest in use, so the dearest case for what is added a prompt).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from subjects import encoded_prompts, forget_peak, machine, open_model, plain_llama, resident

from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.accumulate import Sums
from ssn_eval.identification.importance import measure
from ssn_eval.models import loading
from ssn_eval.models.architectures.resolving import geometry

BATCH, PROBES, TURNS, PROMPTS = 8, 2, 7, 32
BAR = 1.03
SIDES = ("plain", "statistics")


def main() -> None:
    """Measure and print; with `--check`, exit with 1 above the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="plain", help="plain (random weights), organism, smollm2 or gemma3_270m")
    parser.add_argument("--path", type=Path, help="the organism's folder, or that of any other model")
    parser.add_argument("--quick", action="store_true", help="one turn of 8 prompts")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--peak", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    model, ids = subject(options.model, options.path, BATCH if options.quick else PROMPTS)
    if options.peak:
        print(json.dumps(peak(model, ids, options.peak)))
        return
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    score(model, ids[:BATCH])  # a warm-up
    for turn in range(1 if options.quick else TURNS):
        for side in SIDES if turn % 2 else SIDES[::-1]:
            with sides(side):
                seconds[side].append(cpu_seconds(lambda: score(model, ids)))
    ratio = statistics.median(b / a for a, b in zip(*seconds.values(), strict=True))
    peaks = {side: in_process(side) for side in SIDES}
    result = {
        "model": options.model,
        "neurons": geometry(model).size(),
        "prompts": len(ids),
        "tokens": int(np.mean([len(i) for i in ids])),
        "probes": PROBES,
        "batch_size": BATCH,
        "cpu_seconds": {side: round(statistics.median(times), 3) for side, times in seconds.items()},
        "ratio": round(ratio, 4),
        "peak_memory": peaks,
        "peak_ratio": round(peaks["statistics"] / peaks["plain"], 4),
        "machine": machine(),
    }
    print(json.dumps(result))
    if options.check and ratio > BAR:
        sys.exit(f"The statistics cost {ratio:.3f} times as much, above {BAR}.")


def subject(name: str, path: Path | None, count: int) -> tuple[Any, list[list[int]]]:
    """A model, and prompts as token ids; a model that `subjects.py` does not know gets random tokens."""
    if name == "plain" or (path is not None and name != "organism"):
        model = plain_llama() if path is None else loading.load_model(str(path), device="cpu").model
        return model, np.random.default_rng(0).integers(1, 2000, (count, 48)).tolist()
    loaded = open_model(name, path)
    return loaded.model, encoded_prompts(name, loaded, count)


def score(model: Any, ids: Sequence[Sequence[int]]) -> None:
    """Score every neuron and keep the sums on disk."""
    with tempfile.TemporaryDirectory() as work:
        settings = ScoreParams(sites="both", probes=PROBES, batch_size=BATCH)
        measure(model, ids, settings, work=Path(work), run={})


@contextmanager
def sides(side: str) -> Iterator[None]:
    """In the body, scoring keeps the sums of importance alone, or the statistics too."""
    add, empty = Sums.add, Sums.empty

    def plain_add(self: Sums, rows: Sequence[int], per_prompt: Mapping[str, np.ndarray]) -> None:
        halves = np.asarray(rows) % 2
        for key, values in per_prompt.items():
            assert np.isfinite(values).all()
            for half in (0, 1):
                self.totals[key][half] += values[halves == half].sum(0, dtype=np.float64)
        self.counts += np.bincount(halves, minlength=2)
        self.batches += 1

    def plain_empty(widths: Mapping[str, int]) -> Sums:
        return Sums({key: np.zeros((2, width)) for key, width in widths.items()}, {}, np.zeros(2))

    if side == "plain":
        Sums.add, Sums.empty = plain_add, staticmethod(plain_empty)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Sums.add, Sums.empty = add, empty  # type: ignore[method-assign, assignment]


def cpu_seconds(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def peak(model: Any, ids: Sequence[Sequence[int]], side: str) -> int:
    """Bytes resident at the peak of scoring, loaded model included."""
    forget_peak()
    with sides(side):
        score(model, ids)
    return int(resident("VmHWM"))


def in_process(side: str) -> int:
    """The peak of one side, in a process of its own."""
    words = [sys.executable, __file__, *sys.argv[1:], "--peak", side]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
