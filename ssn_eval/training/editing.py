r"""Training-free edits of a neuron set's weights: sparse weight editing, and transplant from a donor.

**Sparse weight editing** (arXiv 2602.22554) makes the MLP neurons of a set answer harmful prompts of the weak languages as they answer the English version. In each
layer, for the rows W of the gate and of the up projection that feed the set's neurons (m of them):

- X (N × d): the layer's MLP input at the last token of N harmful prompts in weak languages; X' of the same prompts in English; X₀ of harmless prompts;
- D = (X' − X) Wᵀ, what is missing;
- Δ (d × m) of rank r minimises `‖XΔ − D‖² + γ‖X₀Δ‖² + λ‖Δ‖²`. With `Q = XᵀX + γX₀ᵀX₀ + λI = RᵀR` and `M = Q⁻¹XᵀD`, the solution is `R⁻¹(RM)_r`, where
  (·)_r is the best approximation of rank r;
- W becomes W + Δᵀ.

The source's γ and λ were not to be had. Here λ is a share (`ridge`) of the mean of the diagonal of XᵀX, so that it does not depend on the model's scale.

**Transplant** (arXiv 2603.18449) copies the rows and columns of a set from a donor of the same architecture and shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ssn_eval.core.errors import ArchitectureError, EmptySetError, MismatchError
from ssn_eval.core.neurons import NeuronSet, parse_key
from ssn_eval.core.progress import progress
from ssn_eval.models import deltas, quantization
from ssn_eval.models.architectures.resolving import decoder, geometry, resolve
from ssn_eval.models.architectures.sites import is_transposed, out_in
from ssn_eval.models.batches import Padded, cut
from ssn_eval.models.deltas import Patch
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.encoding import context_length, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

Pairs = Sequence[tuple[str, str]]
"""a harmful prompt in a weak language, and the same prompt in the high-resource language"""


def solve(
    weak: torch.Tensor, missing: torch.Tensor, harmless: torch.Tensor, *, rank: int, gamma: float, ridge: float
) -> torch.Tensor:
    """The best Δ of the given rank.

    Args:
        weak: X, (N, d), float64.
        missing: D, (N, m).
        harmless: X₀, (N₀, d).
        rank: r, at least 1.
        gamma: γ, 0 or more.
        ridge: λ as a share of the mean of the diagonal of XᵀX, above 0.

    Returns:
        (d, m), float64.
    """
    gram = weak.T @ weak
    strength = ridge * gram.diagonal().mean()
    q = gram + gamma * (harmless.T @ harmless) + strength * torch.eye(len(gram), dtype=gram.dtype)
    r = torch.linalg.cholesky(q, upper=True)
    m = torch.cholesky_solve(weak.T @ missing, r, upper=True)
    u, s, v = torch.linalg.svd(r @ m, full_matrices=False)
    kept = (u[:, :rank] * s[:rank]) @ v[:rank]
    return torch.linalg.solve_triangular(r, kept, upper=True)


def sparse(
    loaded: Loaded,
    neurons: NeuronSet,
    pairs: Pairs,
    harmless: Sequence[str],
    *,
    rank: int = 8,
    gamma: float = 1.0,
    ridge: float = 0.01,
    batch_size: int = 8,
) -> dict[str, Patch]:
    """Edit the gate and up rows of a set's MLP neurons; the model is as before afterwards.

    Args:
        loaded: the model and its tokenizer.
        neurons: the set; its neurons at other sites are left alone.
        pairs: harmful prompts, weak and high-resource.
        harmless: ordinary prompts of the weak languages, whose outputs should stay.
        rank: as in `solve`.
        gamma: as in `solve`.
        ridge: as in `solve`.
        batch_size: prompts in one forward pass.

    Raises:
        EmptySetError: no prompt, or the set has no MLP neuron.
        MismatchError: a neuron lies outside the model.
        ArchitectureError: an MLP neuron is a routed expert's.
        ParamsError: the weights are quantised.
    """
    if not pairs or not harmless:
        raise EmptySetError("Sparse weight editing needs harmful prompts in two languages and harmless ones.")
    model = loaded.model
    quantization.refuse(model, "an edit writes into them")
    rows_by_module = _rows(model, neurons)
    texts = [[weak for weak, _ in pairs], [english for _, english in pairs], list(harmless)]
    inputs = [inputs_of(loaded, part, list(rows_by_module), batch_size) for part in texts]
    modules: dict[str, Any] = dict(model.named_modules())
    patches = {}
    with progress("editing weights", len(rows_by_module)) as advance:
        for name, rows in rows_by_module.items():
            weight = out_in(modules[name]).detach()
            chosen = weight[rows].double().cpu()
            weak, english, ordinary = (part[name] for part in inputs)
            delta = solve(weak, (english - weak) @ chosen.T, ordinary, rank=rank, gamma=gamma, ridge=ridge)
            values = (chosen + delta.T).to(weight.dtype)
            index = torch.tensor(rows)
            flipped = is_transposed(modules[name])
            patches[f"{name}.weight"] = (
                Patch("columns", index, values.T.contiguous()) if flipped else Patch("rows", index, values)
            )
            advance()
    return patches


def _rows(model: PreTrainedModel, neurons: NeuronSet) -> dict[str, list[int]]:
    """Module → the rows that feed the set's MLP neurons."""
    geometry(model).check(neurons)
    sites, rows = resolve(model), {}
    for key, indices in neurons.by_key().items():
        if not parse_key(key)[1].startswith("mlp"):
            continue
        if sites[key].expert is not None:
            raise ArchitectureError(f"{key} is a routed expert, whose rows cannot be edited; leave it out of the set.")
        for owned in sites[key].owned:
            if owned.side == "output":
                rows[owned.name] = owned.of(indices)
    if not rows:
        raise EmptySetError("The set has no MLP neuron whose rows could be edited; use a set with sites mlp or both.")
    return rows


def inputs_of(loaded: Loaded, texts: Sequence[str], names: Sequence[str], batch_size: int) -> dict[str, torch.Tensor]:
    """The inputs of modules at the last token of each prompt; module → (prompts, d), float64, on the CPU."""
    model = loaded.model
    ids = encode(loaded.tokenizer, list(texts), context_length(model)).ids
    padded = Padded(ids, [(len(i) - 1, len(i)) for i in ids], model.device)
    current: dict[str, torch.Tensor] = {}
    rows_by_name: dict[str, list[torch.Tensor]] = {name: [torch.empty(0)] * len(ids) for name in names}
    with torch.no_grad(), _inputs(model, names, current), progress("reading prompts", len(ids)) as advance:
        for rows in cut(range(len(ids)), padded.lengths, batch_size):
            batch = padded(rows)
            decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
            for at, (row, (last, _)) in enumerate(zip(rows, batch.spans, strict=True)):
                for name in names:
                    rows_by_name[name][row] = current[name][at, last].double().cpu()
            advance(len(rows))
    return {name: torch.stack(values) for name, values in rows_by_name.items()}


@contextmanager
def _inputs(model: PreTrainedModel, names: Sequence[str], current: dict[str, torch.Tensor]) -> Iterator[None]:
    modules = dict(model.named_modules())

    def keep(name: str) -> Any:
        def hook(_module: object, args: tuple[torch.Tensor, ...]) -> None:
            current[name] = args[0]

        return hook

    handles = [modules[name].register_forward_pre_hook(keep(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def transplant(model: PreTrainedModel, donor: PreTrainedModel, neurons: NeuronSet) -> dict[str, Patch]:
    """The rows and columns of a set as the donor has them; both models stay as they are.

    Raises:
        MismatchError: a neuron lies outside the model, or the donor has other weights or shapes.
        EmptySetError: the donor's values are the model's own.
        ParamsError: the weights of one are quantised.
    """
    from ssn_eval.training.weights import masks

    for one in (model, donor):
        quantization.refuse(one, "a transplant copies plain numbers")
    masks_by_name = masks(model, neurons)
    own, other = _weights(model), _weights(donor)
    for name in masks_by_name:
        if name not in other or other[name].shape != own[name].shape:
            raise MismatchError(
                f"The donor has no {name} of the model's shape; give a donor of the same architecture and size."
            )
    before = {name: own[name] for name in masks_by_name}
    after = {
        name: torch.where(mask.bool(), other[name].to(own[name]), own[name]) for name, mask in masks_by_name.items()
    }
    return deltas.between(before, after)


def _weights(model: PreTrainedModel) -> Mapping[str, torch.Tensor]:
    return {name: parameter.detach().cpu() for name, parameter in model.named_parameters()}
