"""Measure the conditions of one model, each once: a finished condition is kept in a file named by everything that decides it.

So a killed run resumes, a longer list of conditions computes only what is new, and one loaded model serves them all: it is loaded
when the first missing condition needs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core import files, origin
from ssn_eval.harness.evaluate import Evaluation

FORMAT = "ssn-condition/1"
CACHE = Path(".ssn/conditions")
"""finished conditions, in the project's folder"""
_CODE = ("core", "harness", "interventions", "judges", "models", "prompts", "training")
"""the packages of ours that decide a condition's result"""


class Conditions:
    """The finished conditions of a folder, for one model, one list of prompts and one group of settings."""

    def __init__(self, folder: Path, common: Mapping[str, Any]) -> None:
        """Use the folder for conditions.

        Args:
            folder: where finished conditions lie; it is made when the first one is written.
            common: everything that decides all of these conditions: the model, the prompts, the settings. Plain JSON values.
        """
        self._folder = folder
        self._common = {"format": FORMAT, "code": origin.code_hash(_CODE), "versions": origin.versions(), **common}

    def has(self, own: Mapping[str, Any]) -> bool:
        """Whether the condition is finished."""
        return self._place(own).is_file()

    def get(
        self, own: Mapping[str, Any], measure: Callable[[], tuple[Evaluation, Mapping[str, Any]]]
    ) -> dict[str, Any]:
        """The condition's counts, replies and model information; measured now if it is not finished.

        Args:
            own: what this condition has beside the common part: its neurons and op, or its adapter. Plain JSON values.
            measure: evaluates the condition; returns the evaluation and lm_eval's model information.

        Returns:
            `{"counts", "replies", "model"}`, as `Evaluation` and `SsnHFLM.get_model_info` describe them.
        """
        place = self._place(own)
        if place.is_file():
            found = files.read_json(place, "a finished condition")
            if isinstance(found, dict) and {"counts", "replies", "model"} <= found.keys():
                return found
        evaluation, model = measure()
        content = {"counts": evaluation.counts, "replies": evaluation.replies, "model": dict(model)}
        files.write_json(place, content)
        return content

    def _place(self, own: Mapping[str, Any]) -> Path:
        text = json.dumps({**self._common, "own": dict(own)}, sort_keys=True, ensure_ascii=False)
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
