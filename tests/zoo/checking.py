"""Proofs on a whole model that load time leaves out: zero at the hook equals zero in the weights, in the logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.resolving import resolve
from ssn_eval.models.architectures.sites import Site, out_in

IDS = torch.randint(3, 100, (2, 7), generator=torch.Generator().manual_seed(0))
Entries = list[tuple[torch.Tensor, Any]]
"""views of weights, and the index of what a neuron owns in each"""


def logits(model: Any) -> torch.Tensor:
    """The logits of a batch of text, (2, 7, vocabulary)."""
    entry = model.language_model if type(model).__name__ == "Llama4ForConditionalGeneration" else model
    with torch.no_grad():
        try:
            return entry(input_ids=IDS, use_cache=False).logits.float()
        except TypeError:
            return entry(input_ids=IDS).logits.float()


def ways(model: Any, site: Site, index: int) -> list[Entries]:
    """The entries of the weights that a neuron owns; of the MLP, once its column and once its rows."""
    if site.expert is not None:
        stack: Any = site.module
        rows = torch.tensor(experts.rows_of(stack, site.width)[index])
        up: Entries = [(experts.up(stack, site.expert), (rows,))]
        if experts.has_bias(stack):
            up.append((getattr(stack, f"{experts.up_name(stack)}_bias")[site.expert], (rows,)))
        return [[(site.weight(), (slice(None), index))], up]
    found: list[Entries] = [[]]
    modules = dict(model.named_modules())
    for n, owned in enumerate(site.owned):
        module = modules[owned.name]
        (at,) = owned.of([index])
        entries: Entries = [(out_in(module), (at,) if owned.side == "output" else (slice(None), at))]
        if owned.side == "output" and getattr(module, "bias", None) is not None:
            entries.append((module.bias, (at,)))
        if n == 1:
            found.append([])
        found[-1] += entries
    return found


@contextmanager
def zeroed(entries: Entries) -> Iterator[None]:
    """In the body, these entries of the weights are zero."""
    with torch.no_grad():
        saved = [weight[at].clone() for weight, at in entries]
        for weight, at in entries:
            weight[at] = 0
        yield
        for (weight, at), value in zip(entries, saved, strict=True):
            weight[at] = value


def reached(model: Any) -> set[str]:
    """The keys of the sites whose activation is not zero on the batch; experts may get no token."""
    seen: set[str] = set()
    handles = []
    for key, site in resolve(model).items():

        def look(activation: torch.Tensor, key: str = key) -> None:
            if activation.abs().max() > 0:
                seen.add(key)

        handles.append(site.hook(look))
    logits(model)
    for handle in handles:
        handle.remove()
    return seen


def differences(model: Any, experts_of_layer: int = 2) -> list[str]:
    """The sites at which a hook and the weights disagree, or where a neuron has no effect; empty if all is proven."""
    plain = logits(model)
    floor = 2e-5 * plain.abs().max().item()
    active = reached(model)
    faults: list[str] = []
    counted: dict[str, int] = {}
    for key, site in resolve(model).items():
        if site.expert is not None:
            layer = key.rpartition(".mlp.")[0]
            if key not in active or counted.get(layer, 0) >= experts_of_layer:
                continue
            counted[layer] = counted.get(layer, 0) + 1
        largest = 0.0
        for index in {0, site.width // 2 + 1, site.width - 1}:

            def zero(activation: torch.Tensor, index: int = index) -> torch.Tensor:
                return activation.index_fill(-1, torch.tensor([index]), 0)

            handle = site.hook(zero)
            hooked = logits(model)
            handle.remove()
            for entries in ways(model, site, index):
                with zeroed(entries):
                    expected = logits(model)
                effect = (expected - plain).abs().max().item()
                largest = max(largest, effect)
                error = (hooked - expected).abs().max().item()
                if error > floor + 1e-3 * effect:
                    faults.append(f"{key}[{index}] differs by {error:.2g} of {effect:.2g}")
        if largest < floor / 20:
            faults.append(f"{key} has no effect")
    return faults
