"""Stage 3: importance of every neuron for one language, on harmful and on harmless prompts. LANG MODEL PROMPTS OUT."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from ssn_eval.core import files, lock, store
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.params import Params
from ssn_eval.core.processes import is_main
from ssn_eval.identification import identify
from ssn_eval.identification.importance import Settings
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import LABELS, Prompt, select_prompts
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, lang: Path, model: Path, prompt_file: Path, out: Path) -> None:
    """Write `OUT/<label>.safetensors`, and `OUT/halves/<0|1>/<label>.safetensors` where there are two prompts or more."""
    chosen = settings.score
    how = Settings(
        method=chosen.method,
        position=chosen.position,
        target=chosen.target,
        probes=chosen.probes,
        seed=chosen.seed,
        tolerance=chosen.tolerance,
        batch_size=chosen.batch_size,
        checkpointing=chosen.checkpointing,
    )
    known = read_jsonl(need(prompt_file, "prompts"))
    sets = {label: select_prompts(known, lang=lang.name, label=label, split="train") for label in LABELS}
    loaded = loading.load(loading.read_spec(need(model, "organism") / "spec.json"))
    work = out.parent / f".work-{out.name}"
    with lock.hold(work, "identification") if is_main() else nullcontext():
        _score(loaded, sets, settings, how, work, out)


def _score(
    loaded: Loaded, sets: Mapping[str, Sequence[Prompt]], settings: Params, how: Settings, work: Path, out: Path
) -> None:
    found = {
        label: identify.identify(
            loaded,
            sets[label],
            how,
            sites=expand_sites(settings.score.sites),
            limit=settings.score.prompts,
            work=work / label,
            say=lambda line: print(line, file=sys.stderr),
        )
        for label in sets
    }
    if is_main():
        with files.atomic(out) as folder:
            for label, scores in found.items():
                store.save_scores(folder / f"{label}.safetensors", scores.whole)
                for n, half in enumerate(scores.halves or ()):
                    store.save_scores(folder / "halves" / str(n) / f"{label}.safetensors", half)
    shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    run_stage(main)
