"""Stage 7: evaluate the base model or a trained variant. VARIANT MODEL PROMPTS OUT SAMPLES [TRAINED]."""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.stages.evaluation import heldout, open_model, write_samples


def main(
    settings: Params,
    variant: Path,
    model: Path,
    prompt_file: Path,
    out: Path,
    samples: Path,
    trained: Path | None = None,
) -> None:
    """Write the counts by language of one variant and a row for every reply; without TRAINED it is the base model."""
    from ssn_eval.harness.evaluate import evaluate

    prompts = heldout(prompt_file)
    if trained is not None:
        need(trained, f"train@{variant}")
    full = trained is not None and (trained / "config.json").is_file()
    lm = open_model(settings, model, adapter=None if full else trained, full=trained if full else None)
    evaluation = evaluate(lm, prompts, settings.languages, settings.evaluate)
    info = lm.get_model_info()["ssn_eval"]
    origin = provenance(settings, prompts=prompt_file)
    files.write_json(out, {"variant": str(variant), **evaluation.counts, "model": info, "provenance": origin})
    condition = str(variant) if trained is None else f"train {variant}"
    write_samples(samples, [{"condition": condition} | row for row in evaluation.replies])


if __name__ == "__main__":
    run_stage(main)
