"""Stage 7: evaluate the base model and every trained variant. MODEL PROMPTS TRAINED OUT SAMPLES."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.core.progress import progress
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.stages.evaluation import Bench, write_samples

if TYPE_CHECKING:
    from ssn_eval.harness.model import SsnHFLM

BASE = "base"


def main(settings: Params, model: Path, prompt_file: Path, trained: Path, out: Path, samples: Path) -> None:
    """Write a file a variant: the counts by language, and a row for every reply. The base model is the variant `base`."""
    methods = settings.train.methods
    folders = {method: need(trained / method, f"train@{method}") for method in methods}
    bench, origin = Bench(settings, model, prompt_file), provenance(settings, prompts=prompt_file)
    # Full checkpoints come last: each takes the place of the loaded model.
    order = [BASE, *sorted(methods, key=lambda method: _is_full(folders[method]))]
    with (
        files.atomic(out) as results,
        files.atomic(samples) as replies,
        progress("evaluating", len(order)) as advance,
    ):
        for variant in order:
            folder = folders.get(variant)
            own = {} if folder is None else {"trained": files.sha256(folder)}
            found = bench.measure(own, lambda folder=folder: _variant(bench, folder))
            content = {"variant": variant, **found["counts"], "model": found["model"], "provenance": origin}
            files.write_json(results / f"{variant}.json", content)
            condition = variant if folder is None else f"train {variant}"
            write_samples(replies / f"{variant}.jsonl", [{"condition": condition} | row for row in found["replies"]])
            advance()


def _variant(bench: Bench, folder: Path | None) -> AbstractContextManager[SsnHFLM]:
    if folder is None:
        return bench.base()
    return bench.replaced(folder) if _is_full(folder) else bench.adapted(folder)


def _is_full(folder: Path) -> bool:
    """Whether a trained variant is a full checkpoint; else it is an adapter."""
    return (folder / "config.json").is_file()


if __name__ == "__main__":
    run_stage(main)
