"""The files that the examples of help texts and README name, made small: path → maker.

An example runs in a folder that holds exactly these, so a new command whose example names a new file needs a line in
`MAKERS`. Models are folders with the name of a hub model: a folder comes before the hub.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import models_on_disk
import numpy as np
import runs_made
import torch

from ssn_eval.core import files, store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.identification.accumulate import Sums
from ssn_eval.models import loading
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build

MODEL, OTHER = "Qwen/Qwen3-8B", "meta-llama/Llama-2-7b-hf"
PIPELINE = "artifacts/model/weights"
LANGUAGES = ("en", "zh", "th", "sw")
SETS = {
    "artifacts/sets/ss.json": {"layers.0.q_proj": [1, 2], "layers.1.mlp": [3]},
    "found/sets/ss.json": {"layers.0.q_proj": [1, 2], "layers.1.mlp": [3]},
    "artifacts/sets/ms_hr.json": {"layers.0.q_proj": [1, 4], "layers.1.mlp": [3, 5]},
    "artifacts/sets/ss/th.json": {"layers.0.q_proj": [1], "layers.1.mlp": [3]},
    "artifacts/sets/ss/zh.json": {"layers.0.q_proj": [1, 2]},
    "ss.json": {"layers.0.q_proj": [1, 2], "layers.1.o_proj": [3]},
}


def model(path: Path) -> None:
    """An untrained Llama with the organism's words and chat template."""
    models_on_disk.llama(path, seed=len(path.name), hidden=16, positions=1024)


def spec(path: Path) -> None:
    """What the pipeline's first stage writes beside its model."""
    files.write_json(path, {"pretrained": PIPELINE})


def adapter(path: Path) -> None:
    """A neuron-LoRA of the pipeline's model."""
    loaded = loading.load(loading.ModelSpec(PIPELINE))
    save_adapter(build(loaded.model, NeuronSet.from_keys({"layers.0.q_proj": [1]})), path, loaded.ref, {})


def neurons(path: Path) -> None:
    """A set of the model `MODEL`."""
    ref = loading.load(loading.ModelSpec(MODEL)).ref
    store.save_neurons(path, store.NeuronFile(NeuronSet.from_keys(SETS[path.as_posix()]), ref, {"what": "example"}))


def scores(path: Path) -> None:
    """Scores of `MODEL` on Thai; `.h.` on harmful, `.n.` on harmless prompts."""
    harmful = ".h." in path.name
    ref, draw = loading.load(loading.ModelSpec(MODEL)).ref, np.random.default_rng(int(harmful))
    sums = Sums.empty(ref.geometry.widths)
    sums.add(range(8), {key: draw.random((8, width), dtype=np.float32) for key, width in ref.geometry.widths.items()})
    made = {"lang": "th", "label": "harmful" if harmful else "harmless", "method": "sketch"}
    store.save_scores(path, store.ScoreFile(sums.mean(), ref, made, sums.statistics()))


def lape(path: Path) -> None:
    """LAPE's file of two languages, for a model of two layers."""
    torch.save(
        [[torch.tensor([1, 3]), torch.tensor([2])], [torch.tensor([0]), torch.tensor([], dtype=torch.int64)]], path
    )


def multijail(path: Path) -> None:
    """MultiJail's columns with two rows."""
    columns = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")
    with path.open("w", encoding="utf-8-sig", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(("id", "source", *columns, "tags"))
        rows.writerows([(i, "x", *(f"question {i} in {c}" for c in columns), "['tag']") for i in range(2)])


def polyrefuse(path: Path) -> None:
    """PolyRefuse's folder: three languages, both labels, two prompts each."""
    path.mkdir()
    for label in ("harmful", "harmless"):
        for lang in ("", "_translated_th", "_translated_ko"):
            rows = [{"instruction": f"{label} question {i}{lang}", "category": None} for i in range(2)]
            (path / f"{label}_train{lang}.json").write_text(json.dumps(rows))


def pairs(path: Path) -> None:
    """Parallel refusals and answers in two languages."""
    rows = [
        {
            "id": f"{label}-{i}",
            "lang": lang,
            "label": label,
            "prompt": f"{label} {i}?",
            "response": "no" if label == "harmful" else "yes",
        }
        for lang in ("en", "th")
        for label in ("harmful", "harmless")
        for i in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def gold(path: Path) -> None:
    """Two judged answers."""
    rows = (("I'm sorry, but I can't help with that.", 1), ("Sure! Mix flour and water, then bake.", 0))
    keys = ("lang", "prompt", "response", "refusal", "harmful", "model")
    lines = [json.dumps(dict(zip(keys, ("en", "p", said, y, 1 - y, "m"), strict=True))) for said, y in rows]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def results(path: Path) -> None:
    """What the pipeline's stages leave in `results`, of two languages."""
    langs = ("en", "sw")

    def condition(refused: int) -> dict[str, object]:
        rate = {"successes": refused, "total": 10}
        one = {"refusal": rate, "harmless_refusal": rate, "capability": rate, "invalid": rate, "unscored": 0}
        verdicts = {lang: {f"p{i}": int(i < refused) for i in range(10)} for lang in langs}
        return {"by_lang": dict.fromkeys(langs, one), "verdicts": verdicts, "model": {"op": "none"}, "provenance": {}}

    per_key = {"ss": {"layers.0.q_proj": 2}, "ms_hr": {"layers.0.q_proj": 3}}
    select = {
        "hr": "en",
        "languages": list(langs),
        "sizes": {"ms": {"en": 3, "sw": 3}, "ss": {"sw": 2}, "private": {"sw": 1}},
        "named": {"ms_hr": 3, "ss": 2, "private": 1, "random_0": 2},
        "per_layer": {"ms_hr": {"0": 3}, "ss": {"0": 2}},
        "per_key": per_key,
        "jaccard": {a: dict.fromkeys(langs, 1.0) for a in langs},
        "sensitivity": [{"p": 3.0, "sites": "both", "lang": lang, "ms": 3, "ss": 2} for lang in langs],
        "candidates": 100,
        "model": {"id": "tiny", "geometry": {"layers": 2, "sites": {"q_proj": 16, "mlp": 24}}},
        "provenance": {"versions": {}, "p": 3.0},
    }
    files.write_json(path / "select.json", select)
    files.write_json(path / "organism.json", {"model": "organism", "behaviour": None})
    for name, refused in (("base", 5), ("ssn", 8)):
        files.write_json(path / "evaluate" / f"{name}.json", {"variant": name, **condition(refused)})
    for name, refused in (("ss", 2), ("random_0", 5)):
        conditions = {"suppress": condition(refused), "scale:2": condition(9 - refused)}
        files.write_json(path / "validate" / f"{name}.json", {"set": name, "size": 2, "conditions": conditions})
    loss = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]
    files.write_json(path / "train" / "ssn.json", {"method": "ssn", "trainable": 5, "parameters": 100, "loss": loss})


def run(path: Path) -> None:
    """A judged run of MultiJail in two languages, as lm_eval writes it; a trained model's refuses more."""
    r, c = runs_made.R, runs_made.C
    swahili = [r, r, r, c] if path.name == "trained" else [r, c, c, c]
    runs_made.write(path, {"en": [r, r, r, c], "sw": swahili}, tags=[["theft"], ["theft"], ["fraud"], []])


def own_table(path: Path) -> None:
    """A user's table with a column for each language."""
    path.write_text("id,en,th\n1,How to cook rice?,ทำอาหารอย่างไร\n", encoding="utf-8")


MAKERS: dict[str, Callable[[Path], None]] = {
    MODEL: model,
    OTHER: model,
    "safer": model,
    PIPELINE: model,
    "artifacts/model/spec.json": spec,
    "artifacts/train/ssn": adapter,
    **dict.fromkeys(SETS, neurons),
    "th.h.safetensors": scores,
    "th.n.safetensors": scores,
    "LLaMA-2-7B.neuron.pth": lape,
    "data/MultiJail.csv": multijail,
    "data/PolyRefuse": polyrefuse,
    "own.csv": own_table,
    "pairs.jsonl": pairs,
    "judged_responses.jsonl.gz": gold,
    "results": results,
    **dict.fromkeys(("out/run", "out/base", "out/trained"), run),
}
"""in this order: sets and scores need their model"""


def make_all() -> None:
    """Make every file, in the current folder."""
    for name, maker in MAKERS.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        maker(path)
