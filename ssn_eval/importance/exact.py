"""The definition itself: one forward pass per neuron and prompt, many ablated copies to a batch (METHOD.md, section 1).

Layers below the ablated one are computed once per prompt and then passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from ssn_eval.architectures import Site, decoder_layers, resolve
from ssn_eval.importance.batches import Batch, batches, last_states
from ssn_eval.neurons import parse_key
from ssn_eval.progress import progress
from ssn_eval.store import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COPIES = 256
"""ablated copies of one prompt in one forward pass"""


def exact(
    model: PreTrainedModel,
    inputs: Sequence[Sequence[int]],
    *,
    sites: Sequence[str],
    neurons: Mapping[str, Sequence[int]] | None = None,
    copies: int = COPIES,
) -> Scores:
    """Measure `I(N, D)` by ablation.

    Args:
        model: a causal language model in eval mode.
        inputs: token ids, one sequence a prompt.
        sites: which sites to score.
        neurons: site key → indices, to measure only those; the others are left out of the answer's keys or stay 0.
        copies: ablated copies to a batch.
    """
    found = resolve(model, sites)
    wanted = (
        {k: list(range(s.width)) for k, s in found.items()}
        if neurons is None
        else {k: list(v) for k, v in neurons.items()}
    )
    layers = decoder_layers(model)
    totals = {key: torch.zeros(found[key].width, dtype=torch.float64) for key in wanted}
    work = len(inputs) * sum(map(len, wanted.values()))
    with torch.no_grad(), progress("ablating neurons", work) as advance:
        for batch in batches(inputs, 1, model.device):
            states, z, tuples = _trace(model, layers, batch)
            for key, indices in wanted.items():
                layer, _ = parse_key(key)
                for start in range(0, len(indices), copies):
                    chunk = indices[start : start + copies]
                    with _zeroed(found[key], chunk), _skipped(layers, layer, states[layer], tuples):
                        changed = last_states(model, _repeat(batch, len(chunk)))
                    totals[key][chunk] += (changed - z).float().norm(dim=-1).double().cpu()
                    advance(len(chunk))
    return {key: (total / len(inputs)).to(torch.float32).numpy() for key, total in totals.items()}


def _repeat(batch: Batch, n: int) -> Batch:
    return Batch(batch.rows * n, *(t.expand(n, *t.shape[1:]) for t in batch[1:]))


class _Trace(NamedTuple):
    """One plain pass of a single prompt."""

    states: list[torch.Tensor]
    """the hidden state entering each layer, (1, time, hidden)"""
    z: torch.Tensor
    """(1, hidden)"""
    tuples: bool
    """whether layers answer `(hidden_states, …)`, as in older transformers, and not the hidden states alone"""


def _trace(model: PreTrainedModel, layers: Sequence[nn.Module], batch: Batch) -> _Trace:
    states: list[torch.Tensor] = []
    kinds: set[bool] = set()
    handles = [
        layer.register_forward_pre_hook(
            lambda _m, args, kwargs: states.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
        for layer in layers
    ]
    handles.append(layers[0].register_forward_hook(lambda _m, _i, out: kinds.add(isinstance(out, tuple))))
    try:
        z = last_states(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return _Trace(states, z, kinds == {True})


@contextmanager
def _zeroed(site: Site, indices: Sequence[int]) -> Iterator[None]:
    """In row r of the batch, neuron `indices[r]` is zero at every position."""
    mask = torch.ones(len(indices), 1, site.width)
    mask[torch.arange(len(indices)), 0, list(indices)] = 0

    def zero(x: torch.Tensor) -> torch.Tensor:
        return x * mask.to(x)

    handle = site.hook(zero)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _skipped(layers: Sequence[nn.Module], first: int, state: torch.Tensor, tuples: bool) -> Iterator[None]:
    """Layers below `first` are not computed; layer `first` receives the known `state`, once per copy."""
    # another tool's forward (accelerate's) lies on the instance, too, and comes back
    before = [(layer, vars(layer).get("forward")) for layer in layers[:first]]

    def enter(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = args[0] if args else kwargs["hidden_states"]
        known = state.expand(given.shape[0], *state.shape[1:])
        return ((known, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": known})

    handle = layers[first].register_forward_pre_hook(enter, with_kwargs=True)
    for layer, _ in before:
        layer.forward = _pass_through_in_a_tuple if tuples else _pass_through  # type: ignore[method-assign]
    try:
        yield
    finally:
        handle.remove()
        for layer, own in before:
            if own is None:
                del layer.forward
            else:
                layer.forward = own


def _pass_through(hidden_states: torch.Tensor, *_args: object, **_kwargs: object) -> torch.Tensor:
    return hidden_states


def _pass_through_in_a_tuple(hidden_states: torch.Tensor, *_args: object, **_kwargs: object) -> tuple[torch.Tensor]:
    return (hidden_states,)
