r"""How far a second model's neurons differ on the same tokens: which neurons did training move? (THU-KEG SafetyNeuron, NeurIPS 2025).

The value of a neuron for a prompt is `sqrt(mean_{t in T} (a_{t,N} − a'_{t,N})²)`, a and a' being its activations in the two models and T the tokens that
are read (`position`); the source reads the tokens of a response. The second model must have the same architecture and shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.core.errors import MismatchError, ParamsError
from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.watching import watching
from ssn_eval.models.architectures.resolving import decoder, resolve
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def model_diff(
    model: PreTrainedModel, sites: Mapping[str, Site], other: PreTrainedModel | None, *, advance: Advance
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch, `(batch, width)`, float32.

    Raises:
        ParamsError: there is no second model.
        MismatchError: it has another shape.
    """
    if other is None:
        raise ParamsError(
            "method=model_diff compares two models, and one was given; name the second one: ssn identify --against MODEL."
        )
    others = {key: site for key, site in resolve(other).items() if key in sites}
    if {k: s.width for k, s in others.items()} != {k: s.width for k, s in sites.items()}:
        raise MismatchError(
            "The two models have neurons of other numbers or places; give two models of one architecture and size."
        )
    own_now: dict[str, torch.Tensor] = {}
    other_now: dict[str, torch.Tensor] = {}

    def scorer(batch: Batch) -> PerPrompt:
        for which, current in ((model, own_now), (other, other_now)):
            current.clear()  # an expert that no token reaches is not called: its activation is 0
            place = which.device
            with torch.no_grad():
                decoder(which)(
                    input_ids=batch.input_ids.to(place),
                    attention_mask=batch.attention_mask.to(place),
                    use_cache=False,
                )
        values = {
            key: _differences(own_now.get(key), other_now.get(key), batch.spans, site.width)
            for key, site in sites.items()
        }
        advance(len(batch.rows))
        return values

    with watching(sites, own_now), watching(others, other_now):
        yield scorer


def _differences(
    own: torch.Tensor | None, other: torch.Tensor | None, spans: list[tuple[int, int]], width: int
) -> np.ndarray:
    """Two activations, (batch, time, width), or None where no token came → the root mean square of their difference, (batch, width)."""
    rows = []
    for row, (first, end) in enumerate(spans):
        one, two = (
            torch.zeros(end - first, width) if part is None else part[row, first:end].float().cpu()
            for part in (own, other)
        )
        rows.append((one - two).pow(2).mean(0).sqrt())
    return torch.stack(rows).numpy()
