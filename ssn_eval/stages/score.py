"""Stage 3: importance of every neuron for every language, on harmful and on harmless prompts. MODEL PROMPTS OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core.params import Params
from ssn_eval.identification.by_language import score_languages
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, model: Path, prompt_file: Path, out: Path) -> None:
    """Write `OUT/<lang>/<label>.safetensors`: the scores, and the statistics of the prompts if there are two prompts or more."""
    prompts = read_jsonl(need(prompt_file, "prompts"))
    spec = loading.read_spec(need(model, "organism") / "spec.json")
    score_languages(
        spec, prompts, settings.languages, settings.score, out, say=lambda line: print(line, file=sys.stderr)
    )


if __name__ == "__main__":
    run_stage(main)
