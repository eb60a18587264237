"""Interventions written into a model's own weights, if that is exact. The result needs no hook, so any server can run it.

With `f` the factor and `c` the constant of neuron i: a row of q, k or v, and its bias, becomes `f · row` and `f · bias + c`;
a column of o or down becomes `f · column`, and `c · column` is added to that module's bias. Norms of queries and keys come
after the row, so they see the same numbers. The logits equal those under `intervene` up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.interventions.ops import Intervention, Op
from ssn_eval.interventions.plan import Changes, plan
from ssn_eval.interventions.reference import Reference
from ssn_eval.models import quantization

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from ssn_eval.models.architectures.sites import Site


def bake(model: PreTrainedModel, neurons: NeuronSet, op: Op, reference: Reference | None = None) -> None:
    """As `bake_all`, for one set in all its layers."""
    bake_all(model, [Intervention(neurons, op)], reference)


def bake_all(model: PreTrainedModel, interventions: Sequence[Intervention], reference: Reference | None = None) -> None:
    """Write interventions into the model's weights, in place; all of them or, with an error, none.

    Raises:
        SsnError: as `plan.plan`.
        ParamsError: weights cannot express it: positions, a constant where there is no bias, an adapter beside the weights,
            quantised weights.
    """
    refuse_unbakeable(model, interventions)
    sites, planned = _planned(model, interventions, reference)
    for key, changes in planned.items():
        if any(constant for _, constant in changes.values()):
            _refuse_without_bias(sites[key])
    _write(sites, planned)


def bake_exact(
    model: PreTrainedModel, interventions: Sequence[Intervention], reference: Reference | None = None
) -> bool:
    """Write interventions into the model's weights if a hook would give the same numbers bit for bit; hooks cost time at every token.

    A factor of 0, 1, 2, 4 and so on is exact: such a product of two floating-point numbers is not rounded.

    Returns:
        Whether they were written; if not, nothing was.

    Raises:
        SsnError: as `plan.plan`.
    """
    is_plain = not hasattr(model, "peft_config") and quantization.method_of(model) is None
    if not is_plain or any(intervention.positions != "all" for intervention in interventions):
        return False
    sites, planned = _planned(model, interventions, reference)
    if any(sites[key].expert is not None or sites[key].weight().is_meta for key in planned):
        return False  # a hook changes the order in which experts are added up; accelerate holds the weights of meta tensors elsewhere
    if not all(_is_exact(*change) for changes in planned.values() for change in changes.values()):
        return False
    _write(sites, planned)
    return True


def _planned(
    model: PreTrainedModel, interventions: Sequence[Intervention], reference: Reference | None
) -> tuple[Mapping[str, Site], Mapping[str, Changes]]:
    """The sites of a model, and the changes at each one that is touched."""
    from ssn_eval.models.architectures.resolving import resolve

    sites = resolve(model)
    return sites, plan(Geometry({key: site.width for key, site in sites.items()}), interventions, reference).prompt


def _is_exact(factor: float, constant: float) -> bool:
    """Whether `factor · a + constant` needs no rounding for any `a`."""
    return constant == 0 and (factor == 0 or (factor >= 1 and math.frexp(factor)[0] == 0.5))


def _write(sites: Mapping[str, Site], planned: Mapping[str, Changes]) -> None:
    """Change the weights of the sites."""
    import torch

    with torch.no_grad():
        for key, changes in planned.items():
            factors, constants = zip(*changes.values(), strict=True)
            sites[key].change_weights(list(changes), factors, constants)


def refuse_unbakeable(model: PreTrainedModel, interventions: Sequence[Intervention] = ()) -> None:
    """Stop if the weights cannot be changed row by row, or cannot express the interventions.

    Raises:
        ParamsError: says why.
    """
    if hasattr(model, "peft_config"):
        raise ParamsError(
            "Weights beside an adapter cannot hold an intervention; merge the adapter first (`ssn merge`)."
        )
    quantization.refuse(
        model,
        "single rows and columns of them cannot be changed",
        "bake into the model's plain weights and quantise the result, or intervene at run time (ssn_hf, `intervene`)",
    )
    for intervention in interventions:
        if intervention.positions != "all":
            raise ParamsError(
                f"Weights act on every token, so {intervention.op} on {intervention.positions} tokens alone cannot be baked; use positions=all, "
                f"or intervene at run time (ssn_hf, `intervene`)."
            )


def _refuse_without_bias(site: Site) -> None:
    if site.bias() is None:
        raise ParamsError(
            f"{site.key} has no bias that could hold a constant, so mean and set:<quantile> cannot be baked there; use suppress or "
            f"scale, or intervene at run time (ssn_hf, `intervene`)."
        )
