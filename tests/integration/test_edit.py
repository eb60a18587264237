"""`ssn edit`: weights of a set changed without training, as a delta that `ssn_hf` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import existing, owned_by_hand, tiny

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import deltas, loading
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.training import editing

CHOSEN = NeuronSet.of([(0, "mlp", 3), (0, "mlp", 7), (1, "mlp", 5), (0, "q_proj", 1)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two untrained organisms, a set of the first, and parallel questions with a split."""
    from ssn_eval.organism import lexicon, questions, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    out = tmp_path_factory.mktemp("edit")
    words = lexicon.load()
    tok = tokenizer.build(words)
    for name, seed in (("one", 0), ("two", 1)):
        torch.manual_seed(seed)
        build_model(OrganismSettings(seed=seed), tok).save_pretrained(out / name)
        tok.save_pretrained(out / name)
    loaded = loading.load(loading.ModelSpec(str(out / "one")))
    store.save_neurons(out / "set.json", NeuronFile(CHOSEN, loaded.ref))
    for label in ("harmful", "harmless"):
        prompts = [
            Prompt(item.id, lang, label, item.prompt, "train")
            for lang in ("en", "th")
            for item in questions.items(words, lang, label, "train")[:20]
        ]
        write_jsonl(out / f"{label}.jsonl", prompts)
    return out


def run(*words: object) -> Any:
    """The command, which must succeed."""
    shown = CliRunner().invoke(main, [str(word) for word in words])
    assert shown.exit_code == 0, shown.output
    return shown


def test_a_sparse_edit_brings_weak_prompts_to_what_english_ones_give(folder: Path):
    out = folder / "edited.safetensors"
    sources = ("--harmful", folder / "harmful.jsonl", "--harmless", folder / "harmless.jsonl")
    run(
        "edit",
        "sparse",
        "--model",
        folder / "one",
        "--neurons",
        folder / "set.json",
        "--languages",
        "th",
        *sources,
        "--out",
        out,
    )
    delta = deltas.load(out)
    assert delta.provenance["edit"] == "sparse" and delta.provenance["pairs"] == 20
    loaded = loading.load(loading.ModelSpec(str(folder / "one")))
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    rows = {"0": [3, 7], "1": [5]}
    expected = {f"model.layers.{n}.mlp.{part}_proj.weight" for n in rows for part in ("gate", "up")}
    assert delta.patches.keys() == expected
    for name, patch in delta.patches.items():
        assert patch.where == "rows" and patch.positions.tolist() == rows[name.split(".")[2]]

    from ssn_eval.prompts.jsonl import read_jsonl

    prompts = read_jsonl(folder / "harmful.jsonl")
    english = {p.id: p.prompt for p in prompts if p.lang == "en"}
    weak = [p for p in prompts if p.lang == "th"]
    for name, patch in delta.patches.items():
        module = name.removesuffix(".weight")
        x, target = (
            editing.inputs_of(loaded, texts, [module], 8)[module]
            for texts in ([p.prompt for p in weak], [english[p.id] for p in weak])
        )
        wanted = target @ before[name][patch.positions].double().T
        old, new = (x @ values.double().T for values in (before[name][patch.positions], patch.values))
        assert float((new - wanted).norm()) < 0.7 * float((old - wanted).norm())


def test_ssn_hf_loads_the_edit_as_a_checkpoint(folder: Path):
    from ssn_eval.harness.model import SsnHFLM

    out = folder / "transplanted.safetensors"
    run(
        "edit",
        "transplant",
        "--model",
        folder / "one",
        "--donor",
        folder / "two",
        "--neurons",
        folder / "set.json",
        "--out",
        out,
    )
    lm = SsnHFLM(str(folder / "one"), checkpoint=str(out))
    own, donor = (
        dict(loading.load(loading.ModelSpec(str(folder / n))).model.named_parameters()) for n in ("one", "two")
    )
    for name, weight in lm.model.named_parameters():
        patch = deltas.load(out).patches.get(name)
        expected = own[name].detach().clone()
        if patch:
            mask = torch.zeros_like(expected)
            deltas.Patch(patch.where, patch.positions, torch.ones_like(patch.values)).apply(mask)
            expected = torch.where(mask.bool(), donor[name].detach(), expected)
        assert torch.equal(weight, expected), name
    assert len(deltas.load(out).patches) == 7  # q of one neuron; gate, up and down of two layers


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_a_transplant_takes_what_the_neurons_own_and_nothing_else(architecture: str):
    model, donor = tiny(architecture), tiny(architecture)
    with torch.no_grad():
        for parameter in donor.parameters():
            parameter.add_(1)
    neurons = existing(model, [(0, "q_proj", 3), (1, "mlp", 5)])
    patches = editing.transplant(model, donor, NeuronSet.of(neurons))
    changed = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for name, patch in patches.items():
        deltas.Patch(patch.where, patch.positions, torch.ones_like(patch.values)).apply(changed[name])
    expected = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for layer, site, index in neurons:
        for name, entries in owned_by_hand(model, layer, site, index).items():
            if name.endswith("weight"):
                expected[name][entries] = 1
    assert all(torch.equal(changed[name], expected[name]) for name in changed)


def test_bad_input():
    model = tiny("llama")
    with pytest.raises(EmptySetError, match="no MLP neuron"):
        editing._rows(model, NeuronSet.of([(0, "q_proj", 1)]))
    with pytest.raises(MismatchError, match="same architecture"):
        editing.transplant(model, tiny("gpt2"), NeuronSet.of([(0, "mlp", 1)]))
