"""The layer-local closed form, for comparison: how much a neuron's own module changes its output.

`‖a_N‖₂ · ‖W[:, N]‖₂` over all prompt positions, the Frobenius norm of the change of the module's output when N is zero. Public
code that avoids ablation falls back on it; it looks no further than its own layer. Defined for the sites whose neurons are
columns: `o_proj` and `mlp`; an expert counts as a module, before its routing weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ssn_eval.architectures import Change, resolve
from ssn_eval.errors import EmptySetError
from ssn_eval.importance.batches import batches, last_states
from ssn_eval.store import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def local(model: PreTrainedModel, inputs: Sequence[Sequence[int]], *, sites: Sequence[str], batch_size: int) -> Scores:
    """Score the column sites by the closed form; row sites among `sites` are left out.

    Raises:
        EmptySetError: none of the sites has a closed form here.
    """
    found = {key: site for key, site in resolve(model, sites).items() if site.side == "input"}
    if not found:
        raise EmptySetError("The local closed form is defined for o_proj and mlp only; ask for one of them.")
    totals = {key: torch.zeros(site.width, dtype=torch.float64) for key, site in found.items()}
    current: dict[str, torch.Tensor] = {}

    def keep(key: str) -> Change:
        def change(activation: torch.Tensor) -> None:
            current[key] = activation

        return change

    handles = [site.hook(keep(key)) for key, site in found.items()]
    try:
        with torch.no_grad():
            for batch in batches(inputs, batch_size, model.device):
                current.clear()  # an expert that no token reaches is not called
                last_states(model, batch)
                for key, activation in current.items():
                    real = activation.float() * batch.attention_mask[..., None].to(activation.device)
                    totals[key] += real.norm(dim=1).double().sum(0).cpu()
    finally:
        for handle in handles:
            handle.remove()
    columns = {key: site.weight().detach().float().norm(dim=0).double().cpu() for key, site in found.items()}
    return {key: (totals[key] / len(inputs) * columns[key]).to(torch.float32).numpy() for key in found}
