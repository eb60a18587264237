"""The activation of every neuron, by one forward pass: what selection by activation starts from. Signed.

The value of a neuron for one prompt is its activation, averaged over the tokens that are read (`position`): `a_N = mean_{t in T} a_{t,N}`.
The rules `effect_size` and `shift` (SafeNeuron, arXiv 2602.12158) and `activation_gap` (contrastive neuron attribution, arXiv 2605.12290)
compare it between harmful and harmless prompts. Both papers look at MLP neurons; every site is scored here. A query or key is
the projection itself, in front of its norm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.watching import watching
from ssn_eval.models.architectures.resolving import decoder
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def activation(
    model: PreTrainedModel, sites: Mapping[str, Site], *, advance: Advance
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch: the mean activation over the tokens of each prompt's span, `(batch, width)`, float32."""
    current: dict[str, torch.Tensor] = {}

    def scorer(batch: Batch) -> PerPrompt:
        current.clear()  # an expert that no token reaches is not called: its activation is 0
        with torch.no_grad():
            decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
        zeros = {key: np.zeros((len(batch.rows), site.width), dtype=np.float32) for key, site in sites.items()}
        advance(len(batch.rows))
        return zeros | {key: _means(values, batch.spans) for key, values in current.items()}

    with watching(sites, current):
        yield scorer


def _means(values: torch.Tensor, spans: list[tuple[int, int]]) -> np.ndarray:
    """(batch, time, width) → the mean over each row's span, (batch, width)."""
    rows = [values[row, first:end].float().mean(0) for row, (first, end) in enumerate(spans)]
    return torch.stack(rows).cpu().numpy()
