"""The refusal direction of the pipeline's model, and its conditions beside those of the neuron sets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core import origin
from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.setnames import SetName
from ssn_eval.interventions import directions
from ssn_eval.interventions.directions import Direction
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.prompts.prompt import LABELS, Prompt, select_prompts

if TYPE_CHECKING:
    from ssn_eval.core.settings import ValidateParams

KEPT = Path(".ssn/directions")
"""directions that were found, in the project's folder"""
_CODE = ("core", "interventions", "models", "prompts")
"""the packages of ours that decide a direction"""


def find_kept(
    spec: ModelSpec, prompts: Sequence[Prompt], hr: str, load: Callable[[], Loaded], kept: Path = KEPT
) -> Direction:
    """The refusal direction from the training prompts of HR; found once.

    Args:
        spec: the model.
        prompts: those of HR, of both labels and the split `train`, count.
        hr: the high-resource language.
        load: gives the model, if the direction is not there yet.
        kept: where directions lie.

    Raises:
        EmptySetError: as `select_prompts` and `residual.find`.
    """
    chosen = [select_prompts(prompts, lang=hr, label=label, split="train") for label in LABELS]
    decides = {
        "model": spec.to_json(),
        "weights": loading.weights_hash(loading.locate(spec)),
        "prompts": [[p.prompt for p in part] for part in chosen],
        "code": origin.code_hash(_CODE),
        "versions": origin.versions(),
    }
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
    place = kept / f"{name}.safetensors"
    try:
        return directions.load(place)
    except MissingInputError:
        from ssn_eval.interventions import residual

        found = residual.find(load(), *chosen)
        directions.save(place, found)
        return found


def by_name(direction: Direction, settings: ValidateParams) -> dict[str, Direction]:
    """The direction and its random controls, under their names in `validate`."""
    parsed = {name: SetName.parse(name).seed for name in settings.directions}
    return {
        name: direction if seed is None else directions.random_control(direction, seed) for name, seed in parsed.items()
    }
