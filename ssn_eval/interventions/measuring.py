"""Measure a reference set: the mean and percentiles of every neuron's activation over all tokens of given prompts.

Every real token counts once, pads do not. For an expert, only the tokens that are routed to it count. Percentiles are exact: all
values of some sites are kept at a time, as many as a budget of memory allows, and the prompts are read again for the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ssn_eval.core.errors import EmptySetError, FormatError
from ssn_eval.core.neurons import SITES, Geometry, NeuronSet
from ssn_eval.core.origin import versions
from ssn_eval.core.progress import progress
from ssn_eval.interventions.reference import PERCENTILES, Activations, Reference
from ssn_eval.models.architectures.resolving import decoder, resolve
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Padded, cut
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.encoding import context_length, encode, subsample
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

BUDGET = 1 << 30
"""bytes of activations that are kept at once"""


def measure(
    model: PreTrainedModel,
    inputs: Sequence[Sequence[int]],
    *,
    sites: Sequence[str] = SITES,
    neurons: NeuronSet | None = None,
    batch_size: int = 8,
    budget: int = BUDGET,
) -> dict[str, Activations]:
    """The activations of all neurons of the sites, or of some neurons, on prompts given as token ids.

    Returns:
        One entry a site key; an expert that no token is routed to has none.

    Raises:
        EmptySetError: no prompt, or no neuron.
        MismatchError: a neuron lies outside the model.
        FormatError: an activation is NaN or infinite.
    """
    site_by_key = resolve(model, sites)
    shape = Geometry({key: site.width for key, site in site_by_key.items()})
    if neurons is not None:
        shape.check(neurons)
    indices_by_key = (
        neurons.by_key() if neurons is not None else {key: list(range(width)) for key, width in shape.widths.items()}
    )
    if not inputs or not indices_by_key:
        raise EmptySetError(f"No {'neuron' if inputs else 'prompt'} to measure the activations of.")
    groups = _groups(indices_by_key, 4 * sum(map(len, inputs)), budget)
    activations: dict[str, Activations] = {}
    with progress("measuring activations", len(groups) * len(inputs)) as advance:
        for keys in groups:
            recorders = [_Kept(site_by_key[key], indices_by_key[key]) for key in keys]
            _read(model, inputs, recorders, batch_size, advance)
            activations |= {
                key: recorder.summary() for key, recorder in zip(keys, recorders, strict=True) if recorder.rows
            }
    return activations


def reference(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    *,
    sites: Sequence[str] = SITES,
    neurons: NeuronSet | None = None,
    batch_size: int = 8,
    limit: int | None = None,
    seed: int = 0,
) -> Reference:
    """Measure the activations of a model on prompts of one language and label.

    Args:
        loaded: the model, its tokenizer and identity.
        prompts: of one language and label.
        sites: the sites that are measured.
        neurons: only these neurons.
        batch_size: prompts in one forward pass.
        limit: the largest number of prompts, drawn at random.
        seed: of that draw.

    Raises:
        EmptySetError, MismatchError, FormatError: as `measure`.
    """
    drawn = subsample(prompts, limit, seed)
    if not drawn:
        raise EmptySetError("No prompt to measure the activations of.")
    encoded = encode(loaded.tokenizer, [p.prompt for p in drawn], context_length(loaded.model))
    activations = measure(loaded.model, encoded.ids, sites=sites, neurons=neurons, batch_size=batch_size)
    provenance = {
        "lang": drawn[0].lang,
        "label": drawn[0].label,
        "prompts": len(drawn),
        "tokens": sum(map(len, encoded.ids)),
        "truncated": encoded.truncated,
        "template": loaded.template.to_json(),
        "neurons": sum(len(site.index) for site in activations.values()),
        "prompts_sha256": hashlib.sha256("\n".join(p.prompt for p in drawn).encode()).hexdigest(),
        "seed": seed if limit else None,
        "versions": versions(),
    }
    return Reference(activations, loaded.ref, provenance)


@dataclass
class _Kept:
    """Records the activations of one site."""

    site: Site
    index: list[int]
    mask: torch.Tensor | None = None
    rows: list[np.ndarray] = field(default_factory=list)
    """of every pass, (tokens, n), float32"""

    def __call__(self, activation: torch.Tensor, /) -> None:
        """Keep the real tokens of a pass, (batch, time, width)."""
        assert self.mask is not None
        values = activation[self.mask.to(activation.device)]
        if self.site.expert is not None:
            values = values[(values != 0).any(-1)]
        if len(values):
            self.rows.append(values[:, self.index].float().cpu().numpy())

    def summary(self) -> Activations:
        """Mean and percentiles of the recorded values."""
        values = np.concatenate(self.rows)
        if not np.isfinite(values).all():
            raise FormatError(f"The activations of {self.site.key} are NaN or infinite; load the model in float32.")
        levels = np.percentile(values, np.linspace(0, 100, PERCENTILES), axis=0)
        mean = values.mean(0, dtype=np.float64)
        return Activations(np.asarray(self.index, np.int64), mean.astype(np.float32), levels.astype(np.float32))


def _read(model: PreTrainedModel, inputs, recorders: Sequence[_Kept], batch_size: int, advance) -> None:
    import torch

    padded = Padded(inputs, [(0, len(ids)) for ids in inputs], model.device)
    handles = [recorder.site.hook(recorder) for recorder in recorders]
    try:
        with torch.no_grad():
            for rows in cut(range(len(inputs)), padded.lengths, batch_size):
                batch = padded(rows)
                for recorder in recorders:
                    recorder.mask = batch.attention_mask.bool()
                decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
                advance(len(rows))
    finally:
        for handle in handles:
            handle.remove()


def _groups(indices_by_key: dict[str, list[int]], bytes_a_neuron: int, budget: int) -> list[list[str]]:
    """Sites whose values fit into the budget together; a single one that does not fit stands alone."""
    groups: list[list[str]] = []
    room = 0
    for key, indices in indices_by_key.items():
        need = bytes_a_neuron * len(indices)
        if not groups or need > room:
            groups.append([])
            room = budget
        groups[-1].append(key)
        room -= need
    return groups
