"""Stage 7: evaluate the base model and every trained variant. MODEL PROMPTS TRAINED OUT SAMPLES."""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.core.progress import progress
from ssn_eval.stages.common import is_untrained, need, provenance, run_stage
from ssn_eval.stages.evaluation import bench_of, mean_refusal, rates_by_name, write_samples
from ssn_eval.stages.story import counted

BASE = "base"


def main(settings: Params, model: Path, prompt_file: Path, trained: Path, out: Path, samples: Path) -> str:
    """Write a file a variant: the counts by language, and a row for every reply. The base model is the variant `base`.

    A method without neurons to train has no variant.

    Returns:
        How much every variant refuses.
    """
    from ssn_eval.training.adapters.folder import is_checkpoint

    methods = settings.train.methods
    folders = {method: need(trained / method, f"train@{method}") for method in methods}
    folders = {method: folder for method, folder in folders.items() if not is_untrained(folder)}
    bench, origin = bench_of(settings, model, prompt_file), provenance(settings, prompts=prompt_file)
    # Full checkpoints come last: each takes the place of the loaded model.
    order = [BASE, *sorted(folders, key=lambda method: is_checkpoint(folders[method]))]
    with (
        files.atomic(out) as results,
        files.atomic(samples) as replies,
        progress("evaluating", len(order)) as advance,
    ):
        refused: dict[str, float | None] = {}
        for variant in order:
            folder = folders.get(variant)
            found = bench.unchanged() if folder is None else bench.trained(folder)
            content = {"variant": variant, **found["counts"], "model": found["model"], "provenance": origin}
            files.write_json(results / f"{variant}.json", content)
            condition = variant if folder is None else f"train {variant}"
            write_samples(replies / f"{variant}.jsonl", [{"condition": condition} | row for row in found["replies"]])
            refused[variant] = mean_refusal(found["counts"])
            advance()
    return f"{counted(len(order), 'variant')}; mean refusal: {rates_by_name(refused)}"


if __name__ == "__main__":
    run_stage(main)
