"""Stage 3: importance of every neuron for every language, on harmful and on harmless prompts. MODEL PROMPTS OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core.params import Params
from ssn_eval.identification.by_language import score_languages
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, model: Path, prompt_file: Path, out: Path) -> str:
    """Write `OUT/<lang>/<label>.safetensors`: the scores, and the statistics of the prompts if there are two prompts or more.

    Returns:
        In how many languages every neuron was scored.
    """
    prompts = read_jsonl(need(prompt_file, "prompts"))
    spec = loading.read_spec(need(model, "organism") / "spec.json")
    score_languages(spec, prompts, settings.languages, settings.score, out, say=_warn)
    return f"scored every neuron on harmful and on harmless prompts in {len(settings.languages)} languages"


def _warn(line: str) -> None:
    """Print what a user should know: cut prompts, but not the memory of every language, which is enough."""
    from ssn_eval.identification.memory import MEMORY

    if not line.startswith(MEMORY):
        print(f"ssn_eval: {line}", file=sys.stderr)


if __name__ == "__main__":
    run_stage(main)
