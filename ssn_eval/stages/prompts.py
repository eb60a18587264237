"""Stage 2: the prompt set of every language, and the training pairs. MODEL PROMPTS PAIRS."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core.params import Params
from ssn_eval.harness.answering import answerer
from ssn_eval.models import loading
from ssn_eval.prompts.corpus import prepare
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.making import make_pairs
from ssn_eval.prompts.pairs import write_pairs
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, model: Path, out: Path, pairs_out: Path) -> str:
    """Write the prompts, each with its split, and refusals plus benign answers of the base model for training; return their counts."""
    spec = loading.read_spec(need(model, "organism") / "spec.json")
    prompts = prepare(settings)
    made = make_pairs(
        prompts,
        settings.languages,
        lambda: answerer(spec, settings.evaluate),
        split="train",
        replay=settings.train.replay,
        benign=round(settings.train.pairs * settings.train.replay),
        max_new_tokens=settings.prompts.replay_tokens,
        batch_size=settings.evaluate.batch_size,
        seed=settings.prompts.seed,
    )
    if made.dropped:
        print(
            f"ssn_eval: {made.dropped} harmful prompts are not in every language and are not trained on.",
            file=sys.stderr,
        )
    if warning := made.warning():
        print(f"ssn_eval: {warning}", file=sys.stderr)
    write_jsonl(out, prompts)
    write_pairs(pairs_out, made.pairs)
    return f"{len(prompts):,} prompts in {len(settings.languages)} languages, {len(made.pairs):,} training pairs"


if __name__ == "__main__":
    run_stage(main)
