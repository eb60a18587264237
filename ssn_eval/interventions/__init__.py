"""Change what chosen neurons say, to see what they cause.

`ops.py` says what, `plan.py` puts several sets together, `hooks.py` does it to a running model, `weights.py` for good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.interventions.hooks import attach, intervene, intervene_all
from ssn_eval.interventions.ops import (
    MEAN,
    NONE,
    SUPPRESS,
    Intervention,
    Layers,
    Op,
    combine,
    parse_layers,
    parse_op,
    parse_positions,
)
from ssn_eval.interventions.reference import Reference
from ssn_eval.interventions.weights import bake, bake_all, refuse_unbakeable

__all__ = [
    "MEAN",
    "NONE",
    "SUPPRESS",
    "Intervention",
    "Layers",
    "Op",
    "Reference",
    "attach",
    "bake",
    "bake_all",
    "combine",
    "describe",
    "describe_all",
    "intervene",
    "intervene_all",
    "parse_layers",
    "parse_op",
    "parse_positions",
    "refuse_unbakeable",
]


def describe(neurons: NeuronSet, op: Op) -> dict[str, Any]:
    """What an artefact records of an intervention: the op, the size, and the layers it touches."""
    return describe_all([Intervention(neurons, op)])[0]


def describe_all(interventions: Sequence[Intervention]) -> list[dict[str, Any]]:
    """What an artefact records of several: of each the op, the positions, the size, and the layers it touches."""
    found = []
    for each in interventions:
        chosen = each.chosen()
        layers, sites = sorted(chosen.per_layer()), dict(chosen.per_site())
        found.append(
            {
                "op": str(each.op),
                "positions": each.positions,
                "neurons": len(chosen),
                "layers": layers,
                "per_site": sites,
            }
        )
    return found
