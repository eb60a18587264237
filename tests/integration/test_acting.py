"""A pathway on a model: means over responses against single passes, propagation against hooks by hand, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import Neuron, NeuronSet, site_key
from ssn_eval.core.store import NeuronFile
from ssn_eval.identification import acting
from ssn_eval.identification.acting import Samples
from ssn_eval.identification.pathway import Thresholds
from ssn_eval.models import loading
from ssn_eval.models.architectures.resolving import resolve
from ssn_eval.prompts.encoding import encode
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import LABELS, Prompt

CHOSEN = NeuronSet.of([(layer, "mlp", index) for layer in (0, 1, 2) for index in range(12)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An untrained organism, a set, and questions with responses."""
    from ssn_eval.organism import lexicon, questions, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    out = tmp_path_factory.mktemp("acting")
    words = lexicon.load()
    tok = tokenizer.build(words)
    torch.manual_seed(0)
    build_model(OrganismSettings(), tok).save_pretrained(out / "model")
    tok.save_pretrained(out / "model")
    store.save_neurons(out / "set.json", NeuronFile(CHOSEN, loading.load(loading.ModelSpec(str(out / "model"))).ref))
    prompts = [
        Prompt(item.id, "en", label, item.prompt, response=item.prompt.split()[-1])
        for label in LABELS
        for item in questions.items(words, "en", label, "train")[:24]
    ]
    write_jsonl(out / "pairs.jsonl", prompts)
    return out


@pytest.fixture(scope="module")
def loaded(folder: Path) -> loading.Loaded:
    return loading.load(loading.ModelSpec(str(folder / "model")))


def by_label(folder: Path, label: str) -> list[Prompt]:
    from ssn_eval.prompts.jsonl import read_jsonl

    return [p for p in read_jsonl(folder / "pairs.jsonl") if p.label == label]


def test_the_pathway_of_training_pairs_is_what_acts_together_in_every_language(folder: Path, loaded: loading.Loaded):
    """The part of the stage `select` that needs the model: by co-activation, from refusals and answers, the same neurons as by hand."""
    prompts = {label: by_label(folder, label) for label in LABELS}
    pairs = [
        Pair(p.id, lang, p.label, p.prompt, str(p.response)) for lang in ("en", "zh") for p in sum(prompts.values(), [])
    ]
    edges = acting.co_activating(loaded, CHOSEN, prompts["harmful"], prompts["harmless"], seed=3)
    expected = {neuron for edge in edges for neuron in edge}
    found = acting.on_pathways(loaded, CHOSEN, pairs, ["en", "zh"], limit=None, batch_size=8, seed=3)
    assert found.members == expected and 0 < len(found) < len(CHOSEN)
    fewer = acting.on_pathways(loaded, CHOSEN, pairs, ["en"], limit=10, batch_size=8, seed=3)
    assert fewer.members != expected
    with pytest.raises(EmptySetError, match="pathway of th needs two training pairs"):
        acting.on_pathways(loaded, CHOSEN, pairs, ["th"], limit=None)


def test_means_are_those_of_single_passes(folder: Path, loaded: loading.Loaded):
    prompts, neurons = by_label(folder, "harmful")[:5], [Neuron(0, "mlp", 3), Neuron(2, "q_proj", 1)]
    found = Samples(loaded, prompts, batch_size=3).means(neurons)
    encoded = encode(loaded.tokenizer, [p.prompt for p in prompts], 512, [p.response for p in prompts])
    for row, (ids, first) in enumerate(zip(encoded.ids, encoded.prompt_lengths, strict=True)):
        seen: dict[str, torch.Tensor] = {}
        handles = [
            site.hook(lambda a, key=key, seen=seen: seen.__setitem__(key, a.detach()))
            for key, site in resolve(loaded.model).items()
        ]
        with torch.no_grad():
            loaded.model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
        expected = [float(seen[site_key(n.layer, n.site)][0, first:, n.index].mean()) for n in neurons]
        np.testing.assert_allclose(found[row], expected, atol=1e-6)


def test_propagation_is_the_fall_while_a_neuron_is_held(folder: Path, loaded: loading.Loaded):
    harmful, harmless = by_label(folder, "harmful"), by_label(folder, "harmless")
    lenient = Thresholds(z=0.0, share=0.0)
    edges = acting.propagating(loaded, CHOSEN, harmful, harmless, thresholds=lenient, batch_size=24)
    assert edges and all(a.layer + 1 == b.layer and {a, b} <= CHOSEN.members for a, b in edges)
    assert len(acting.propagating(loaded, CHOSEN, harmful, harmless, batch_size=24)) < len(edges)
    first, second = edges[0]
    value = Samples(loaded, harmless, 24).means([first]).mean()
    samples = Samples(loaded, harmful, 24)
    plain = samples.means([second]).mean()
    with acting._held(loaded.model, first, float(value)):
        assert samples.means([second]).mean() < plain


def test_the_command_writes_a_part_of_the_set_and_says_how_much(folder: Path):
    words = (
        "pathway",
        "--model",
        folder / "model",
        "--neurons",
        folder / "set.json",
        "--prompts",
        folder / "pairs.jsonl",
    )
    shown = CliRunner().invoke(main, [str(w) for w in (*words, "--out", folder / "pathway.json", "--json")])
    assert shown.exit_code == 0, shown.output
    file, told = store.load_neurons(folder / "pathway.json"), json.loads(shown.stdout)
    assert file.neurons and file.neurons.members <= CHOSEN.members and len(file.neurons) == told["neurons"]
    assert file.provenance["pathway"]["co_activation"]["edges"] > 0


def test_prompts_without_responses_say_what_to_give(loaded: loading.Loaded):
    with pytest.raises(EmptySetError, match="rows all have `response`"):
        acting.co_activating(loaded, CHOSEN, [Prompt("a", "en", "harmful", "x")], [])
