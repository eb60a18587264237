"""The Jacobian sketch: the importance of every neuron from a few backward passes (METHOD.md, section 2).

To first order, zeroing neuron N changes `z` by `Δz ≈ −Σ_t J_{t,N} a_{t,N}`. For a probe `v ~ N(0, I)`, `(v·Δz)²` has the
expectation `‖Δz‖²`, and `v·J` for all neurons at once is one backward pass of `v·z`. So, with m probes,
`Î(N, x) = sqrt((1/m) Σ_j (Σ_t g^(j)_{t,N} a_{t,N})²)`, `g^(j) = ∂(v_j·z)/∂a`.

Each gradient is reduced over time inside a tensor hook, so memory stays that of one backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.architectures import Site, resolve
from ssn_eval.importance.batches import batches, last_states
from ssn_eval.progress import progress
from ssn_eval.store import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def sketch(
    model: PreTrainedModel,
    inputs: Sequence[Sequence[int]],
    *,
    sites: Sequence[str],
    probes: int,
    batch_size: int,
    seed: int,
) -> Scores:
    """Estimate `I(N, D)` for every neuron of the sites; arguments as in `ssn_eval.importance.score`."""
    found = resolve(model, sites)
    totals = {key: torch.zeros(site.width, dtype=torch.float64) for key, site in found.items()}
    with progress("scoring neurons", len(inputs)) as advance, _input_gradients_only(model):
        for batch in batches(inputs, batch_size, model.device):
            with _reduced_gradients(found) as dots, torch.enable_grad():
                z = last_states(model, batch)
                squares = {key: torch.zeros(len(batch.rows), site.width) for key, site in found.items()}
                vectors = _probes(batch.rows, probes, z.shape[-1], seed).to(z)
                for j in range(probes):
                    z.backward(vectors[:, j], retain_graph=j < probes - 1)
                    for key, dot in dots.items():
                        squares[key] += dot.pow(2).cpu()
            for key, square in squares.items():
                totals[key] += (square / probes).sqrt().double().sum(0)
            advance(len(batch.rows))
    return {key: (total / len(inputs)).to(torch.float32).numpy() for key, total in totals.items()}


def _probes(rows: Sequence[int], probes: int, width: int, seed: int) -> torch.Tensor:
    """Probe vectors, (batch, probes, hidden): one stream per prompt, so that batching does not change them."""
    streams = (np.random.default_rng((seed, row)) for row in rows)
    return torch.from_numpy(np.stack([s.standard_normal((probes, width)) for s in streams]))


@contextmanager
def _reduced_gradients(sites: dict[str, Site]) -> Iterator[dict[str, torch.Tensor]]:
    """While open, every backward pass puts `Σ_t g_{t,N} a_{t,N}` of each site here, (batch, width), float32."""
    dots: dict[str, torch.Tensor] = {}

    def watch(activation: torch.Tensor, key: str) -> torch.Tensor:
        value = activation.detach()

        def reduce(gradient: torch.Tensor) -> None:
            dots[key] = (gradient.float() * value.float()).sum(1)

        activation.register_hook(reduce)
        return activation  # a part of a fused tensor has to lie on the way to z to receive its gradient

    handles = [site.hook(partial(watch, key=key)) for key, site in sites.items()]
    try:
        yield dots
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _input_gradients_only(model: PreTrainedModel) -> Iterator[None]:
    """Differentiate with respect to the embeddings alone: no gradient is computed or kept for any weight."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(False)
    handle = model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: out.requires_grad_(True))
    try:
        yield
    finally:
        handle.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
