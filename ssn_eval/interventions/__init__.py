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
    describe,
    describe_all,
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
