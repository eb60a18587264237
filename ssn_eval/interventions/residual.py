"""The residual stream of a loaded model: find the refusal direction, ablate it, add it (`directions.py` defines both)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.origin import versions
from ssn_eval.core.progress import progress
from ssn_eval.interventions.directions import Direction, DirectionOp
from ssn_eval.models.architectures.resolving import decoder, decoder_layers
from ssn_eval.models.batches import Padded, cut
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.encoding import context_length, encode
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ssn_eval.models.architectures.hooking import Handle

DEEPEST = 0.8
"""the share of the layers among which the direction's layer is chosen: later ones lie close to the output words"""


def find(
    loaded: Loaded,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    *,
    layer: int | None = None,
    batch_size: int = 8,
) -> Direction:
    """Measure the direction of a model.

    Args:
        loaded: the model, its tokenizer and identity.
        harmful: prompts that the model should refuse, of one language; two or more.
        harmless: ordinary prompts of the same language; two or more.
        layer: the layer whose difference is used; by default the one whose direction, from every other prompt, separates the remaining
            prompts best (Cohen's d of their projections), among the first 80 % of the layers.
        batch_size: prompts in one forward pass.

    Raises:
        EmptySetError: a label has fewer than two prompts.
        ParamsError: there is no such layer.
    """
    if min(len(harmful), len(harmless)) < 2:
        raise EmptySetError("A direction needs two harmful and two harmless prompts or more.")
    states = [stream(loaded, prompts, batch_size) for prompts in (harmful, harmless)]
    layers = states[0].shape[1]
    if layer is not None and not 0 <= layer < layers:
        raise ParamsError(f"Layer {layer} was asked for, and this model has the layers 0 to {layers - 1}.")
    separations = separation(*states)
    best = int(np.argmax(separations[: max(1, int(DEEPEST * layers))]))
    text = "\n".join(p.prompt for p in (*harmful, *harmless))
    provenance = {
        "lang": harmful[0].lang,
        "harmful": len(harmful),
        "harmless": len(harmless),
        "separation": [round(float(value), 4) for value in separations],
        "prompts_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "template": loaded.template.to_json(),
        "versions": versions(),
    }
    differences = (states[0].mean(0) - states[1].mean(0)).astype(np.float32)
    return Direction(differences, best if layer is None else layer, loaded.ref, provenance)


def separation(harmful: np.ndarray, harmless: np.ndarray) -> np.ndarray:
    """Cohen's d, for each layer, of the projections of one half of the prompts on the direction of the other half.

    Args:
        harmful: the residual stream, (prompts, layers, hidden).
        harmless: likewise.

    Returns:
        (layers,)
    """
    directions = harmful[::2].mean(0) - harmless[::2].mean(0)
    a, b = (np.einsum("plh,lh->pl", states[1::2], directions) for states in (harmful, harmless))
    squares = ((a - a.mean(0)) ** 2).sum(0) + ((b - b.mean(0)) ** 2).sum(0)
    deviation = np.sqrt(squares / max(len(a) + len(b) - 2, 1))
    difference = a.mean(0) - b.mean(0)
    return np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 0)


def stream(loaded: Loaded, prompts: Sequence[Prompt], batch_size: int) -> np.ndarray:
    """The residual stream behind every layer at the last token of each prompt, (prompts, layers, hidden), float64."""
    model = loaded.model
    ids = encode(loaded.tokenizer, [p.prompt for p in prompts], context_length(model)).ids
    padded = Padded(ids, [(len(i) - 1, len(i)) for i in ids], model.device)
    layers = decoder_layers(model)
    states: list[Any] = [None] * len(layers)
    handles = [layer.register_forward_hook(_Keep(states, n)) for n, layer in enumerate(layers)]
    rows_by_prompt: list[np.ndarray] = [np.empty(0)] * len(ids)
    try:
        with torch.no_grad(), progress("reading the residual stream", len(ids)) as advance:
            for rows in cut(range(len(ids)), padded.lengths, batch_size):
                batch = padded(rows)
                decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
                for at, (row, (last, _)) in enumerate(zip(rows, batch.spans, strict=True)):
                    at_last = torch.stack([state[at, last].float().cpu() for state in states])
                    rows_by_prompt[row] = at_last.double().numpy()
                advance(len(rows))
    finally:
        for handle in handles:
            handle.remove()
    return np.stack(rows_by_prompt)


class _Keep:
    """A hook that keeps a layer's output."""

    def __init__(self, states: list[Any], at: int) -> None:
        self._states, self._at = states, at

    def __call__(self, _module: object, _args: object, output: Any) -> None:
        self._states[self._at] = output[0] if isinstance(output, tuple) else output


@contextmanager
def direct(model: PreTrainedModel, direction: Direction, op: DirectionOp) -> Iterator[None]:
    """Do `op` inside the block, in every forward pass and at every token.

    Raises:
        MismatchError: the model has another number of layers or another width.
    """
    handles = attach(model, direction, op)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach(model: PreTrainedModel, direction: Direction, op: DirectionOp) -> list[Handle]:
    """As `direct`, without an end: returns the hooks' handles."""
    layers = decoder_layers(model)
    embedding: Any = model.get_input_embeddings()
    shape = (len(layers), int(embedding.weight.shape[-1]))
    if direction.differences.shape != shape:
        raise MismatchError(
            f"The direction was found on {direction.model.id} with {direction.differences.shape[0]} layers of width "
            f"{direction.differences.shape[1]}, and this model has {shape[0]} of width {shape[1]}; find one on this model."
        )
    difference = torch.from_numpy(direction.difference.astype(np.float32))
    if op.strength is not None:
        return [layers[direction.layer].register_forward_hook(_Change(_Add(op.strength * difference)))]
    change = _Change(_Ablate(difference / difference.norm()))
    return [module.register_forward_hook(change) for module in (embedding, *layers)]


class _Add:
    """`x + vector`."""

    def __init__(self, vector: torch.Tensor) -> None:
        self._vector = vector

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x + self._vector.to(x)


class _Ablate:
    """`x − (x · unit) unit`; computed in float32, because in bfloat16 a rest of the direction would stay."""

    def __init__(self, unit: torch.Tensor) -> None:
        self._unit = unit

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        wide, unit = x.float(), self._unit.to(x.device)
        return (wide - (wide @ unit)[..., None] * unit).to(x.dtype)


class _Change:
    """A forward hook that changes a module's output, or the first part of it."""

    def __init__(self, change: _Add | _Ablate) -> None:
        self._change = change

    def __call__(self, _module: object, _args: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self._change(output[0]), *output[1:])
        return self._change(output)
