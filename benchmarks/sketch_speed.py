"""The cost of the sketch: `python benchmarks/sketch_speed.py [--model smollm2|gemma3_270m|organism|llama] [--quick]`.

Prints one JSON object. Everything is measured in this run, in float32 on the CPU, with batches of 8 and 4 probes:

- `ratio_to_forward`: time to score every neuron ÷ time of a plain forward pass (with logits) over the same prompts;
  `ratio_to_decoder`: the same ÷ the time of the decoder alone;
- `cheaper_than_exact`: time of exact ablation of every neuron ÷ time of the sketch. Ablation is timed on a sample and
  *extrapolated* to all neurons; it reuses the layers below the ablated one;
- `peak_memory_ratio`: peak of the sketch ÷ peak of one ordinary backward pass (gradients of all weights) of the same batch, each in
  a process of its own (Linux); `over_weights`: the same ratio without the memory of the loaded model;
- `growth`: seconds by number of prompts, of tokens and of layers, and how well a line fits (R²). `--plot FILE` draws them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from subjects import encoded_prompts, forget_peak, machine, open_model, plain_llama, resident

from ssn_eval.core.neurons import SITES, parse_key, site_key
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.importance import measure
from ssn_eval.models.architectures.resolving import decoder, geometry
from ssn_eval.models.batches import Padded, cut

BATCH, PROBES = 8, 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", choices=["organism", "smollm2", "gemma3_270m", "llama"])
    parser.add_argument("--path", type=Path, help="The organism's folder.")
    parser.add_argument(
        "--quick", action="store_true", help="A small Llama with random weights; takes less than a minute."
    )
    parser.add_argument("--plot", type=Path, help="Draw the growth into this file (.svg).")
    parser.add_argument("--peak", choices=["sketch", "backward"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.model = "llama"
    model, ids = subject(options.model, options.path, 16 if options.quick else 32)
    if options.peak:
        print(json.dumps(peak(model, ids[:BATCH], options.peak)))
        return
    plain = [best(run) for run in (lambda: forward(model, ids, logits=True), lambda: forward(model, ids, logits=False))]
    sketch = best(lambda: measure(model, ids, ScoreParams(sites="both", probes=PROBES, batch_size=BATCH)))
    exact = exact_seconds(model, ids)
    peaks = {side: in_process(side, options) for side in ("sketch", "backward")}
    series = growth(options.quick)
    result = {
        "model": options.model,
        "prompts": len(ids),
        "tokens": int(np.mean([len(i) for i in ids])),
        "probes": PROBES,
        "batch_size": BATCH,
        "neurons": geometry(model).size(),
        "seconds": {"forward": plain[0], "decoder": plain[1], "sketch": sketch, "exact_extrapolated": exact},
        "ratio_to_forward": round(sketch / plain[0], 2),
        "ratio_to_decoder": round(sketch / plain[1], 2),
        "cheaper_than_exact": round(exact / sketch),
        "peak_memory_ratio": round(peaks["sketch"]["peak"] / peaks["backward"]["peak"], 3),
        "over_weights": round(
            (peaks["sketch"]["peak"] - peaks["sketch"]["loaded"])
            / (peaks["backward"]["peak"] - peaks["backward"]["loaded"]),
            3,
        ),
        "growth": series,
        "machine": machine(),
    }
    if options.plot:
        draw(series, options.plot)
    print(json.dumps(result))


def subject(name: str, path: Path | None, count: int) -> tuple[Any, list[list[int]]]:
    """A model, and its prompts as token ids."""
    if name == "llama":
        return plain_llama(), random_ids(count, 32)
    loaded = open_model(name, path)
    return loaded.model, encoded_prompts(name, loaded, count)


def random_ids(count: int, tokens: int) -> list[list[int]]:
    """Prompts of random tokens."""
    return np.random.default_rng(0).integers(1, 2000, (count, tokens)).tolist()


def forward(model: Any, ids: Sequence[Sequence[int]], logits: bool) -> None:
    """A plain forward pass over the prompts, in the batches of the sketch."""
    padded = Padded(ids, [(len(i) - 1, len(i)) for i in ids], "cpu")
    run = model if logits else decoder(model)
    with torch.no_grad():
        for rows in cut(range(len(ids)), padded.lengths, BATCH):
            batch = padded(rows)
            run(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)


def best(run: Callable[[], object], times: int = 3) -> float:
    """Seconds of the fastest of several runs, after a warm-up run."""
    run()
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return round(min(durations), 4)


def exact_seconds(model: Any, ids: Sequence[Sequence[int]]) -> float:
    """Seconds to ablate every neuron on every prompt, extrapolated from a sample in the middle of each third of the layers."""
    shape, rng = geometry(model), np.random.default_rng(0)
    prompts = [ids[i] for i in np.linspace(0, len(ids) - 1, 2, dtype=int)]
    total = 0.0
    thirds = np.array_split(range(shape.num_layers), 3)
    for layers in thirds:
        middle = int(layers[len(layers) // 2])
        neurons = {
            (k := site_key(middle, s)): sorted(
                map(int, rng.choice(shape.widths[k], min(16, shape.widths[k]), replace=False))
            )
            for s in SITES
        }
        start = time.perf_counter()
        measure(model, prompts, ScoreParams(sites="both", method="exact", batch_size=1), neurons=neurons)
        seconds_per_neuron = (time.perf_counter() - start) / (len(prompts) * sum(map(len, neurons.values())))
        neurons_in_third = sum(w for key, w in shape.widths.items() if parse_key(key)[0] in layers)
        total += seconds_per_neuron * neurons_in_third * len(ids)
    return round(total, 1)


def peak(model: Any, ids: Sequence[Sequence[int]], side: str) -> dict[str, float]:
    """Resident bytes of this process with the model loaded, and at the peak of one batch."""
    loaded = forget_peak()
    if side == "sketch":
        measure(model, ids, ScoreParams(sites="both", probes=PROBES, batch_size=BATCH))
    else:
        padded = Padded(ids, [(len(i) - 1, len(i)) for i in ids], "cpu")(range(len(ids)))
        labels = padded.input_ids.masked_fill(padded.attention_mask == 0, -100)
        model(input_ids=padded.input_ids, attention_mask=padded.attention_mask, labels=labels).loss.backward()
    return {"loaded": loaded, "peak": resident("VmHWM")}


def in_process(side: str, options: argparse.Namespace) -> dict[str, float]:
    """The peak of one side, measured in a new process."""
    command = [sys.executable, __file__, "--model", options.model, "--peak", side]
    command += ["--quick"] if options.quick else []
    command += ["--path", str(options.path)] if options.path else []
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def growth(quick: bool) -> dict[str, Any]:
    """Seconds of the sketch by number of prompts, by tokens per prompt, and by layers, on a Llama with random weights."""
    small = 4 if quick else 8
    settings = ScoreParams(sites="both", probes=PROBES, batch_size=BATCH)
    model = plain_llama(layers=small)

    def series(points: Sequence[int], run: Callable[[int], float]) -> dict[str, Any]:
        seconds = [run(point) for point in points]
        fit = np.corrcoef(points, seconds)[0, 1] ** 2
        return {"at": list(points), "seconds": seconds, "r2": round(float(fit), 4)}

    return {
        "prompts": series([8, 16, 24, 32], lambda n: best(lambda: measure(model, random_ids(n, 32), settings))),
        "tokens": series([16, 32, 64, 96], lambda n: best(lambda: measure(model, random_ids(8, n), settings))),
        "layers": series([2, 4, 6, 8], lambda n: of_layers(n, settings)),
    }


def of_layers(layers: int, settings: ScoreParams) -> float:
    """Seconds of the sketch on a Llama with random weights and `layers` layers."""
    model = plain_llama(layers=layers)
    return best(lambda: measure(model, random_ids(BATCH, 32), settings))


def draw(growth_series: dict[str, Any], path: Path) -> None:
    """Draw three panels: seconds against prompts, tokens and layers, with the fitted lines."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "ssn_eval"
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(9, 2.8), sharey=False)
    for panel, (name, series) in zip(panels, growth_series.items(), strict=True):
        x, y = np.array(series["at"]), np.array(series["seconds"])
        slope, start = np.polyfit(x, y, 1)
        panel.plot(x, slope * x + start, color="0.6", linewidth=1)
        panel.plot(x, y, "o", color="C0")
        panel.set(xlabel={"prompts": "prompts", "tokens": "tokens a prompt", "layers": "layers"}[name], ylim=(0, None))
        panel.set_title(f"R² = {series['r2']:.3f}", fontsize=9)
    panels[0].set_ylabel("seconds")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
