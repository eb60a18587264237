"""`ssn export` and `ssn import` without a model: round trips, notes, and nothing overwritten after a mistake."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ssn_eval.cli import main
from ssn_eval.core import origin, store
from ssn_eval.core.neurons import SITES, Geometry, NeuronSet

GEOMETRY = Geometry({f"layers.{i}.{site}": 20 for i in range(2) for site in SITES})
MODEL = origin.ModelRef("tiny", "a" * 64, "llama", GEOMETRY)
OTHER = origin.ModelRef("other", "b" * 64, "llama", GEOMETRY)
MLP = {"layers.0.mlp": [3], "layers.1.mlp": [0, 19]}
ENDINGS = {"sntune": "txt", "lape": "pth", "jsonl": "jsonl", "csv": "csv", "parquet": "parquet"}


def ssn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit) and result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def object_of(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def saved(path: Path, by_key: dict[str, list[int]], model: origin.ModelRef = MODEL) -> Path:
    store.save_neurons(path, store.NeuronFile(NeuronSet.from_keys(by_key), model, {"what": "test"}))
    return path


def scored(path: Path, model: origin.ModelRef = MODEL) -> Path:
    values = {key: np.arange(20, dtype=np.float32) for key in GEOMETRY.widths}
    store.save_scores(path, store.ScoreFile(values, model, {}))
    return path


@pytest.mark.parametrize("kind", ENDINGS)
def test_there_and_back(tmp_path, kind):
    source, like = saved(tmp_path / "s.json", MLP), scored(tmp_path / "scores.safetensors")
    foreign, back = tmp_path / f"f.{ENDINGS[kind]}", tmp_path / "back.json"
    assert object_of(ssn("export", source, "--format", kind, "--out", foreign, "--json"))["neurons"] == 3
    made = object_of(ssn("import", foreign, "--format", kind, "--like", like, "--out", back, "--json"))
    found = store.load_neurons(back)
    assert (found.neurons, found.model, made["neurons"]) == (NeuronSet.from_keys(MLP), MODEL, 3)
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    assert found.provenance["source"] == {"format": kind, "file": foreign.name, "sha256": digest}
    assert str(tmp_path) not in back.read_text()
    again = tmp_path / "again.safetensors"
    assert ssn("import", foreign, "--format", kind, "--like", back, "--out", again).exit_code == 0
    assert store.load_neurons(again).neurons == found.neurons


def test_notes_and_left_out_neurons_are_said_on_stderr(tmp_path):
    source, out = saved(tmp_path / "s.json", MLP | {"layers.0.o_proj": [1, 2]}), tmp_path / "n.txt"
    export = ("export", source, "--format", "sntune", "--out", out)
    refused(ssn(*export), "2 o_proj", "--drop-unsupported")
    assert not out.exists()
    shown = ssn(*export, "--drop-unsupported", "--json")
    assert object_of(shown)["neurons"] == 3 and shown.stderr == "Left out 2 neurons that sntune has no place for.\n"
    out.write_text("{0: {1}}\n{0: {2}}\n{}\n{}\n{}\n")
    shown = ssn("import", out, "--format", "sntune", "--like", source, "--out", tmp_path / "back.json", "--json")
    assert object_of(shown)["notes"] == [shown.stderr.strip()] and "1 in ffn_down alone" in shown.stderr


def test_jsonl_scores(tmp_path):
    source, out = saved(tmp_path / "s.json", MLP), tmp_path / "n.jsonl"
    scores = scored(tmp_path / "scores.safetensors")
    assert ssn("export", source, "--format", "jsonl", "--scores", scores, "--out", out).exit_code == 0
    assert [json.loads(line)["score"] for line in out.read_text().splitlines()] == [3.0, 0.0, 19.0]
    like = ("--like", scores, "--out", tmp_path / "back.json")
    assert object_of(ssn("import", out, "--format", "jsonl", "--min-score", 2, *like, "--json"))["neurons"] == 2
    before = out.read_bytes()
    export = ("export", source, "--format", "jsonl", "--out", out, "--scores")
    refused(ssn(*export, scored(tmp_path / "other.safetensors", OTHER)), "another model")
    refused(ssn(*export, tmp_path / "no.safetensors"), "No file")
    refused(ssn(*export, source), "safetensors")
    assert out.read_bytes() == before


def test_export_refuses_and_writes_nothing(tmp_path):
    source, out = saved(tmp_path / "s.json", MLP), tmp_path / "mine.csv"
    out.write_text("mine")
    refused(ssn("export", source, "--format", "parquet", "--out", out), ".parquet")
    refused(ssn("export", source, "--format", "sntune", "--out", out), ".csv")
    refused(ssn("export", source, "--format", "csv", "--op", "suppress", "--out", out), "--format hf")
    refused(ssn("export", source, "--format", "csv", "--scores", source, "--out", out), "--format jsonl")
    refused(ssn("export", saved(tmp_path / "e.json", {}), "--format", "lape", "--out", tmp_path / "e.pth"), "No neuron")
    refused(
        ssn("export", source, "--format", "hf", "--op", "supress", "--out", tmp_path / "m"), "Did you mean suppress"
    )
    work = tmp_path / "work"
    work.mkdir()
    (work / "config.json").write_text("{}")
    refused(ssn("export", source, "--format", "hf", "--out", work), "no exported model")
    assert out.read_text() == "mine" and not (tmp_path / "e.pth").exists()
    assert [p.name for p in work.iterdir()] == ["config.json"]


def test_import_refuses_and_writes_nothing(tmp_path):
    source, out = saved(tmp_path / "s.json", MLP), tmp_path / "back.json"
    out.write_text("mine")
    rows = tmp_path / "n.jsonl"
    rows.write_text('{"layer": 0, "matrix": "mlp", "index": 20}\n')
    like = ("--like", source, "--out", out)
    refused(ssn("import", rows, "--format", "jsonl", *like), "Neuron 20", "does not exist")
    refused(ssn("import", rows, "--format", "sntune", *like), "SN-Tune")
    refused(ssn("import", rows, "--format", "lape", *like), "LAPE")
    refused(ssn("import", rows, "--format", "parquet", *like), "parquet")
    refused(ssn("import", tmp_path / "no.jsonl", "--format", "jsonl", *like), "No file")
    refused(ssn("import", tmp_path / "no.jsonl", "--format", "jsonl", "--model", "no", "--out", out), "No file")
    refused(ssn("import", tmp_path, "--format", "jsonl", *like), "No file")
    refused(ssn("import", rows, "--format", "jsonl", "--out", out), "--model", "--like")
    refused(ssn("import", rows, "--format", "jsonl", "--model", "m", *like), "--model", "--like")
    refused(ssn("import", rows, "--format", "jsonl", "--revision", "v1", *like), "--revision")
    refused(ssn("import", rows, "--format", "jsonl", "--like", rows, "--out", out), "not a neuron set")
    refused(ssn("import", rows, "--format", "jsonl", "--like", tmp_path / "no.json", "--out", out), "No file")
    refused(ssn("import", rows, "--format", "jsonl", "--language", 1, *like), "--format lape")
    refused(ssn("import", rows, "--format", "sntune", "--min-score", 1, *like), "--format jsonl")
    refused(ssn("import", rows, "--format", "jsonl", "--like", source, "--out", tmp_path / "x.csv"), ".json")
    rows.write_bytes(pickle.dumps({"a": Path("x")}))
    refused(ssn("import", rows, "--format", "lape", *like), "tensors and lists alone")
    rows.write_text("")
    refused(ssn("import", rows, "--format", "jsonl", *like), "no neuron")
    assert out.read_text() == "mine" and not (tmp_path / "x.csv").exists()
