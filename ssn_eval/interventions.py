"""Change what chosen neurons say: suppress them (zero) or scale them, at every position, while a `with` block runs.

`intervene` resolves every site before it touches anything, and takes its hooks away even after an exception. `bake`
writes the same change into plain weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssn_eval.errors import EmptySetError, ParamsError, UnknownNameError
from ssn_eval.neurons import NeuronSet, parse_key

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ssn_eval.architectures import Handle, Site


@dataclass(frozen=True)
class Op:
    """What happens to a neuron's activation: it is multiplied by `factor`."""

    factor: float

    def __str__(self) -> str:
        return {0.0: "suppress", 1.0: "none"}.get(self.factor, f"scale:{self.factor:g}")


SUPPRESS = Op(0.0)
NONE = Op(1.0)


def parse_op(text: str | None) -> Op:
    """Read `suppress`, `none` or `scale:<number>`.

    Raises:
        UnknownNameError: another word.
        ParamsError: the number is not finite.
    """
    if text is None or text == "none":
        return NONE
    if text == "suppress":
        return SUPPRESS
    name, _, number = str(text).partition(":")
    if name != "scale":
        raise UnknownNameError("op", text, ["suppress", "scale:2", "none"])
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not math.isfinite(factor):
        raise ParamsError(f"The op {text!r} needs a finite number after the colon, for example scale:2.")
    return Op(factor)


@contextmanager
def intervene(model: PreTrainedModel, neurons: NeuronSet, op: Op) -> Iterator[None]:
    """Multiply the activations of `neurons` by `op.factor` at every position, prompt and generated, inside the block.

    Works on plain and PEFT-wrapped models: load the adapter first.

    Raises:
        EmptySetError: the set is empty.
        MismatchError: a neuron lies outside the model.
        ArchitectureError: the model's sites are not known.
    """
    handles = attach(model, neurons, op)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach(model: PreTrainedModel, neurons: NeuronSet, op: Op) -> list[Handle]:
    """As `intervene`, but for good: returns the hooks' handles, which the caller removes or keeps."""
    from ssn_eval.architectures import geometry, resolve

    if not neurons:
        raise EmptySetError(f"The neuron set to {op} is empty; use a larger p, or op=none for the unchanged model.")
    geometry(model).check(neurons)
    if op == NONE:
        return []
    sites = resolve(model)
    return [_hook(sites[key], indices, op.factor) for key, indices in neurons.by_key().items()]


def bake(model: PreTrainedModel, neurons: NeuronSet, op: Op) -> None:
    """Write the intervention into the model's own weights, in place: rows (with biases) of Q/K/V, columns of O and down.

    The result needs no hook: any server runs it. Logits equal those under `intervene` up to rounding.

    Raises:
        as `attach`.
    """
    import torch

    from ssn_eval.architectures import geometry, resolve

    if not neurons:
        raise EmptySetError(f"The neuron set to {op} is empty; nothing to bake.")
    geometry(model).check(neurons)
    sites = resolve(model)
    with torch.no_grad():
        for key, indices in neurons.by_key().items():
            sites[key].scale_weights(indices, op.factor)


def describe(neurons: NeuronSet, op: Op) -> dict[str, object]:
    """What an artefact records of an intervention: the op, the size, and the layers it touches."""
    layers = sorted({parse_key(key)[0] for key in neurons.by_key()})
    return {"op": str(op), "neurons": len(neurons), "layers": layers, "per_site": dict(neurons.per_site())}


def _hook(site: Site, indices: list[int], factor: float) -> Handle:
    import torch

    scale = torch.ones(site.width)
    scale[indices] = factor
    on_device: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def scaled(x: torch.Tensor) -> torch.Tensor:
        place = (x.device, x.dtype)
        if place not in on_device:
            on_device[place] = scale.to(*place)
        return x * on_device[place]

    return site.hook(scaled)
