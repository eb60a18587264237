"""How well the sketch ranks neurons, against exact ablation.

    python benchmarks/sketch_accuracy.py --model organism|smollm2|gemma3_270m [--quick] [--reference]

Prints one JSON object: Spearman of the sketch with exact ablation (all sites, each site kind), agreement on the top 3 % of a
layer, the median ratio of the two, and the layer-local closed forms' Spearman beside them.

The organism (`artifacts/model/weights`, or `--path`) is ablated whole, in this run. Of a real model a random sample in six
layers and one whole layer are ablated, which takes an hour: `--reference` does that once, resumes after a kill, and keeps the
exact scores in `benchmarks/results/`; every later run measures the sketch and the closed forms anew and compares.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from subjects import NAMES, ROOT, encoded_prompts, machine, open_model

from ssn_eval.core import store
from ssn_eval.core.neurons import ATTENTION, MLP, SITES, Geometry, NeuronSet, parse_key, site_key
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification import importance, selection
from ssn_eval.identification.importance import measure
from ssn_eval.models import loading

PROMPTS, PROBES, SAMPLED_LAYERS, SAMPLED = 32, 4, 6, 28
"""`SAMPLED` neurons of every site in each of `SAMPLED_LAYERS` layers"""
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="organism", choices=NAMES)
    parser.add_argument("--path", type=Path, help="The organism's folder.")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--probes", type=int, default=PROBES)
    parser.add_argument("--quick", action="store_true", help="The organism with 6 prompts: under a minute.")
    parser.add_argument(
        "--reference", action="store_true", help="Ablate the sample of a real model and keep its scores."
    )
    chosen = parser.parse_args()
    if chosen.quick and chosen.model == "organism":
        chosen.prompts = 6
    loaded = open_model(chosen.model, chosen.path)
    ids = encoded_prompts(chosen.model, loaded, chosen.prompts)
    if chosen.model == "organism":
        exact, chosen_neurons = importance.score(loaded.model, ids, sites="both", method="exact"), None
    else:
        path = RESULTS / f"exact-{chosen.model}.safetensors"
        if chosen.reference:
            make_reference(loaded, ids, path)
        exact, chosen_neurons = read_reference(loaded, ids, path)
    sketched = measure(loaded.model, ids, ScoreParams(sites="both", probes=chosen.probes))
    closed = importance.score(loaded.model, ids, sites="both", method="local")
    result = {
        "model": chosen.model,
        "prompts": len(ids),
        "tokens": [min(map(len, ids)), max(map(len, ids))],
        "probes": chosen.probes,
        **compare(exact, sketched.scores, closed, chosen_neurons),
        "reliability": sketched.reliability(),
        "machine": machine(),
    }
    print(json.dumps(result))


def sample(geometry: Geometry) -> tuple[dict[str, list[int]], int]:
    """Which neurons of a real model are ablated, by site key, and the layer that is taken whole."""
    layers = geometry.num_layers
    rng = np.random.default_rng(0)
    wanted = {
        (key := site_key(layer, site)): sorted(map(int, rng.choice(geometry.widths[key], size=SAMPLED, replace=False)))
        for layer in sorted({round(x) for x in np.linspace(0, layers - 1, SAMPLED_LAYERS)})
        for site in SITES
    }
    whole = layers - 4 if layers > 20 else layers - 3  # late, where few layers remain to be computed
    return wanted | {(key := site_key(whole, site)): list(range(geometry.widths[key])) for site in SITES}, whole


def make_reference(loaded: loading.Loaded, ids: Sequence[Sequence[int]], path: Path) -> None:
    """Ablate the sample and write its scores."""
    wanted, _ = sample(loaded.ref.geometry)
    work = path.with_suffix(".work")
    found = measure(
        loaded.model, ids, ScoreParams(sites="both", method="exact", batch_size=1), neurons=wanted, work=work
    )
    write_reference(loaded, ids, found.scores, path)


def write_reference(loaded: loading.Loaded, ids: Sequence[Sequence[int]], scores: store.Scores, path: Path) -> None:
    """Keep exact scores, with the model and the prompts that they belong to."""
    made = {"method": "exact", "inputs": ids_hash(ids), "prompts": len(ids), "machine": machine()}
    store.save_scores(path, store.ScoreFile(scores, loaded.ref, made))


def read_reference(
    loaded: loading.Loaded, ids: Sequence[Sequence[int]], path: Path
) -> tuple[store.Scores, Mapping[str, Sequence[int]]]:
    """The kept scores, if they are of this model and these prompts."""
    if not path.is_file():
        sys.exit(f"No exact scores at {path}; make them once with --reference (about an hour).")
    file = store.load_scores(path)
    file.model.refuse_other(loaded.ref, str(path))
    if file.provenance["inputs"] != ids_hash(ids):
        sys.exit(f"{path} was measured on other prompts; make it again with --reference.")
    return file.scores, sample(loaded.ref.geometry)[0]


def ids_hash(ids: Sequence[Sequence[int]]) -> str:
    """A hash of token ids."""
    import hashlib

    return hashlib.sha256(json.dumps([list(map(int, i)) for i in ids]).encode()).hexdigest()


def compare(
    exact: store.Scores, sketched: store.Scores, closed: store.Scores, wanted: Mapping[str, Sequence[int]] | None
) -> dict[str, Any]:
    """Agreement of the sketch and of the closed forms with ablation, over the ablated neurons."""
    indices = {key: list(range(len(v))) for key, v in exact.items()} if wanted is None else wanted
    pooled = {
        name: {key: np.asarray(scores[key])[indices[key]] for key in indices}
        for name, scores in (("exact", exact), ("sketch", sketched), ("local", closed))
    }

    def rho(name: str, kinds: Sequence[str]) -> float:
        keys = [key for key in indices if parse_key(key)[1] in kinds]
        sides = [np.concatenate([pooled[side][key] for key in keys]) for side in (name, "exact")]
        found: Any = spearmanr(sides[0], sides[1])
        return round(float(found.statistic), 4)

    whole = [key for key in indices if len(indices[key]) == len(exact[key])]
    tops = [selection.top({k: s[k] for k in whole}, 3.0, SITES) for s in (sketched, exact, closed)]
    ratio = np.concatenate([pooled["sketch"][k] / np.maximum(pooled["exact"][k], 1e-12) for k in indices])
    return {
        "neurons": sum(map(len, indices.values())),
        "layers": len({parse_key(key)[0] for key in indices}),
        "whole_layers": len({parse_key(key)[0] for key in whole}),
        "spearman": {"all": rho("sketch", SITES), **{site: rho("sketch", (site,)) for site in SITES}},
        "top3_overlap": overlap(tops[0], tops[1]),
        "median_ratio": round(float(np.median(ratio)), 4),
        "local_spearman": {
            "attention": rho("local", ATTENTION), "mlp": rho("local", MLP), **{s: rho("local", (s,)) for s in SITES}
        },
        "local_top3_overlap": overlap(tops[2], tops[1]),
    }  # fmt: skip


def overlap(found: NeuronSet, true: NeuronSet) -> float:
    """The share of the true top that was found."""
    return round(len(found & true) / len(true), 4)


if __name__ == "__main__":
    main()
