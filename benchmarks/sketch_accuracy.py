"""How well the sketch ranks neurons, against exact ablation: `python benchmarks/sketch_accuracy.py --model organism [--quick]`.

Prints one JSON object: Spearman of sketch with exact (all sites, each site kind), agreement on each layer's top 3 %, and the
Spearman of the layer-local closed form beside it. Both sides are measured in this run, over all neurons of the model. The
organism is the pipeline's (artifacts/model/weights), or `--path` names a model folder.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from ssn_eval import identification, importance, models, selection
from ssn_eval.neurons import parse_key
from ssn_eval.organism import lexicon, questions

LANGS = ("en", "zh", "th", "bn", "sw", "jv")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="organism", choices=["organism"])
    parser.add_argument("--path", default="artifacts/model/weights")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--probes", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="6 prompts, under a minute")
    chosen = parser.parse_args()
    if not Path(chosen.path).is_dir():
        sys.exit(f"No model at {chosen.path}; run `dvc repro organism` first, or give --path.")
    count = 6 if chosen.quick else chosen.prompts
    words = lexicon.load()
    asked = [questions.items(words, lang, "harmful", "train") for lang in LANGS]
    texts = [asked[i % len(LANGS)][7 * i].prompt for i in range(count)]
    loaded = models.load(models.ModelSpec(chosen.path, dtype="float32"))
    ids = identification.encode(loaded.tokenizer, texts, 1024).ids
    sketched = importance.score(loaded.model, ids, probes=chosen.probes)
    measured = importance.score(loaded.model, ids, method="exact")
    closed = importance.score(loaded.model, ids, method="local", sites=("o_proj", "mlp"))
    by_site = {
        site: [k for k in measured if parse_key(k)[1] == site]
        for site in ("q_proj", "k_proj", "v_proj", "o_proj", "mlp")
    }

    def rho(scores, keys):  # noqa: ANN001, ANN202
        pooled = [np.concatenate([s[k] for k in keys]) for s in (scores, measured)]
        return round(float(spearmanr(*pooled).statistic), 4)

    tops = [selection.top(scores, 3.0) for scores in (sketched, measured)]
    result = {
        "model": chosen.model,
        "prompts": count,
        "probes": chosen.probes,
        "neurons": sum(map(len, measured.values())),
        "spearman": {
            "all": rho(sketched, list(measured)),
            **{site: rho(sketched, keys) for site, keys in by_site.items()},
        },
        "top3_overlap": round(len(tops[0] & tops[1]) / len(tops[1]), 4),
        "local_spearman": {site: rho(closed, by_site[site]) for site in ("o_proj", "mlp")},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
