"""Conditions of one model: one load for all, a finished one is kept, and what decides it names it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import models_on_disk
import numpy as np
import pytest
import torch
from test_templates_in_pipeline import LLAMA3, prepare

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness.conditions import Conditions
from ssn_eval.harness.evaluate import Evaluation
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.interventions import directions, residual
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.interventions.weights import bake
from ssn_eval.models import deltas, loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages import validate
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build

CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3)])
IDS = torch.tensor([[5, 6, 7, 8]])


def evaluation(value: int) -> tuple[Evaluation, dict[str, Any]]:
    return Evaluation({"by_lang": {"en": value}}, [{"id": "a", "refusal": True}]), {"op": "none"}


def test_a_condition_is_measured_once_and_named_by_what_decides_it(tmp_path: Path) -> None:
    asked: list[int] = []

    def measure(value: int = 1) -> tuple[Evaluation, dict[str, Any]]:
        asked.append(value)
        return evaluation(value)

    one = Conditions(tmp_path, {"model": "a", "prompts": "x"})
    assert not one.has({"op": "suppress"})
    first = one.get({"op": "suppress"}, measure)
    assert first == {
        "counts": {"by_lang": {"en": 1}},
        "replies": [{"id": "a", "refusal": True}],
        "model": {"op": "none"},
    }
    assert Conditions(tmp_path, {"model": "a", "prompts": "x"}).get({"op": "suppress"}, measure) == first
    assert asked == [1] and one.has({"op": "suppress"})
    one.get({"op": "scale:2"}, measure)
    Conditions(tmp_path, {"model": "b", "prompts": "x"}).get({"op": "suppress"}, measure)
    assert len(asked) == 3


def test_another_code_or_library_measures_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssn_eval.core import origin

    Conditions(tmp_path, {}).get({}, lambda: evaluation(1))
    for name, value in (("code_hash", "0"), ("versions", {"torch": "0"})):
        with monkeypatch.context() as patch:
            patch.setattr(origin, name, lambda *_, value=value: value)
            assert not Conditions(tmp_path, {}).has({})
    assert Conditions(tmp_path, {}).has({})


def test_a_file_of_another_content_is_measured_again(tmp_path: Path) -> None:
    conditions = Conditions(tmp_path, {})
    conditions.get({}, lambda: evaluation(1))
    (place,) = tmp_path.iterdir()
    place.write_text("{}")
    assert conditions.get({}, lambda: evaluation(2))["counts"] == {"by_lang": {"en": 2}}


def test_an_adapter_is_taken_off_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    models_on_disk.llama(tmp_path / "m")
    loaded = loading.load(ModelSpec(str(tmp_path / "m")))
    tuned = build(loaded.model, CHOSEN)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if p.requires_grad:
                p.normal_(std=0.5, generator=torch.Generator().manual_seed(len(name)))
        expected = tuned(IDS).logits
    save_adapter(tuned, tmp_path / "adapter", loaded.ref, {})
    lm = SsnHFLM(str(tmp_path / "m"), device="cpu")
    weights = {name: p.clone() for name, p in lm.model.state_dict().items()}
    with torch.no_grad():
        before = lm.model(IDS).logits
        for _ in range(2):
            with lm.adapted(tmp_path / "adapter") as changed:
                assert torch.allclose(changed.model(IDS).logits, expected, atol=1e-5)
                assert not torch.equal(changed.model(IDS).logits, before)
                assert changed.get_model_info()["ssn_eval"]["adapter"] == str(tmp_path / "adapter")
            assert torch.equal(lm.model(IDS).logits, before)
    assert lm.get_model_info()["ssn_eval"]["adapter"] is None
    assert weights.keys() == lm.model.state_dict().keys()
    assert all(torch.equal(p, weights[name]) for name, p in lm.model.state_dict().items())


def test_a_delta_is_taken_off_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    models_on_disk.llama(tmp_path / "m")
    loaded = loading.load(ModelSpec(str(tmp_path / "m")))
    weights = {name: p.clone() for name, p in loaded.model.state_dict().items()}
    bake(loaded.model, CHOSEN, SUPPRESS)
    patches = deltas.between(weights, loaded.model.state_dict())
    deltas.save(tmp_path / "edit.safetensors", deltas.Delta(patches, loaded.ref))
    lm = SsnHFLM(str(tmp_path / "m"), device="cpu")
    with torch.no_grad():
        before, expected = lm.model(IDS).logits, loaded.model(IDS).logits
        for _ in range(2):
            with lm.edited(tmp_path / "edit.safetensors") as changed:
                assert torch.equal(changed.model(IDS).logits, expected)
                assert changed.get_model_info()["ssn_eval"]["checkpoint"] == "edit.safetensors"
                with pytest.raises(SystemExit), lm.edited(tmp_path / "edit.safetensors"):
                    pass
            assert torch.equal(lm.model(IDS).logits, before)
    assert "checkpoint" not in lm.get_model_info()["ssn_eval"]
    assert all(torch.equal(p, weights[name]) for name, p in lm.model.state_dict().items())


def test_a_stage_loads_its_model_once_and_measures_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from ssn_eval.stages import prompts

    monkeypatch.chdir(tmp_path)
    settings = prepare(tmp_path, LLAMA3, {}, None)
    model, rows, sets = Path("model"), Path("prompts.jsonl"), Path("sets")
    prompts.main(settings, model, rows, Path("pairs.jsonl"))
    ref = loading.load(ModelSpec("weights")).ref
    for name, neurons in {"ss": CHOSEN, "random_0": NeuronSet.of([(0, "q_proj", 2), (1, "mlp", 5)])}.items():
        store.save_neurons(sets / f"{name}.json", NeuronFile(neurons, ref))
    loads: list[str] = []
    from_spec = SsnHFLM.from_spec.__func__  # type: ignore[attr-defined]

    def counted(cls: Any, spec: ModelSpec, *args: Any, **options: Any) -> SsnHFLM:
        loads.append(spec.name)
        return from_spec(cls, spec, *args, **options)

    monkeypatch.setattr(SsnHFLM, "from_spec", classmethod(counted))

    def run(names: tuple[str, ...]) -> None:
        chosen = replace(settings, validate=replace(settings.validate, sets=names, ops=("suppress", "scale:2")))
        validate.main(chosen, model, rows, sets, Path("results"), Path("samples"))

    run(("ss", "random_0"))
    assert loads == ["weights"], "four conditions, one load"
    kept = {path: path.read_bytes() for path in Path("results").iterdir()}
    assert {path.name for path in kept} == {"ss.json", "random_0.json"}
    finished = len(list(Path(".ssn/conditions").iterdir()))
    assert finished == 4
    run(("ss", "random_0"))
    assert loads == ["weights"] and {path: path.read_bytes() for path in Path("results").iterdir()} == kept
    run(("ss",))
    assert [path.name for path in Path("results").iterdir()] == ["ss.json"] and loads == ["weights"]

    with_direction = replace(settings.validate, sets=("ss",), ops=("suppress", "direction:ablate", "direction:add:3"))
    chosen = replace(settings, validate=with_direction)
    for _ in range(2):
        validate.main(chosen, model, rows, sets, Path("results"), Path("samples"))
    assert loads == ["weights"] * 2, "the direction is found on the model that measures, once"
    assert {path.name for path in Path("results").iterdir()} == {"ss.json", "direction.json", "direction.random_0.json"}
    train = [p for p in read_jsonl(rows) if (p.lang, p.split) == ("en", "train")]
    harmful, harmless = ([p for p in train if p.label == label] for label in ("harmful", "harmless"))
    direction = residual.find(loading.load(ModelSpec("weights", dtype="float32")), harmful, harmless)
    written = json.loads(Path("results/direction.json").read_text())
    assert written["layer"] == direction.layer and set(written["conditions"]) == {"direction:ablate", "direction:add:3"}
    (kept_direction,) = Path(".ssn/directions").iterdir()
    np.testing.assert_allclose(directions.load(kept_direction).difference, direction.difference, rtol=1e-4, atol=1e-5)
    assert set(written["conditions"]["direction:ablate"]["verdicts"]) == {"en", "zh"}
