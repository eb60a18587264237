"""One step of training on a whole model: a neuron-LoRA equals masked gradients, and moves nothing else."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import torch

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.models.architectures.resolving import geometry, resolve
from ssn_eval.training.adapters.folder import load_adapter, save_adapter
from ssn_eval.training.adapters.neuron_lora import build, merge
from ssn_eval.training.weights import masks

from . import checking

RATE = 0.5


def a_set(model: Any) -> NeuronSet:
    """Two neurons of every site; of the experts of a layer, one of the first that tokens reach and two of the next."""
    reached = checking.reached(model)
    by_key: dict[str, list[int]] = {}
    experts: dict[str, int] = {}
    for key, site in resolve(model).items():
        ends = [0, site.width - 1]
        if site.expert is not None:
            layer = key.rpartition(".mlp.")[0]
            if key not in reached or experts.get(layer, 0) == 2:
                continue
            experts[layer] = experts.get(layer, 0) + 1
            ends = ends[-experts[layer] :]
        by_key[key] = ends
    return NeuronSet.from_keys(by_key)


def loss(model: Any) -> torch.Tensor:
    """The cross entropy of the batch."""
    base = model.base_model.model if hasattr(model, "peft_config") else model
    entry = base.language_model if type(base).__name__ == "Llama4ForConditionalGeneration" else base
    try:
        logits = entry(input_ids=checking.IDS, use_cache=False).logits
    except TypeError:
        logits = entry(input_ids=checking.IDS).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), checking.IDS[:, 1:].flatten())


def faults(model: Any, neurons: NeuronSet, folder: Path) -> list[str]:
    """What is wrong with one step of a neuron-LoRA on this set; empty if all is right. The model is used up.

    Args:
        model: a tiny model.
        neurons: the set.
        folder: a new folder for the adapter.
    """
    from peft import PeftModel

    found: list[str] = []
    plain = copy.deepcopy(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    allowed = masks(model, neurons)
    model.requires_grad_(True)
    loss(model).backward()
    steps = {
        name: RATE * p.grad * allowed[name]
        for name, p in model.named_parameters()
        if name in allowed and p.grad is not None
    }
    model.zero_grad()
    ref = ModelRef("tiny", "0" * 64, model.config.model_type, geometry(model))
    tuned: Any = build(model, neurons)
    tuned.train(False)
    loss(tuned).backward()
    with torch.no_grad():
        for parameter in (p for p in tuned.parameters() if p.requires_grad and p.grad is not None):
            parameter -= RATE * parameter.grad
    stepped = _logits(tuned)
    save_adapter(tuned, folder, ref, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = PeftModel.from_pretrained(plain, str(folder))
    if not torch.equal(_logits(stock), stepped):
        found.append("the saved adapter gives other logits in stock PEFT")
    ours = load_adapter(stock.unload(), folder, ref)
    if not torch.equal(_logits(ours), stepped):
        found.append("the saved adapter gives other logits")
    merged: Any = merge(tuned)
    if not torch.allclose(checking.logits(merged), stepped, atol=1e-4, rtol=1e-3):
        found.append("the merged model gives other logits")
    for name, parameter in merged.named_parameters():
        change = before[name] - parameter.detach()
        if name not in allowed:
            if change.any():
                found.append(f"{name} has changed")
            continue
        if change[allowed[name] == 0].any():
            found.append(f"{name} has changed outside of the set")
        size = steps[name].abs().max() if name in steps else torch.tensor(0.0)
        if (change - steps.get(name, torch.zeros(()))).abs().max() > 1e-3 * size + 1e-6:
            found.append(f"{name} moved otherwise than by masked gradients")
    if not any(float(step.abs().max()) > 1e-6 for step in steps.values()):
        found.append("nothing moved")
    return found


def _logits(tuned: Any) -> torch.Tensor:
    base = tuned.base_model.model
    return checking.logits(base)
