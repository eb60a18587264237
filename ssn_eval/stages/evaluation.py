"""Shared by `validate` and `evaluate`: the pipeline's model on its held-out prompts, and the files of replies."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages.common import need
from ssn_eval.stages.story import percent

if TYPE_CHECKING:
    from ssn_eval.harness.bench import Bench


def bench_of(settings: Params, model: Path, prompt_file: Path) -> Bench:
    """The pipeline's model and the held-out part of its prompts.

    Raises:
        MissingInputError: an earlier stage has not run.
    """
    from ssn_eval.harness.bench import Bench

    spec = loading.read_spec(need(model, "organism") / "spec.json")
    heldout = [p for p in read_jsonl(need(prompt_file, "prompts")) if p.split == "heldout"]
    return Bench(spec, heldout, settings.languages, settings.evaluate)


def mean_refusal(counts: Mapping[str, Any]) -> float | None:
    """The share of harmful prompts refused in one condition's counts, mean over the languages; None if nothing was judged."""
    found = [one["refusal"] for one in counts["by_lang"].values() if one.get("refusal") and one["refusal"]["total"]]
    return sum(one["successes"] / one["total"] for one in found) / len(found) if found else None


def rates_by_name(rates: Mapping[str, float | None], most: int = 4) -> str:
    """The first few rates with their names, for the line of a stage."""
    shown = ", ".join(f"{name} {percent(rate)}" for name, rate in list(rates.items())[:most])
    return f"{shown}{', …' if len(rates) > most else ''}" or "none"


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line: the condition of a reply, and its row of `Evaluation.replies`."""
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))
