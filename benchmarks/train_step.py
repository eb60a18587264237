"""Neuron-LoRA against the paper's gradient masking: `python benchmarks/train_step.py [--quick]`.

Prints one JSON object: how many times faster a step is, extra memory (gradients and optimizer state, bytes counted on the tensors)
as a ratio, and the largest difference of the losses over the same 20 steps. Both sides train the same neurons of the same random
Llama on the same batches in this run.
"""

from __future__ import annotations

import argparse
import copy
import json
import time

import torch

from ssn_eval import adapters
from ssn_eval.architectures import geometry, resolve
from ssn_eval.neurons import ATTENTION, NeuronSet, parse_key


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller model, under a minute")
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    model = _model(256 if chosen.quick else 512)
    neurons = NeuronSet.from_keys(
        {k: range(0, w, 33) for k, w in geometry(model).widths.items() if parse_key(k)[1] in ATTENTION}
    )
    batches = [torch.randint(1, 1000, (4, 48), generator=torch.Generator().manual_seed(i)) for i in range(chosen.steps)]
    masked, tuned = copy.deepcopy(model), adapters.build(model, neurons)
    masks = _masks(masked, neurons)

    def mask() -> None:
        for name, parameter in masked.named_parameters():
            if parameter.grad is not None:
                parameter.grad *= masks.get(name, 0.0)

    full = _train(masked, batches, mask)
    lora = _train(tuned, batches, lambda: None)
    print(
        json.dumps(
            {
                "steps": chosen.steps,
                "neurons": len(neurons),
                "speedup": round(full["seconds"] / lora["seconds"], 2),
                "extra_memory_ratio": round(lora["bytes"] / full["bytes"], 4),
                "max_loss_diff": max(abs(a - b) for a, b in zip(full["losses"], lora["losses"], strict=True)),
            }
        )
    )


def _model(hidden: int):  # noqa: ANN202
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config)


def _masks(model, neurons):  # noqa: ANN001, ANN202
    """Weight name → 1 where a chosen neuron owns the entry, else 0."""
    parameters, masks, sites = dict(model.named_parameters()), {}, resolve(model)
    for key, indices in neurons.by_key().items():
        for owned in sites[key].owned:
            name = owned.name + ".weight"
            mask = masks.setdefault(name, torch.zeros_like(parameters[name]))
            (mask if owned.side == "output" else mask.T)[owned.of(indices)] = 1
    return masks


def _train(model, batches, after_backward):  # noqa: ANN001, ANN202
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0)
    losses, times, held = [], [], 0
    for ids in batches:
        started = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        after_backward()
        optimizer.step()
        state = [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
        held = sum(
            t.numel() * t.element_size() for t in [*state, *(p.grad for p in model.parameters() if p.grad is not None)]
        )
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
        losses.append(loss.item())
    return {"losses": losses, "seconds": sorted(times)[len(times) // 2], "bytes": held}


if __name__ == "__main__":
    main()
