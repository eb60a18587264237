"""Neuron-LoRA against the paper's gradient masking: `python benchmarks/train_step.py [--model plain|organism|smollm2] [--quick]`.

Prints one JSON object, in float32 on the CPU; both sides train the same neurons, 3 % of those of the attention sites, on the same
batches, without weight decay:

- `speedup`: how many times faster a step is, medians of steps taken in turn;
- `extra_memory_ratio`: what training adds to the loaded model at its peak, activations included, each side in a process of its own
  (Linux); `state_ratio`: gradients and optimizer state alone, counted on the tensors;
- `max_loss_diff`: the largest difference of the two loss curves;
- `checkpoint_ratio`: bytes of the adapter on disk ÷ those of a whole checkpoint.

`--check` exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from subjects import encoded_prompts, forget_peak, machine, open_model, plain_llama, resident

from ssn_eval.core.neurons import ATTENTION, NeuronSet, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.models.architectures.resolving import geometry
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build, trainable_parameters
from ssn_eval.training.encoding import collate
from ssn_eval.training.weights import mask_gradients

if TYPE_CHECKING:
    import torch

SHARE = 33
"""every so many-th neuron of a site is trained: 3 %"""
BARS = {"speedup": 2.0, "extra_memory_ratio": 0.6, "max_loss_diff": 1e-4}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("plain", "organism", "smollm2"), default="plain")
    parser.add_argument("--path", type=Path, help="the organism's folder")
    parser.add_argument("--quick", action="store_true", help="a smaller plain model, under a minute")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--peak", choices=("masking", "neuron_lora"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.peak:
        print(json.dumps(peak(chosen)))
        return
    found = measure(chosen)
    print(json.dumps(found | {"machine": machine()}))
    if chosen.check:
        missed = [name for name, bar in BARS.items() if (found[name] < bar if name == "speedup" else found[name] > bar)]
        sys.exit(f"Missed: {', '.join(missed)}" if missed else 0)


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """Everything that is printed, but for the machine."""
    model, batches = subject(chosen)
    neurons = sampled(model)
    masked, tuned = ready(copy.deepcopy(model), neurons, "masking"), ready(model, neurons, "neuron_lora")
    full, lora = Side(masked, chosen.lr), Side(tuned, chosen.lr)
    for batch in batches:  # in turn, so that a busy moment of the machine meets both
        full.step(batch)
        lora.step(batch)
    peaks = {side: in_process(side, chosen) for side in ("masking", "neuron_lora")}
    return {
        "model": chosen.model,
        "steps": len(batches),
        "batch": list(batches[0]["input_ids"].shape),
        "neurons": len(neurons),
        "trainable": trainable_parameters(tuned)[0],
        "speedup": round(full.seconds / lora.seconds, 2),
        "seconds": {"masking": round(full.seconds, 4), "neuron_lora": round(lora.seconds, 4)},
        "extra_memory_ratio": round(peaks["neuron_lora"] / peaks["masking"], 3),
        "extra_mib": {side: round(value / 2**20) for side, value in peaks.items()},
        "state_ratio": round(lora.held / full.held, 4),
        "max_loss_diff": max(abs(a - b) for a, b in zip(full.losses, lora.losses, strict=True)),
        "checkpoint_ratio": checkpoint_ratio(masked, tuned),
    }


def sampled(model: Any) -> NeuronSet:
    """3 % of the neurons of every attention site."""
    widths = geometry(model).widths.items()
    return NeuronSet.from_keys({k: range(0, w, SHARE) for k, w in widths if parse_key(k)[1] in ATTENTION})


def ready(model: Any, neurons: NeuronSet, side: str) -> Any:
    """The model with the neurons' weights free, in one of the two ways."""
    if side == "neuron_lora":
        return build(model, neurons)
    model.requires_grad_(True)
    mask_gradients(model, neurons)
    return model


def peak(chosen: argparse.Namespace) -> float:
    """Bytes that two steps need at most beside the loaded model; the second has optimizer state from its beginning."""
    model, batches = subject(chosen)
    loaded = forget_peak()
    side = Side(ready(model, sampled(model), chosen.peak), chosen.lr)
    for batch in batches[:2]:
        side.step(batch)
    return resident("VmHWM") - loaded


def in_process(side: str, chosen: argparse.Namespace) -> float:
    """The peak of one side, in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--model",
        chosen.model,
        "--peak",
        side,
        "--batch-size",
        str(chosen.batch_size),
    ]
    command += ["--quick"] if chosen.quick else []
    command += ["--path", str(chosen.path)] if chosen.path else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


class Side:
    """One way of training."""

    def __init__(self, model: Any, lr: float) -> None:
        """With AdamW over what is free, without weight decay."""
        import torch

        self.model = model.train()
        free = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(free, lr=lr, weight_decay=0.0)
        self.losses: list[float] = []
        self.times: list[float] = []
        self.held = 0

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        """One step, timed; then count what it holds beside the weights."""
        started = time.perf_counter()
        loss = self.model(**batch, use_cache=False).loss
        loss.backward()
        self.optimizer.step()
        self.times.append(time.perf_counter() - started)
        state = [t for s in self.optimizer.state.values() for t in s.values() if hasattr(t, "numel")]
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.held = sum(t.numel() * t.element_size() for t in [*state, *grads])
        self.optimizer.zero_grad()
        self.losses.append(loss.item())

    @property
    def seconds(self) -> float:
        """The median step, the first left out, which allocates."""
        later = sorted(self.times[1:] or self.times)
        return later[len(later) // 2]


def subject(chosen: argparse.Namespace) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    """The model, and batches of (batch, time) tokens: real prompts, or random tokens for the plain model."""
    import torch

    size, steps = chosen.batch_size, chosen.steps
    if chosen.model == "plain":
        model = plain_llama(hidden=256 if chosen.quick else 512)
        rows = [torch.randint(1, 1000, (48,), generator=torch.Generator().manual_seed(i)) for i in range(size * steps)]
        ids = [row.tolist() for row in rows]
    else:
        loaded = open_model(chosen.model, chosen.path)
        model, ids = loaded.model, encoded_prompts(chosen.model, loaded, size * steps)
    rows = [{"input_ids": row, "labels": row} for row in cycle(ids, size * steps)]
    return model, [collate(rows[i : i + size], 0) for i in range(0, size * steps, size)]


def cycle(rows: Sequence[list[int]], count: int) -> list[list[int]]:
    """The rows again and again, up to a number."""
    return [rows[i % len(rows)] for i in range(count)]


def checkpoint_ratio(whole: Any, tuned: Any) -> float:
    """Bytes of the adapter's folder ÷ bytes of the whole checkpoint's weights."""
    ref = ModelRef("benchmark", "0" * 64, str(whole.config.model_type), geometry(whole))
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(tuned, Path(folder) / "adapter", ref, {})
        whole.save_pretrained(Path(folder) / "whole")
        sizes = [
            sum(p.stat().st_size for p in (Path(folder) / name).glob("*.safetensors")) for name in ("adapter", "whole")
        ]
    return round(sizes[0] / sizes[1], 5)


if __name__ == "__main__":
    main()
