"""Neuron-LoRA against the paper's gradient masking: `python benchmarks/train_step.py [--model plain|organism|smollm2] [--quick]`.

Prints one JSON object, in float32 on the CPU. Both sides train the same neurons, 3 % of the neurons of the attention sites, on the
same batches, without weight decay:

- `speedup`: how many times faster a step of neuron-LoRA is; medians of steps that the sides take in turn;
- `extra_memory_ratio`: the peak memory that training adds to the loaded model, with activations, each side in a process of its own
  (Linux); `state_ratio`: the bytes of gradients and optimizer state alone, counted on the tensors;
- `max_loss_diff`: the largest difference of the two loss curves;
- `checkpoint_ratio`: bytes of the adapter on disk ÷ bytes of a whole checkpoint.

`--check` exits with 1 if a result misses its bar.
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
from ssn_eval.training.weights import mask_gradients, masks

if TYPE_CHECKING:
    import torch

SHARE = 33
"""one neuron in 33 of a site is trained, which is 3 %"""
BARS = {"speedup": 2.0, "extra_memory_ratio": 0.6, "max_loss_diff": 1e-4}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("plain", "organism", "smollm2"), default="plain")
    parser.add_argument("--path", type=Path, help="the organism's folder")
    parser.add_argument("--quick", action="store_true", help="a smaller plain model; takes less than a minute")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--peak", choices=("masking", "neuron_lora"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options)))
        return
    result = measure(options)
    print(json.dumps(result | {"machine": machine()}))
    if options.check:
        misses = [
            name for name, bar in BARS.items() if (result[name] < bar if name == "speedup" else result[name] > bar)
        ]
        sys.exit(f"These results miss their bars: {', '.join(misses)}." if misses else 0)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All results except the description of the machine."""
    model, batches = subject(options)
    neurons = sampled(model)
    masked_model, lora_model = ready(copy.deepcopy(model), neurons, "masking"), ready(model, neurons, "neuron_lora")
    masking, lora = Side(masked_model, options.lr), Side(lora_model, options.lr)
    for batch in batches:  # in turn, so that a busy machine slows both sides
        masking.step(batch)
        lora.step(batch)
    peaks = {side: in_process(side, options) for side in ("masking", "neuron_lora")}
    return {
        "model": options.model,
        "steps": len(batches),
        "batch": list(batches[0]["input_ids"].shape),
        "neurons": len(neurons),
        "trainable": trainable_parameters(lora_model)[0],
        "speedup": round(masking.seconds / lora.seconds, 2),
        "seconds": {"masking": round(masking.seconds, 4), "neuron_lora": round(lora.seconds, 4)},
        "extra_memory_ratio": round(peaks["neuron_lora"] / peaks["masking"], 3),
        "extra_mib": {side: round(value / 2**20) for side, value in peaks.items()},
        "state_ratio": round(lora.state_bytes / masking.state_bytes, 4),
        "max_loss_diff": max(abs(a - b) for a, b in zip(masking.losses, lora.losses, strict=True)),
        "checkpoint_ratio": checkpoint_ratio(masked_model, lora_model),
    }


def sampled(model: Any) -> NeuronSet:
    """3 % of the neurons of every attention site."""
    widths = geometry(model).widths.items()
    return NeuronSet.from_keys({k: range(0, w, SHARE) for k, w in widths if parse_key(k)[1] in ATTENTION})


def ready(model: Any, neurons: NeuronSet, side: str) -> Any:
    """The model, ready to train these neurons by masked gradients or by neuron-LoRA."""
    if side == "neuron_lora":
        return build(model, neurons)
    model.requires_grad_(True)
    mask_gradients(model, masks(model, neurons))
    return model


def peak(options: argparse.Namespace) -> float:
    """Peak bytes of two steps beyond the loaded model; the second step begins with optimizer state."""
    model, batches = subject(options)
    loaded = forget_peak()
    side = Side(ready(model, sampled(model), options.peak), options.lr)
    for batch in batches[:2]:
        side.step(batch)
    return resident("VmHWM") - loaded


def in_process(side: str, options: argparse.Namespace) -> float:
    """The peak of one side, measured in a new process."""
    command = [
        sys.executable,
        __file__,
        "--model",
        options.model,
        "--peak",
        side,
        "--batch-size",
        str(options.batch_size),
    ]
    command += ["--quick"] if options.quick else []
    command += ["--path", str(options.path)] if options.path else []
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


class Side:
    """One way of training."""

    def __init__(self, model: Any, lr: float) -> None:
        """Use AdamW over the trainable parameters, without weight decay."""
        import torch

        self.model = model.train()
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trainable, lr=lr, weight_decay=0.0)
        self.losses: list[float] = []
        self.times: list[float] = []
        self.state_bytes = 0

    def step(self, batch: dict[str, torch.Tensor]) -> None:
        """Make one timed step, then count the bytes of gradients and optimizer state."""
        started = time.perf_counter()
        loss = self.model(**batch, use_cache=False).loss
        loss.backward()
        self.optimizer.step()
        self.times.append(time.perf_counter() - started)
        state = [t for s in self.optimizer.state.values() for t in s.values() if hasattr(t, "numel")]
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.state_bytes = sum(t.numel() * t.element_size() for t in [*state, *grads])
        self.optimizer.zero_grad()
        self.losses.append(loss.item())

    @property
    def seconds(self) -> float:
        """Median seconds of a step, without the first step, which allocates memory."""
        times = sorted(self.times[1:] or self.times)
        return times[len(times) // 2]


def subject(options: argparse.Namespace) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    """The model, and batches of (batch, time) tokens: real prompts, or random tokens for the plain model."""
    import torch

    size, steps = options.batch_size, options.steps
    if options.model == "plain":
        model = plain_llama(hidden=256 if options.quick else 512)
        rows = [torch.randint(1, 1000, (48,), generator=torch.Generator().manual_seed(i)) for i in range(size * steps)]
        ids = [row.tolist() for row in rows]
    else:
        loaded = open_model(options.model, options.path)
        model, ids = loaded.model, encoded_prompts(options.model, loaded, size * steps)
    rows = [{"input_ids": row, "labels": row} for row in cycle(ids, size * steps)]
    return model, [collate(rows[i : i + size], 0) for i in range(0, size * steps, size)]


def cycle(rows: Sequence[list[int]], count: int) -> list[list[int]]:
    """`count` rows, which repeat if there are fewer."""
    return [rows[i % len(rows)] for i in range(count)]


def checkpoint_ratio(whole: Any, lora_model: Any) -> float:
    """Bytes of the adapter's folder ÷ bytes of the whole checkpoint's weights."""
    ref = ModelRef("benchmark", "0" * 64, str(whole.config.model_type), geometry(whole))
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(lora_model, Path(folder) / "adapter", ref, {})
        whole.save_pretrained(Path(folder) / "whole")
        sizes = [
            sum(p.stat().st_size for p in (Path(folder) / name).glob("*.safetensors")) for name in ("adapter", "whole")
        ]
    return round(sizes[0] / sizes[1], 5)


if __name__ == "__main__":
    main()
