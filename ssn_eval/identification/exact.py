"""The definition itself: one forward pass per neuron and prompt, many ablated copies to a batch (METHOD.md, section 1).

The layers below the ablated one are computed once for each prompt and then skipped, where a layer depends on the layers below it
by its hidden state alone. Of an architecture that the table does not know, this is tried first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ssn_eval.core.neurons import parse_key
from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.readout import Readout
from ssn_eval.models.architectures.resolving import decoder_layers, found_of
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

COPIES = 256
"""ablated copies of one prompt in one forward pass"""


@contextmanager
def exact(
    model: PreTrainedModel,
    sites: Mapping[str, Site],
    readout: Readout,
    *,
    neurons: Mapping[str, Sequence[int]] | None,
    advance: Advance,
    copies: int = COPIES,
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch, which measures by ablation.

    Args:
        model: a causal language model in eval mode.
        sites: what is scored, by site key.
        readout: where importance is measured.
        neurons: site key → indices, to measure only those; the others stay 0.
        advance: gets the finished part of each prompt.
        copies: ablated copies in one forward pass.
    """
    indices_by_key = {key: list(range(site.width)) for key, site in sites.items()} if neurons is None else neurons
    layers = decoder_layers(model)
    total = sum(map(len, indices_by_key.values()))
    skips = True if found_of(model).origin == "table" else None

    def scorer(batch: Batch) -> PerPrompt:
        nonlocal skips
        distances = {key: np.zeros((len(batch.rows), site.width), dtype=np.float32) for key, site in sites.items()}
        with torch.no_grad():
            for row in range(len(batch.rows)):
                single = _row(batch, row)
                plain = _trace(model, layers, single, readout)
                if skips is None:
                    skips = _can_skip(model, layers, single, readout, plain)
                for key, indices in indices_by_key.items():
                    layer, _ = parse_key(key)
                    for start in range(0, len(indices), copies):
                        chunk = list(indices[start : start + copies])
                        with _zeroed(sites[key], chunk), _skipped(layers, layer if skips else 0, plain):
                            outputs, _ = readout.read(model, _repeat(single, len(chunk)))
                        moved = (outputs.view(len(chunk), *plain.y.shape) - plain.y).float().norm(dim=-1)
                        distances[key][row, chunk] = moved.pow(2).mean(1).sqrt().cpu().numpy()
                        advance(len(chunk) / total)
        return distances

    yield scorer


def _row(batch: Batch, row: int) -> Batch:
    """One prompt of a batch, without its padding."""
    length = int(batch.attention_mask[row].sum())
    ids, mask = (t[row : row + 1, :length] for t in (batch.input_ids, batch.attention_mask))
    return Batch([batch.rows[row]], ids, mask, [batch.spans[row]])


def _repeat(batch: Batch, n: int) -> Batch:
    ids, mask = (t.expand(n, *t.shape[1:]) for t in (batch.input_ids, batch.attention_mask))
    return Batch(batch.rows * n, ids, mask, batch.spans * n)


class _Trace(NamedTuple):
    """One plain pass of a single prompt."""

    states: list[torch.Tensor | None]
    """the hidden state entering each layer, (1, time, hidden); None where a layer gets it in another form or is not called"""
    y: torch.Tensor
    """(tokens, width)"""
    tuples: bool
    """whether layers answer `(hidden_states, …)`, as in older transformers, and not the hidden states alone"""


def _can_skip(
    model: PreTrainedModel, layers: Sequence[nn.Module], batch: Batch, readout: Readout, plain: _Trace
) -> bool:
    """Whether a pass in which all layers but one are skipped gives the same output, for three layers in turn."""
    if any(state is None for state in plain.states):
        return False
    for first in {1, len(layers) // 2, len(layers) - 1} - {0}:
        try:
            with _skipped(layers, min(first, len(layers) - 1), plain):
                y, _ = readout.read(model, batch)
        except Exception:  # noqa: BLE001  # the model's own forward function runs with layers that do nothing
            return False
        if not torch.allclose(y, plain.y, rtol=1e-4, atol=1e-5 * float(plain.y.abs().max())):
            return False
    return True


def _trace(model: PreTrainedModel, layers: Sequence[nn.Module], batch: Batch, readout: Readout) -> _Trace:
    states: list[torch.Tensor | None] = [None] * len(layers)
    kinds: set[bool] = set()

    def keep(index: int) -> Callable[..., None]:
        def note(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            state = args[0] if args else kwargs.get("hidden_states")
            states[index] = state if torch.is_tensor(state) and state.ndim == 3 and state.shape[0] == 1 else None

        return note

    handles = [layer.register_forward_pre_hook(keep(i), with_kwargs=True) for i, layer in enumerate(layers)]
    handles.append(layers[0].register_forward_hook(lambda _m, _i, out: kinds.add(isinstance(out, tuple))))
    try:
        y, _ = readout.read(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return _Trace(states, y, kinds == {True})


@contextmanager
def _zeroed(site: Site, indices: Sequence[int]) -> Iterator[None]:
    """In the body, neuron `indices[r]` is zero at every position of row r of the batch."""
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
def _skipped(layers: Sequence[nn.Module], first: int, plain: _Trace) -> Iterator[None]:
    """In the body, layers below `first` are not computed; layer `first` receives the stored state, once for each copy."""
    # another tool's forward (accelerate's) lies on the instance, too, and comes back
    before = [(layer, vars(layer).get("forward")) for layer in layers[:first]]
    state = plain.states[first]
    if state is None or not first:
        yield
        return

    def enter(
        _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden = args[0] if args else kwargs["hidden_states"]
        stored = state.expand(hidden.shape[0], *state.shape[1:])
        return ((stored, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": stored})

    handle = layers[first].register_forward_pre_hook(enter, with_kwargs=True)
    for layer, _ in before:
        layer.forward = _pass_through_in_a_tuple if plain.tuples else _pass_through  # type: ignore[method-assign]
    try:
        yield
    finally:
        handle.remove()
        for layer, forward in before:
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


def _pass_through(hidden_states: torch.Tensor, *_args: object, **_kwargs: object) -> torch.Tensor:
    return hidden_states


def _pass_through_in_a_tuple(hidden_states: torch.Tensor, *_args: object, **_kwargs: object) -> tuple[torch.Tensor]:
    return (hidden_states,)
