"""`ssn robustness` on a tiny model with an adapter: the set is that of the merged model, and the conditions are those of the single steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_templates_in_pipeline import LLAMA3, prepare

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness.bench import Bench
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.models import loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.corpus import HELDOUT, from_sources
from ssn_eval.prompts.pairs import safety_pairs
from ssn_eval.training.adapters.opening import open_trained
from ssn_eval.training.run import train

CHOSEN = NeuronSet.of([(layer, "o_proj", i) for layer in range(2) for i in range(0, 32, 3)])
SPEC = ModelSpec("weights", dtype="float32")
OPTIONS = (
    "--model weights --dtype float32 --languages en,zh --harmful harmful.jsonl --harmless harmless.jsonl --heldout 0.5"
)
WORDS = f"robustness {OPTIONS} --probes 1 --p 30 --batch-size 8 --max-new-tokens 4 --out found/robustness.json".split()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tiny model in `weights`, prompts of two languages, and an adapter in `adapter`."""
    monkeypatch.chdir(tmp_path)
    settings = prepare(tmp_path, LLAMA3, {}, None)
    loaded = loading.load(SPEC)
    pairs = safety_pairs([p for p in from_sources(("en", "zh"), settings.prompts) if p.label == "harmful"])
    options = replace(settings.train, lr=0.3, steps=3)
    train(loaded, "ssn", NeuronFile(CHOSEN, loaded.ref, {}), pairs, options, out=tmp_path / "adapter", provenance={})
    return settings


def test_the_set_is_found_on_the_adapted_model_and_suppressed_there(project, monkeypatch):
    store.save_neurons(Path("old.json"), NeuronFile(CHOSEN, loading.load(SPEC).ref, {}))
    done = CliRunner().invoke(main, [*WORDS, "--adapter", "adapter", "--before", "old.json", "--json"])
    assert done.exit_code == 0, (done.stderr, done.exception)
    found = json.loads(Path("found/robustness.json").read_text())
    assert {k: v for k, v in json.loads(done.stdout).items() if k != "out"} == found
    again = store.load_neurons(Path("found/robustness.neurons.json"))
    assert len(again.neurons) == found["neurons"] > 0 and again.model.id == "weights + adapter"
    assert found["overlap"]["shared"] == len(again.neurons & CHOSEN)
    assert not Path("found/.work-robustness.json").exists()

    settings = EvaluateParams(batch_size=8, max_new_tokens=4, ability=0, capability=None)
    heldout = [p for p in from_sources(("en", "zh"), project.prompts) if p.split == HELDOUT]
    adapted = Bench(SPEC, heldout, ("en", "zh"), settings, Path("a"), trained=Path("adapter"))
    plain = Bench(SPEC, heldout, ("en", "zh"), settings, Path("b"))
    assert adapted.unchanged()["counts"] == plain.trained(Path("adapter"))["counts"]
    suppressed = adapted.intervened(again.neurons, SUPPRESS)["counts"]
    rate = found["suppressed"]["all"]["after"]
    assert rate == sum(sum(v.values()) / len(v) for v in suppressed["verdicts"].values()) / 2
    with pytest.raises(ParamsError, match="measures adapter already"):
        adapted.trained(Path("adapter"))

    base = CliRunner().invoke(main, [*WORDS[:-1], "base.json"])
    assert base.exit_code == 0 and "set suppressed" in base.stdout, base.stderr
    assert store.load_neurons(Path("base.neurons.json")).neurons != again.neurons, "training moved the set"


def test_a_merged_model_and_a_checkpoint_are_the_same_weights(project):
    import torch

    from ssn_eval.models import deltas
    from ssn_eval.models.deltas import Delta

    merged = open_trained(SPEC, Path("adapter"))
    merged.model.save_pretrained("checkpoint")
    merged.tokenizer.save_pretrained("checkpoint")
    base = loading.load(SPEC)
    patches = deltas.between(base.model.state_dict(), merged.model.state_dict())
    deltas.save(Path("delta.safetensors"), Delta(patches, base.ref, {}))
    for name in ("checkpoint", "delta.safetensors"):
        opened = open_trained(SPEC, Path(name))
        assert all(
            torch.equal(a, b) for a, b in zip(opened.model.parameters(), merged.model.parameters(), strict=True)
        ), name
        assert opened.ref.weights != base.ref.weights and opened.ref.geometry == base.ref.geometry
    with pytest.raises(MissingInputError, match="neither an adapter"):
        open_trained(SPEC, Path("."))


def test_mistakes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, LLAMA3, {}, None)
    for words, said in (
        (["--adapter", "adapter", "--checkpoint", "other"], "not both"),
        (["--hr", "th"], "must hold th"),
        (["--out", "x.txt"], ".json file"),
        (["--adapter", "nowhere"], "nowhere"),
    ):
        done = CliRunner().invoke(main, [*WORDS, *words])
        assert done.exit_code == 2 and said in done.stderr, (words, done.stderr)
