"""Cards: front matter that the hub's own library reads back, every fact in its place, equal bytes for equal facts."""

from __future__ import annotations

import pytest
from huggingface_hub import DatasetCard, ModelCard, ModelCardData

from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.store import NeuronFile
from ssn_eval.models.cards.neurons import neuron_card
from ssn_eval.models.cards.weights import weights_card

SHAPE = Geometry({"layers.0.q_proj": 8, "layers.0.mlp": 12, "layers.1.q_proj": 8, "layers.1.mlp": 12})
BASE = ModelRef("you/model-8b", "ab" * 32, "llama", SHAPE, "c0ffee")
NEURONS = NeuronSet.from_keys({"layers.0.q_proj": [1, 2], "layers.1.mlp": [3]})
MADE = {
    "method": "ssn",
    "seed": 7,
    "inputs": {"pairs": {"path": "pairs.jsonl", "sha256": "12" * 32}},
    "versions": {"torch": "2.6"},
    "neurons": NEURONS.by_key(),
    "neuron_set": {"what": "ss", "lang": "th", "hr": "en", "p": 3.0},
    "training": {
        "method": {"set": "ss", "weights": "neurons", "loss": "sft"},
        "settings": {"lr": 0.001, "epochs": 3.0, "leave_out": ["jv"]},
        "pairs": {"en": {"harmful": 64, "harmless": 60}, "th": {"harmful": 64, "harmless": 59}},
        "trainable": 1792,
        "parameters": 1629056,
        "steps": 40,
        "loss": [2.0, 0.1],
    },
}


def front_matter(card: str) -> ModelCardData:
    """As the hub's library reads it back."""
    found = ModelCard(card).data
    assert isinstance(found, ModelCardData)
    return found


def test_the_front_matter_of_an_adapter():
    front = front_matter(weights_card(BASE, MADE, is_adapter=True))
    assert (front.base_model, front.to_dict()["base_model_relation"]) == ("you/model-8b", "adapter")
    assert (front.library_name, front.pipeline_tag, front.language) == ("peft", "text-generation", ["en", "th"])
    assert {"ssn-eval", "safety-neurons", "lora"} <= set(front.tags or ())


def test_the_front_matter_of_a_checkpoint():
    front = front_matter(weights_card(BASE, MADE, is_adapter=False))
    assert (front.library_name, front.to_dict()["base_model_relation"]) == ("transformers", "finetune")
    assert "lora" not in (front.tags or ())


def test_a_folder_of_this_machine_is_no_model_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "you" / "model-8b").mkdir(parents=True)
    for base in (BASE, ModelRef("artifacts/model/weights", "ab" * 32, "llama", SHAPE)):
        card = weights_card(base, MADE, is_adapter=True)
        assert front_matter(card).base_model is None and f"`{base.id}`" in card


@pytest.mark.parametrize(
    "fact",
    [
        "you/model-8b",
        "c0ffee",
        "ab" * 32,
        "1,792 of 1,629,056 (0.11 %)",
        "mlp 1, q_proj 2",
        "| th | 64 | 59 |",
        "| languages left out | jv |",
        "12" * 32,
        "| steps | 40 |",
        "last quarter of the steps | 2, 0.1 |",
        "| lr | 0.001 |",
        "| their set: p | 3.0 |",
        "seed 7",
        "torch 2.6",
        "--model ssn_hf --model_args pretrained=you/model-8b,revision=c0ffee,adapter=PATH",
        "--model hf --model_args pretrained=you/model-8b,revision=c0ffee,peft=PATH",
        "ssn merge PATH",
        "## Intended use",
        "## Limits",
        "## Dual use",
    ],
)
def test_what_the_card_of_an_adapter_says(fact):
    assert fact in weights_card(BASE, MADE, is_adapter=True)


def test_a_checkpoint_needs_no_adapter_to_load():
    card = weights_card(BASE, MADE, is_adapter=False)
    assert "pretrained=PATH " in card and "peft" not in card.lower() and "ssn merge" not in card


@pytest.mark.parametrize("made", [{"method": "random"}, {"method": "ssn", "set": "ss_lr.random_1"}])
def test_a_control_says_so_first(made):
    card = weights_card(BASE, MADE | made, is_adapter=True)
    assert "control for comparison" in card.split("| base model |")[0]
    assert "control for comparison" not in weights_card(BASE, MADE, is_adapter=True)


def test_little_known_little_said():
    """An untrained adapter of `ssn export` knows its neurons' origin alone."""
    card = weights_card(BASE, {"untrained": True, "what": "ss"}, is_adapter=True)
    assert "Untrained" in card and "## Training data" not in card and "None" not in card
    assert front_matter(card).language is None


def test_equal_facts_equal_bytes():
    assert weights_card(BASE, dict(reversed(MADE.items())), is_adapter=True) == weights_card(
        BASE, MADE, is_adapter=True
    )


def test_the_card_of_a_neuron_set():
    made = {"what": "ss", "lang": "th", "hr": "en", "p": 3.0, "sites": ["q_proj", "mlp"], "versions": {"torch": "2.6"}}
    card = neuron_card(NeuronFile(NEURONS, BASE, made), "ss.json")
    front = DatasetCard(card).data.to_dict()
    assert front["language"] == ["en", "th"] and front["viewer"] is False
    for fact in (
        "3 of 40 neurons",
        "mlp 1, q_proj 2",
        "| p | 3.0 |",
        "ab" * 32,
        "neurons=ss.json,op=suppress",
        "## Dual use",
    ):
        assert fact in card
    assert "A control" not in card


def test_a_random_set_is_a_control():
    card = neuron_card(NeuronFile(NEURONS, BASE, {"what": "random", "control_of": "ss", "seed": 0}), "random.json")
    assert "A control" in card and "| control_of | ss |" in card


def test_a_table_is_not_broken_by_what_a_file_says():
    made = {"what": "ss", "source": {"file": "a|b\n| evil | row |"}}
    card = neuron_card(NeuronFile(NEURONS, BASE, made), "ss.json")
    assert "| source | file a\\|b \\| evil \\| row \\| |" in card
