"""The train stage takes a preset's name, its control's, or a named set's as a method, and says so when there is none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from safetensors.numpy import load_file

from ssn_eval.core import files, origin, store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.identification import selection
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.stages import train
from ssn_eval.stages.common import is_untrained, run_stage

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the stages before leave: a tiny model, pairs, and the sets of two presets and one control."""
    monkeypatch.chdir(tmp_path)
    tok = tokenizer.build(lexicon.load())
    build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).save_pretrained(
        "model/weights"
    )
    tok.save_pretrained("model/weights")
    spec = loading.ModelSpec("model/weights", dtype="float32")
    files.write_json(Path("model/spec.json"), spec.to_json())
    rows = [
        {"id": f"{label}-{i}", "lang": lang, "label": label, "prompt": f"how {i}?", "response": "no"}
        for label in ("harmful", "harmless")
        for lang in ("en", "zh")
        for i in range(4)
    ]
    Path("pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ref = loading.load(spec).ref
    control = selection.matched_random(CHOSEN, ref.geometry, 0)
    for name, neurons in {"ss": CHOSEN, "ss_late": CHOSEN, "ss_late.random_0": control}.items():
        store.save_neurons(Path(f"sets/{name}.json"), store.NeuronFile(neurons, ref))
    settings = yaml.safe_load(SHIPPED.read_text())
    settings["train"] |= {"steps": 2, "batch_size": 2, "pairs": 2}
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    return tmp_path


def stage(monkeypatch, method: str) -> int:
    paths = [method, "model", "pairs.jsonl", "sets", f"train/{method}", f"results/{method}.json"]
    monkeypatch.setattr(sys, "argv", ["stage", *paths])
    try:
        run_stage(train.main)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_a_preset_and_its_control_are_methods(folder, monkeypatch):
    for method in ("ssn", "ss", "ss_late", "ss_late.random_0"):
        assert stage(monkeypatch, method) == 0
    made = {m: json.loads(Path(f"results/{m}.json").read_text()) for m in ("ssn", "ss_late", "ss_late.random_0")}
    assert len({value["trainable"] for value in made.values()}) == 1 and made["ss_late"]["method"] == "ss_late"
    weights = {m: load_file(f"train/{m}/adapter_model.safetensors") for m in (*made, "ss")}
    same = {m: all((weights[m][k] == v).all() for k, v in weights["ssn"].items()) for m in weights}
    assert same == {"ssn": True, "ss": True, "ss_late": True, "ss_late.random_0": False}


def test_every_kind_of_row_is_a_method(folder, monkeypatch):
    """Adapters and whole checkpoints, each with its summary; a row of one's own too."""
    store.save_neurons(Path("sets/ss.json"), store.load_neurons(Path("sets/ss_late.json")))
    settings = yaml.safe_load(Path("params.yaml").read_text())
    settings["methods"] |= {"mine": {"set": "ss_late.random_0", "loss": "mpo", "beta": 2.0, "lr": 0.01}}
    Path("params.yaml").write_text(yaml.safe_dump(settings))
    for method, adapter in (("grad_mask", False), ("lora", True), ("rdpo", False), ("mpo_ssn", True), ("mine", True)):
        assert stage(monkeypatch, method) == 0, method
        made = json.loads(Path(f"results/{method}.json").read_text())
        assert made["method"] == method and len(made["loss"]) == 2 and 0 < made["trainable"] <= made["parameters"]
        assert (Path(f"train/{method}") / "adapter_config.json").is_file() is adapter
        assert (Path(f"train/{method}") / "config.json").is_file() is not adapter
    assert not list(Path("train").glob(".work*"))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("ss_lat", "Did you mean ss_late"),
        ("ss_lr", "sets/ss_lr.json is not there yet"),
        ("ss_late.random_1", "sets/ss_late.random_1.json is not there yet"),
    ],
)
def test_a_method_without_neurons(folder, monkeypatch, capsys, method, said):
    assert stage(monkeypatch, method) == 2
    assert said in capsys.readouterr().err and not Path("train").exists() and not Path("results").exists()


def test_an_empty_set_trains_nothing_and_says_so(folder, monkeypatch, capsys):
    """The stage ends well, so that the other methods and the report go on."""
    assert stage(monkeypatch, "random") == 0
    assert "the set random_0 is empty, so random trains nothing; use a larger select.p" in capsys.readouterr().out
    made = json.loads(Path("results/random.json").read_text())
    assert set(made) == {"method", "untrained"} and is_untrained(Path("train/random"))
    assert not is_untrained(Path("model"))


def test_a_set_of_another_model(folder, monkeypatch, capsys):
    file = store.load_neurons(Path("sets/ss_late.json"))
    other = origin.ModelRef("other", "b" * 64, file.model.model_type, file.model.geometry)
    store.save_neurons(Path("sets/ss_late.json"), store.NeuronFile(file.neurons, other))
    assert stage(monkeypatch, "ss_late") == 2
    assert "another model" in capsys.readouterr().err and not Path("train").exists()
