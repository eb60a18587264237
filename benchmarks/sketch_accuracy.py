"""How well the sketch ranks neurons, against exact ablation.

    python benchmarks/sketch_accuracy.py --model organism|smollm2|gemma3_270m [--quick] [--reference]

Prints one JSON object: Spearman of the sketch with exact ablation (over all sites, and for each kind of site), agreement on the top
3 % of a layer, the median ratio of sketch and exact scores, and the Spearman of the layer-local closed forms.

Every neuron of the organism (`artifacts/model/weights`, or `--path`) is ablated in this run. In a real model, a random sample
in six layers and one whole layer are ablated, which takes an hour. `--reference` does that once, resumes after a kill, and keeps
the exact scores in `benchmarks/results/`. Every later run measures the sketch and the closed forms again and compares.
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
    parser.add_argument("--quick", action="store_true", help="The organism with 6 prompts; takes less than a minute.")
    parser.add_argument(
        "--reference", action="store_true", help="Ablate the sample of a real model and save its scores."
    )
    options = parser.parse_args()
    if options.quick and options.model == "organism":
        options.prompts = 6
    loaded = open_model(options.model, options.path)
    ids = encoded_prompts(options.model, loaded, options.prompts)
    if options.model == "organism":
        exact, ablated = importance.score(loaded.model, ids, sites="both", method="exact"), None
    else:
        path = RESULTS / f"exact-{options.model}.safetensors"
        if options.reference:
            make_reference(loaded, ids, path)
        exact, ablated = read_reference(loaded, ids, path)
    sketch = measure(loaded.model, ids, ScoreParams(sites="both", probes=options.probes))
    closed = importance.score(loaded.model, ids, sites="both", method="local")
    result = {
        "model": options.model,
        "prompts": len(ids),
        "tokens": [min(map(len, ids)), max(map(len, ids))],
        "probes": options.probes,
        **compare(exact, sketch.scores, closed, ablated),
        "reliability": sketch.reliability(),
        "machine": machine(),
    }
    print(json.dumps(result))


def sample(geometry: Geometry) -> tuple[dict[str, list[int]], int]:
    """The neurons of a real model that are ablated, by site key, and the layer whose neurons are all ablated."""
    layers = geometry.num_layers
    rng = np.random.default_rng(0)
    indices = {
        (key := site_key(layer, site)): sorted(map(int, rng.choice(geometry.widths[key], size=SAMPLED, replace=False)))
        for layer in sorted({round(x) for x in np.linspace(0, layers - 1, SAMPLED_LAYERS)})
        for site in SITES
    }
    whole = layers - 4 if layers > 20 else layers - 3  # a late layer, above which few layers must be computed
    return indices | {(key := site_key(whole, site)): list(range(geometry.widths[key])) for site in SITES}, whole


def make_reference(loaded: loading.Loaded, ids: Sequence[Sequence[int]], path: Path) -> None:
    """Ablate the sample and save its scores."""
    indices, _ = sample(loaded.ref.geometry)
    work = path.with_suffix(".work")
    measured = measure(
        loaded.model, ids, ScoreParams(sites="both", method="exact", batch_size=1), neurons=indices, work=work
    )
    write_reference(loaded, ids, measured.scores, path)


def write_reference(loaded: loading.Loaded, ids: Sequence[Sequence[int]], scores: store.Scores, path: Path) -> None:
    """Save exact scores with the model and the hash of the prompts that they belong to."""
    provenance = {"method": "exact", "inputs": ids_hash(ids), "prompts": len(ids), "machine": machine()}
    store.save_scores(path, store.ScoreFile(scores, loaded.ref, provenance))


def read_reference(
    loaded: loading.Loaded, ids: Sequence[Sequence[int]], path: Path
) -> tuple[store.Scores, Mapping[str, Sequence[int]]]:
    """The saved exact scores and the ablated neurons; ends the program if they are of another model or other prompts."""
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
    exact: store.Scores, sketch: store.Scores, closed: store.Scores, ablated: Mapping[str, Sequence[int]] | None
) -> dict[str, Any]:
    """The agreement of the sketch and of the closed forms with ablation, over the ablated neurons (None: all neurons)."""
    indices = {key: list(range(len(v))) for key, v in exact.items()} if ablated is None else ablated
    pooled = {
        name: {key: np.asarray(scores[key])[indices[key]] for key in indices}
        for name, scores in (("exact", exact), ("sketch", sketch), ("local", closed))
    }

    def rho(name: str, kinds: Sequence[str]) -> float:
        keys = [key for key in indices if parse_key(key)[1] in kinds]
        sides = [np.concatenate([pooled[side][key] for key in keys]) for side in (name, "exact")]
        correlation: Any = spearmanr(sides[0], sides[1])
        return round(float(correlation.statistic), 4)

    whole = [key for key in indices if len(indices[key]) == len(exact[key])]
    top_sketch, top_exact, top_closed = [
        selection.top({key: scores[key] for key in whole}, 3.0, SITES) for scores in (sketch, exact, closed)
    ]
    ratio = np.concatenate([pooled["sketch"][k] / np.maximum(pooled["exact"][k], 1e-12) for k in indices])
    return {
        "neurons": sum(map(len, indices.values())),
        "layers": len({parse_key(key)[0] for key in indices}),
        "whole_layers": len({parse_key(key)[0] for key in whole}),
        "spearman": {"all": rho("sketch", SITES), **{site: rho("sketch", (site,)) for site in SITES}},
        "top3_overlap": overlap(top_sketch, top_exact),
        "median_ratio": round(float(np.median(ratio)), 4),
        "local_spearman": {
            "attention": rho("local", ATTENTION), "mlp": rho("local", MLP), **{s: rho("local", (s,)) for s in SITES}
        },
        "local_top3_overlap": overlap(top_closed, top_exact),
    }  # fmt: skip


def overlap(estimate: NeuronSet, exact: NeuronSet) -> float:
    """The share of the exact top neurons that are also in the estimated top."""
    return round(len(estimate & exact) / len(exact), 4)


if __name__ == "__main__":
    main()
