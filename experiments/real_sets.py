"""The prompts and the neuron sets of one split of a real model, for `real_model.py` (docs/decisions/0008-real-models-second-protocol.md).

A seed varies the split of the prompts, the probes and the random controls. `--norm` says which harmless English prompts the
neurons are found against: `plain` ones (PolyRefuse), `borderline` ones that look harmful and are safe (half OKTest, half
OR-Bench-Hard), or `mixed` (half plain, half borderline). The other languages have plain ones alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter

from ssn_eval.core.params import Params
from ssn_eval.core.presets import PRESETS, Preset
from ssn_eval.core.settings import PromptParams, ScoreParams, SelectParams, ValidateParams
from ssn_eval.identification.by_language import score_languages
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.corpus import from_sources
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages.select import select_sets

KEY, PROMPTS, PROBES = "model", 64, 2
SETS = ("ss", "ms_hr", "private", "contrast", "ss_attention", "ss_mlp")
CONTROLLED = ("contrast", "ms_hr")
"""sets with matched random controls of their own, beside SS"""
BORDERLINE = ("oktest", "or_bench_hard_train")
SHARES = {"plain": 0.0, "mixed": 0.5, "borderline": 1.0}


def against(prompts: Sequence[Prompt], norm: str, folder: Path, seed: int) -> list[Prompt]:
    """The prompts with a part of the English D_norm of the training split replaced by borderline ones."""
    draw = random.Random(seed)
    count = round(PROMPTS * SHARES[norm])
    drawn = []
    for position, name in enumerate(BORDERLINE):
        rows = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        most = count // 2 + (count % 2 if position == 0 else 0)
        chosen = draw.sample(range(len(rows)), most)
        drawn += [Prompt(f"{name}-{i}", "en", "harmless", rows[i]["instruction"], "train") for i in chosen]
    plain = [p for p in prompts if (p.lang, p.label, p.split) == ("en", "harmless", "train")]
    kept = {p.id for p in draw.sample(plain, PROMPTS - count)}
    return [p for p in prompts if p not in plain or p.id in kept] + drawn


def main() -> None:
    """Write `RUN/artifacts/prompts.jsonl`, the scores and the sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder or hub id")
    parser.add_argument("--languages", required=True, help="codes with commas between them; English is HR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--norm", choices=tuple(SHARES), default="plain")
    parser.add_argument("--borderline", type=Path, help="the folder of oktest.json and or_bench_hard_train.json")
    parser.add_argument("--kept", type=Path, default=Path("experiments/out/scores"), help="finished languages")
    parser.add_argument("--run", type=Path, required=True, help="where to write")
    given = parser.parse_args()
    spec = ModelSpec(given.model, dtype="bfloat16")
    languages = tuple(given.languages.split(","))
    draws = range(3 * given.seed, 3 * given.seed + 3)  # no two seeds share a random control
    of_language = TypeAdapter(
        dict[str, Preset]
    ).validate_python(  # what the paper's first two claims need
        {f"{part}_{lang}": {"from": part, "languages": [lang]} for part in ("ms", "private") for lang in languages[1:]}
    )
    controlled = (*CONTROLLED, *(name for name in of_language if name.startswith("ms_")))
    settings = Params(
        model=KEY,
        models={KEY: spec.to_json()},
        hr="en",
        languages=languages,
        prompts=PromptParams(harmful="multijail", harmless="polyrefuse", seed=given.seed),
        score=ScoreParams(sites="both", prompts=PROMPTS, probes=PROBES, batch_size=8, seed=given.seed),
        select=SelectParams(sites="both", random_seeds=tuple(draws)),
        validate=ValidateParams(
            sets=(*SETS, *of_language, *(f"{name}.random_{draw}" for name in controlled for draw in draws))
        ),
        targets={name: PRESETS[name] for name in SETS} | of_language,
    )
    prompts = from_sources(settings.languages, settings.prompts)
    if given.norm != "plain":
        prompts = against(prompts, given.norm, given.borderline, given.seed)
    artifacts = given.run / "artifacts"
    write_jsonl(artifacts / "prompts.jsonl", prompts)
    score_languages(
        spec,
        prompts,
        settings.languages,
        settings.score,
        artifacts / "scores",
        kept=given.kept,
        say=lambda line: print(line, file=sys.stderr),
    )
    select_sets(settings, artifacts / "scores", artifacts / "sets", given.run / "summary.json", {"norm": given.norm})


if __name__ == "__main__":
    main()
