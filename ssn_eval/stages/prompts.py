"""Stage 2: the prompt set of every language, and the training pairs. MODEL PROMPTS PAIRS."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ssn_eval import files, models, prompts, training
from ssn_eval.corpora import prepare
from ssn_eval.params import Params
from ssn_eval.replay import benign_pairs
from ssn_eval.stages.common import need, run


def main(settings: Params, model: Path, out: Path, pairs_out: Path) -> None:
    """Write the prompts, each with its split, and refusals plus benign answers of the base model for training."""
    spec = models.read_spec(need(model, "organism") / "spec.json")
    found = prepare(settings)
    train = [p for p in found if p.split == "train"]
    pairs = training.safety_pairs(train)
    if settings.train.replay:
        pairs += benign_pairs(models.load(spec), [p for p in train if p.label == "harmless"], settings)
    prompts.write(out, found)
    files.write_text(pairs_out, "".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in pairs))


if __name__ == "__main__":
    run(main)
