"""Stage 2: the prompt set of every language, and the training pairs. MODEL PROMPTS PAIRS."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core.params import Params
from ssn_eval.models import loading
from ssn_eval.prompts.answers import benign_pairs
from ssn_eval.prompts.corpus import prepare
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.pairs import common, safety_pairs, write_pairs
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, model: Path, out: Path, pairs_out: Path) -> None:
    """Write the prompts, each with its split, and refusals plus benign answers of the base model for training."""
    spec = loading.read_spec(need(model, "organism") / "spec.json")
    found = prepare(settings)
    train = [p for p in found if p.split == "train"]
    pairs = safety_pairs(train)
    if settings.train.replay:
        pairs += benign_pairs(
            loading.load(spec),
            [p for p in train if p.label == "harmless"],
            per_language=round(settings.train.pairs * settings.train.replay),
            max_new_tokens=settings.prompts.replay_tokens,
            batch_size=settings.evaluate.batch_size,
            seed=settings.prompts.seed,
        )
    pairs, dropped = common(pairs)
    if dropped:
        print(f"ssn_eval: {dropped} harmful prompts are not in every language and are not trained on.", file=sys.stderr)
    write_jsonl(out, found)
    write_pairs(pairs_out, pairs)


if __name__ == "__main__":
    run_stage(main)
