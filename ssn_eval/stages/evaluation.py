"""Shared by `validate` and `evaluate`: the pipeline's model as `ssn_hf`, and its held-out prompts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages.common import need

if TYPE_CHECKING:
    from ssn_eval.harness.model import SsnHFLM


def heldout(path: Path) -> list[Prompt]:
    """The held-out part of the pipeline's prompt set."""
    return [p for p in read_jsonl(need(path, "prompts")) if p.split == "heldout"]


def open_model(settings: Params, model: Path, adapter: Path | None = None, full: Path | None = None) -> SsnHFLM:
    """The pipeline's model, with an adapter, or a full checkpoint in its place."""
    from ssn_eval.harness.model import SsnHFLM

    spec = loading.read_spec(need(model, "organism") / "spec.json")
    return SsnHFLM.from_spec(spec, settings.evaluate.batch_size, adapter=adapter, checkpoint=full)


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line: the condition of a reply, and its row of `Evaluation.replies`."""
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))
