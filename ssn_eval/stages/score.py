"""Stage 3: importance of every neuron for one language, on harmful and on harmless prompts. LANG MODEL PROMPTS OUT."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core import files, store
from ssn_eval.core.params import Params
from ssn_eval.core.processes import is_main
from ssn_eval.identification.identify import identify, work_folder
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import LABELS, select_prompts
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, lang: Path, model: Path, prompt_file: Path, out: Path) -> None:
    """Write `OUT/<label>.safetensors`: the scores, and the statistics of the prompts if there are two prompts or more."""
    prompts = read_jsonl(need(prompt_file, "prompts"))
    loaded = loading.load(loading.read_spec(need(model, "organism") / "spec.json"))
    with work_folder(out.parent / f".work-{out.name}") as work:
        identified = {
            label: identify(
                loaded,
                select_prompts(prompts, lang=lang.name, label=label, split="train"),
                settings.score,
                work=work / label,
                say=lambda line: print(line, file=sys.stderr),
            )
            for label in LABELS
        }
        if is_main():
            with files.atomic(out) as folder:
                for label, scores in identified.items():
                    store.save_scores(folder / f"{label}.safetensors", scores.whole)


if __name__ == "__main__":
    run_stage(main)
