"""Compare SS of attention sites, of MLP sites, and of both: each is suppressed in the organisms of several seeds. Prints JSON.

`python experiments/sites.py claims/seed-0 claims/seed-1 …` (working copies that `ssn claims` made). Every organism is scored again on
both kinds of sites. A set comes from the top 3 % of each layer, over the neurons of its own sites. Each set and its matched random
control are suppressed, and the model is evaluated on the harmful and harmless held-out questions and the capability task.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from ssn_eval import (
    EvaluateParams,
    NeuronSet,
    ScoreParams,
    evaluate,
    identify,
    intervene,
    load_model,
    matched_random,
    read_prompts,
)
from ssn_eval.core.neurons import expand_sites
from ssn_eval.identification.rules import paper
from ssn_eval.prompts.prompt import LABELS, select_prompts

P = 3.0
SETTINGS = EvaluateParams(capability="organism_capability")


def main() -> None:
    """Measure every seed."""
    print(json.dumps({Path(name).name: of_seed(Path(name)) for name in sys.argv[1:]}, indent=1))


def of_seed(folder: Path) -> dict[str, Any]:
    """Condition → the number of neurons, and the rates by language in %."""
    params = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    langs = params["languages"]
    loaded = load_model(str(folder / "artifacts/model/weights"), device="cpu")
    prompts = read_prompts(folder / "artifacts/prompts.jsonl")
    settings = ScoreParams(sites="both", prompts=params["score"]["prompts"], seed=params["score"]["seed"])
    scores: dict[str, Any] = {
        lang: tuple(
            identify(loaded, select_prompts(prompts, lang=lang, label=label, split="train"), settings).whole.scores
            for label in LABELS
        )
        for lang in langs
    }
    heldout = [p for p in prompts if p.split == "heldout"]
    sets = {"base": NeuronSet(frozenset())}
    for sites in ("attention", "mlp", "both"):
        ss = paper(scores, params["hr"], P, expand_sites(sites)).named()["ss"]
        sets[sites] = ss
        if ss:
            sets[f"{sites}, random"] = matched_random(ss, loaded.ref.geometry, 0)
    rates = {}
    for name, neurons in sets.items():
        with intervene(loaded.model, neurons, "suppress") if neurons else nullcontext():
            counts = evaluate(loaded, heldout, langs, SETTINGS).counts["by_lang"]
        rates[name] = {"neurons": len(neurons)} | {
            rate: {lang: round(100 * counts[lang][rate]["successes"] / counts[lang][rate]["total"]) for lang in langs}
            for rate in ("refusal", "harmless_refusal", "capability")
        }
    return rates


if __name__ == "__main__":
    main()
