"""Stage 3: importance of every neuron for one language, on harmful and on harmless prompts. LANG MODEL PROMPTS OUT."""

from __future__ import annotations

from pathlib import Path

from ssn_eval import files, identification, models, prompts, store
from ssn_eval.neurons import expand_sites
from ssn_eval.params import Params
from ssn_eval.prompts import LABELS
from ssn_eval.stages.common import need, run


def main(settings: Params, lang: Path, model: Path, prompt_file: Path, out: Path) -> None:
    """Write `OUT/harmful.safetensors` and `OUT/harmless.safetensors`."""
    chosen = settings.score
    known = prompts.read(need(prompt_file, "prompts"))
    sets = {label: prompts.select(known, lang=lang.name, label=label, split="train") for label in LABELS}
    loaded = models.load(models.read_spec(need(model, "organism") / "spec.json"))
    with files.atomic(out) as folder:
        folder.mkdir()
        for label in LABELS:
            scores = identification.identify(
                loaded,
                sets[label],
                method=chosen.method,
                sites=expand_sites(chosen.sites),
                probes=chosen.probes,
                batch_size=chosen.batch_size,
                seed=chosen.seed,
                limit=chosen.prompts,
            )
            store.save_scores(folder / f"{label}.safetensors", scores)


if __name__ == "__main__":
    run(main)
