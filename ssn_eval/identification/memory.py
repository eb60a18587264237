"""The memory that the sketch needs for its backward passes, measured on two short sequences and extrapolated to the longest batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.readout import Readout
from ssn_eval.identification.sketch import sketch
from ssn_eval.models.architectures.resolving import num_layers
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Padded
from ssn_eval.models.memory import MARGIN, MemoryNeedError, free, gib

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MEMORY = "memory: "
"""how the line on the memory begins"""
PROBED = 16
"""tokens of the first measured sequence; the second has twice as many"""


@dataclass(frozen=True)
class Activations:
    """Bytes that one sequence keeps: `linear · tokens + square · tokens²` (the square only if attention is not fused)."""

    linear: float
    square: float
    hidden: float
    """bytes of one token's hidden state"""
    layers: int

    def need(self, batch: int, tokens: int, checkpointing: bool) -> float:
        """Bytes of a padded batch; with checkpointing one layer's activations and the states between the layers."""
        whole = batch * (self.linear * tokens + self.square * tokens**2) * MARGIN
        if not checkpointing:
            return whole
        return whole / self.layers + batch * tokens * self.hidden * self.layers * MARGIN


def activations(model: PreTrainedModel, sites: Mapping[str, Site], readout: Readout) -> Activations:
    """Measure what a forward pass keeps, on sequences of 16 and 32 tokens."""
    short, long = (_kept(model, sites, readout, tokens) for tokens in (PROBED, 2 * PROBED))
    square = max(0.0, (long - 2 * short) / (2 * PROBED**2))
    embedding: Any = model.get_input_embeddings()
    hidden = int(getattr(model.config.get_text_config(), "hidden_size", None) or embedding.weight.shape[-1])
    return Activations(short / PROBED - square * PROBED, square, hidden * model.dtype.itemsize, num_layers(model))


def fit(
    model: PreTrainedModel,
    sites: Mapping[str, Site],
    lengths: Sequence[int],
    settings: ScoreParams,
    say: Callable[[str], None],
) -> ScoreParams:
    """Say what the run needs; turn checkpointing on if the run then fits; refuse the run if it does not fit at all.

    Args:
        model: the loaded model.
        sites: what is scored.
        lengths: tokens of every prompt.
        settings: of the run; only the sketch keeps activations.
        say: gets the estimate in one line.

    Raises:
        MemoryNeedError: names the batch size that would fit.
    """
    if settings.method != "sketch":
        return settings
    footprint = activations(model, sites, Readout(settings.position, settings.target))
    devices = {p.device for p in model.parameters()}
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    available, longest, batch = free(devices), max(lengths), min(settings.batch_size, len(lengths))
    fitting = settings
    if not fitting.checkpointing and footprint.need(batch, longest, False) > available:
        fitting = replace(settings, checkpointing=True)
    need = footprint.need(batch, longest, fitting.checkpointing)
    say(
        f"{MEMORY}{gib(weights)} of weights are loaded; a batch of {batch} × {longest} tokens keeps about {gib(need)}"
        f"{' with checkpointing' if fitting.checkpointing else ''}; {gib(available)} free"
    )
    if need > available:
        fitting_batch = next((n for n in range(batch - 1, 0, -1) if footprint.need(n, longest, True) <= available), 0)
        advice = (
            f"set the batch size to {fitting_batch}"
            if fitting_batch
            else "use shorter prompts, a smaller dtype or a larger device"
        )
        raise MemoryNeedError(
            f"A batch of {batch} × {longest} tokens needs about {gib(need)} even with checkpointing, and {gib(available)} are free; {advice}."
        )
    return fitting


def _kept(model: PreTrainedModel, sites: Mapping[str, Site], readout: Readout, tokens: int) -> float:
    """Bytes of the distinct tensors that a forward pass keeps, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    tensors: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        tensors[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address is used twice
        return tensor

    def tapped(activation: torch.Tensor) -> None:
        note(activation)  # the sketch keeps it, where nothing else may: the weights need no gradient

    handles = [site.hook(tapped) for site in sites.values()]
    batch = Padded([[0] * tokens], [(tokens - 1, tokens)], model.device)([0])
    quiet = {"probes": 1, "seed": 0, "checkpointing": False, "advance": lambda _steps=1: None}
    try:
        with (
            sketch(model, sites, readout, **quiet),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        ):
            readout.read(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return float(sum(t.untyped_storage().nbytes() for pointer, t in tensors.items() if pointer not in weights))
