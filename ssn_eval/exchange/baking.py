"""Save a model with changed weights as an ordinary folder that works without this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions import ops, weights
from ssn_eval.interventions.ops import Intervention
from ssn_eval.interventions.reference import Reference
from ssn_eval.models import lineage
from ssn_eval.models.loading import Loaded
from ssn_eval.models.saving import write


def save(
    loaded: Loaded,
    changes: Sequence[Intervention],
    folder: Path,
    provenance: Mapping[str, Any],
    *,
    reference: Reference | None = None,
    ancestors: Sequence[ModelRef] = (),
) -> None:
    """Bake interventions into the loaded model, in place, and save it.

    Raises:
        SsnError: as `interventions.bake_all`.
    """
    weights.bake_all(loaded.model, changes, reference)
    record = {"interventions": ops.describe_all(changes), **provenance}
    write(loaded, folder, lineage.BAKED, record, ancestors)
