"""Every reader of a file that may come from elsewhere, with a good file of its kind."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import runs_made

from ssn_eval.core import files, origin, params, store
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.store import holds_scores
from ssn_eval.exchange.formats import carrying
from ssn_eval.harness import rejudging
from ssn_eval.harness.runs import judged_replies
from ssn_eval.interventions import directions, reference
from ssn_eval.interventions.reference import PERCENTILES, Activations
from ssn_eval.judges import calibration
from ssn_eval.models import deltas, loading
from ssn_eval.prompts.benchmarks import source
from ssn_eval.prompts.pairs import read_pairs
from ssn_eval.prompts.reading import read_prompts
from ssn_eval.prompts.tables import read_table
from ssn_eval.training.adapters.folder import refuse_other_base

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY = Geometry({f"layers.{i}.{site}": 8 for i in range(2) for site in ("q_proj", "k_proj", "v_proj", "mlp")})
MODEL = origin.ModelRef("tiny", "a" * 64, "llama", GEOMETRY)
NEURONS = NeuronSet.from_keys({"layers.0.q_proj": [1, 2], "layers.1.mlp": [0, 7]})


@dataclass(frozen=True)
class Reader:
    """How one kind of file is read, and a good one."""

    file: str
    """the name that the file must have"""
    read: Callable[[Path], object]
    good: Callable[[Path], None]


def _json(value: Any) -> Callable[[Path], None]:
    return lambda path: files.write_json(path, value)


def _lines(*rows: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: files.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _scores(path: Path) -> None:
    values = {key: np.linspace(0, 1, width, dtype=np.float32) for key, width in GEOMETRY.widths.items()}
    store.save_scores(path, store.ScoreFile(values, MODEL, {"lang": "th"}))


def _neurons(path: Path) -> None:
    store.save_neurons(path, store.NeuronFile(NEURONS, MODEL, {"what": "ss"}))


def _reference(path: Path) -> None:
    said = Activations(np.array([1, 2]), np.zeros(2, np.float32), np.zeros((PERCENTILES, 2), np.float32))
    reference.save(path, reference.Reference({"layers.0.q_proj": said}, MODEL, {"lang": "en"}))


def _direction(path: Path) -> None:
    directions.save(path, directions.Direction(np.ones((2, 4), np.float32), 1, MODEL, {"lang": "en"}))


def _delta(path: Path) -> None:
    import torch

    patch = deltas.Patch("rows", torch.tensor([1, 3]), torch.ones(2, 8))
    deltas.save(path, deltas.Delta({"model.layers.0.self_attn.q_proj.weight": patch}, MODEL, {}))


def _foreign(kind: str) -> Reader:
    def good(path: Path) -> None:
        if kind == "csv":
            _neurons(path)
        else:
            path.write_bytes(carrying.encode(carrying.carried(NEURONS, kind, drop=True), kind, GEOMETRY))

    return Reader(f"found.{kind}", lambda path: carrying.decode(path, kind, GEOMETRY), good)


def _multijail(path: Path) -> None:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerows(
        [("id", "source", "en", "th", "tags"), (0, "x", "how?", "อย่างไร", "['a']"), (1, "x", "why?", "ทำไม", "[]")]
    )
    path.write_text("\ufeff" + text.getvalue(), encoding="utf-8")


def _gold(path: Path) -> None:
    row = {"lang": "en", "prompt": "p", "response": "r", "refusal": 1, "harmful": 0, "model": "m"}
    path.write_bytes(gzip.compress(json.dumps(row).encode()) if path.suffix == ".gz" else json.dumps(row).encode())


def _samples(path: Path) -> None:
    folder = runs_made.write(path.parent / "run", {"sw": [runs_made.R, runs_made.C]}, reply_langs=["sw", None])
    (file,) = folder.glob("*.jsonl")
    file.rename(path)
    folder.rmdir()


def _sources(path: Path) -> object:
    return source.json_lines(path, ("prompt",)), source.json_value(path)


PROMPT = {
    "id": "a",
    "lang": "th",
    "label": "harmful",
    "prompt": "how?",
    "split": "train",
    "tags": ["x"],
    "response": "no",
}
PAIR = {"id": "a", "lang": "th", "label": "harmful", "prompt": "how?", "response": "no"}
READERS = {
    "neurons.json": Reader("set.json", store.load_neurons, _neurons),
    "neurons.safetensors": Reader("set.safetensors", store.load_neurons, _neurons),
    "scores": Reader("scores.safetensors", store.load_scores, _scores),
    "kind of safetensors": Reader("any.safetensors", holds_scores, _scores),
    "reference": Reader("ref.safetensors", reference.load, _reference),
    "direction": Reader("direction.safetensors", directions.load, _direction),
    "delta": Reader("delta.safetensors", deltas.load, _delta),
    "prompts.jsonl": Reader("prompts.jsonl", read_prompts, _lines(PROMPT, PROMPT | {"id": "b"})),
    "multijail": Reader("MultiJail.csv", read_prompts, _multijail),
    "own csv": Reader("own.csv", lambda p: read_table(p, label="harmful"), _multijail),
    "own jsonl": Reader(
        "own.jsonl", lambda p: read_table(p, lang="th"), _lines({"prompt": "how?", "label": "harmful"})
    ),
    "polyrefuse": Reader("harmful_train.json", lambda p: read_prompts(p.parent), _json([{"instruction": "how?"}])),
    "params": Reader(
        "params.yaml", params.load, lambda p: files.write_text(p, (ROOT / "params.yaml").read_text("utf-8"))
    ),
    "pairs": Reader("pairs.jsonl", read_pairs, _lines(PAIR, PAIR | {"id": "b"})),
    "gold": Reader("gold.jsonl", calibration.read_gold, _gold),
    "gold.gz": Reader("gold.jsonl.gz", calibration.read_gold, _gold),
    "spec": Reader("spec.json", loading.read_spec, _json({"pretrained": "org/model", "dtype": "float32"})),
    "spec of a package": Reader(
        "spec.json", lambda p: loading.locate(loading.read_spec(p)), _json({"package": "json"})
    ),
    "adapter": Reader(
        "ssn.json",
        lambda p: (
            p.with_name("adapter_config.json").write_text("{}"),
            refuse_other_base(p.parent, MODEL),
            p.with_name("adapter_config.json").unlink(),
        ),
        _json({"format": "ssn-adapter/1", "model": MODEL.to_json(), "provenance": {}}),
    ),
    "judged samples": Reader("samples_multijail_sw.jsonl", judged_replies.read, _samples),
    "samples to judge": Reader("samples_multijail_sw.jsonl", rejudging.read, _samples),
    "replies to judge": Reader(
        "replies.jsonl",
        rejudging.read,
        _lines({"lang": "th", "prompt": "how?", "response": "no", "id": "a", "label": "harmful"}),
    ),
    "a benchmark's rows": Reader("rows.jsonl", _sources, _lines(PROMPT)),
    "a benchmark's table": Reader("rows.csv", lambda p: source.csv_rows(p, ("en", "tags")), _multijail),
    **{kind: _foreign(kind) for kind in carrying.READ},
}
