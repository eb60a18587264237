"""The layer-local closed forms, for comparison: how much the output of the neuron's own module changes.

Public code that avoids ablation falls back on them (SN-Tune, PLND). For each prompt, with a the neuron's activation over the
prompt's tokens:

| site | closed form |
|---|---|
| `o_proj`, `mlp` | `‖a_N‖₂ · ‖W[:, N]‖₂`: the Frobenius norm of the change of the module's output |
| `v_proj` | `‖A v_N‖₂` over the heads that read the value: the change of what attention hands to `o_proj` |
| `q_proj`, `k_proj` | `‖softmax(S − Δ_N) − softmax(S)‖₂`, `S = q kᵀ/√d` masked causally, `Δ_N = q_N k_Nᵀ/√d`: the change of the attention weights |

As in the public code, q and k are the projections themselves: position embeddings and q/k norms are left out, and so is the
sliding window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.core.neurons import parse_key, site_key
from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.readout import Readout
from ssn_eval.identification.watching import watching
from ssn_eval.models.architectures.resolving import resolve
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ATTENDING = ("q_proj", "k_proj", "v_proj")


@contextmanager
def local(
    model: PreTrainedModel, sites: Mapping[str, Site], readout: Readout, *, advance: Advance
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch. `readout` only decides which part of a sequence the model sees."""
    watched = {key: site for key, site in resolve(model).items() if key in sites or parse_key(key)[1] in _ATTENDING}
    columns = {key: site.weight().detach().float().norm(dim=0) for key, site in sites.items() if site.side == "input"}
    current: dict[str, torch.Tensor] = {}
    heads = int(model.config.get_text_config().num_attention_heads)

    def scorer(batch: Batch) -> PerPrompt:
        current.clear()  # an expert that no token reaches is not called, and has no importance
        with torch.no_grad():
            readout.read(model, batch)
            lengths = batch.attention_mask.sum(1).tolist()
            scores = {
                key: _of_site(key, current, columns, lengths, heads).cpu().numpy()
                if key in current
                else np.zeros((len(lengths), site.width), dtype=np.float32)
                for key, site in sites.items()
            }
        advance(len(batch.rows))
        return scores

    with watching(watched, current):
        yield scorer


def _of_site(
    key: str,
    current: Mapping[str, torch.Tensor],
    columns: Mapping[str, torch.Tensor],
    lengths: list[int],
    heads: int,
) -> torch.Tensor:
    """The closed form of one site for every prompt, (batch, width), float32."""
    if key in columns:
        rows = [current[key][row, :length].float().norm(dim=0) for row, length in enumerate(lengths)]
        return torch.stack(rows) * columns[key].to(rows[0].device)
    layer, site = parse_key(key)
    keys = [site_key(layer, name) for name in _ATTENDING]
    rows = []
    for row, length in enumerate(lengths):
        q, k, v = (current[name][row, :length].float() for name in keys)
        rows.append(_attention(site, *_by_head(heads, q, k, v)))
    return torch.stack(rows)


def _by_head(heads: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Q as (key heads, query heads each, time, d); k and v as (key heads, time, d)."""
    time, d = q.shape[0], q.shape[1] // heads
    groups = k.shape[1] // d
    return (
        q.view(time, groups, heads // groups, d).permute(1, 2, 0, 3),
        k.view(time, groups, d).transpose(0, 1),
        v.view(time, groups, v.shape[1] // groups).transpose(0, 1),
    )


def _attention(site: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The closed form of q, k or v for one prompt, (width,)."""
    groups, heads, time, d = q.shape
    causal = torch.ones(time, time, dtype=torch.bool, device=q.device).tril()
    scores = torch.einsum("gntd,gsd->gnts", q, k) / d**0.5
    scores = scores.masked_fill(~causal, -torch.inf)
    weights = scores.softmax(-1)
    if site == "v_proj":
        return torch.einsum("gnts,gsd->gntd", weights, v).pow(2).sum((1, 2)).sqrt().flatten()
    outputs = torch.empty(groups, heads, d, device=q.device)
    for i in range(d):
        delta = torch.einsum("gnt,gs->gnts", q[..., i], k[..., i]) / d**0.5
        outputs[..., i] = ((scores - delta).softmax(-1) - weights).pow(2).sum((-1, -2))
    # A query neuron belongs to one head; a key neuron is read by every query head of its group.
    return outputs.sqrt().flatten() if site == "q_proj" else outputs.sum(1).sqrt().flatten()
