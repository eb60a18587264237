"""A mixture of experts through every door of training: saved, resumed, loaded, merged, exported; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from conftest import tiny
from interrupting import interrupted

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.core.store import NeuronFile
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.models import deltas, loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training.adapters.neuron_lora import reads_weight
from ssn_eval.training.run import train
from ssn_eval.training.weights import masks

SETTINGS = TrainParams(steps=4, batch_size=2, pairs=2)
PAIRS = [
    Pair(f"{label}{i}", lang, label, f"how {i}?", f"no {i}")
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(2)
]
CHOSEN = NeuronSet.of(
    [
        (0, "mlp", 3),
        (1, "mlp.0", 5),
        (1, "mlp.0", 43),
        (1, "mlp.2", 1),
        (2, "mlp.4", 9),
        (2, "q_proj", 2),
        (2, "o_proj", 8),
    ]
)
IDS = torch.tensor([[5, 9, 17, 4, 8, 3, 12]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 MoE with a tokenizer; `a` is a neuron-LoRA of the chosen neurons, `g` their masked gradients."""
    root = tmp_path_factory.mktemp("experts")
    words = tokenizer.build(lexicon.load())
    model: Any = tiny("qwen3_moe")
    model.resize_token_embeddings(len(words))
    model.save_pretrained(root / "m")
    words.save_pretrained(root / "m")
    loaded = load(root)
    neurons = NeuronFile(CHOSEN, loaded.ref, {})
    store.save_neurons(root / "set.json", neurons)
    train(loaded, Method("ss", lr=0.05), neurons, PAIRS, SETTINGS, out=root / "a")
    train(load(root), Method("ss", "mask", lr=0.05), neurons, PAIRS, SETTINGS, out=root / "g")
    return root


def load(root: Path) -> loading.Loaded:
    return loading.load(ModelSpec(str(root / "m")), device="cpu")


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def ssn(*words: object) -> Any:
    return CliRunner().invoke(main, [*map(str, words)])


def test_every_door_gives_the_same_model(folder: Path, tmp_path: Path):
    from ssn_eval.harness.model import SsnHFLM

    for done in (
        ssn("merge", folder / "a", "--model", folder / "m", "--out", tmp_path / "merged"),
        ssn("export", folder / "a", "--format", "delta", "--model", folder / "m", "--out", tmp_path / "d.safetensors"),
        ssn("export", folder / "set.json", "--format", "peft", "--model", folder / "m", "--out", tmp_path / "skeleton"),
    ):
        assert done.exit_code == 0, done.output
    base = logits(load(folder).model)
    by_mask = logits(loading.load(ModelSpec(str(folder / "g"))).model)
    merged = logits(loading.load(ModelSpec(str(tmp_path / "merged"))).model)
    assert (merged - base).abs().max() > 0.01
    torch.testing.assert_close(by_mask, merged, atol=1e-4, rtol=1e-3)
    for adapter, checkpoint, expected in (
        (folder / "a", None, merged),
        (tmp_path / "skeleton", None, base),
        (None, tmp_path / "d.safetensors", merged),
        (None, folder / "g", by_mask),
    ):
        rest = {"adapter": adapter and str(adapter), "checkpoint": checkpoint and str(checkpoint)}
        lm = SsnHFLM(pretrained=str(folder / "m"), device="cpu", **rest)
        torch.testing.assert_close(lm._model_call(IDS), expected, atol=1e-5, rtol=1e-4)
    changed = set(deltas.load(tmp_path / "d.safetensors").patches)
    assert changed <= set(masks(load(folder).model, CHOSEN)) and any("mlp.experts" in name for name in changed)
    uniform = ssn("export", folder / "a", "--format", "peft", "--uniform-rank", "--out", tmp_path / "one")
    assert uniform.exit_code == 2 and "with experts" in uniform.stderr and "ssn merge" in uniform.stderr


def test_an_intervention_sees_an_experts_adapter(folder: Path):
    from ssn_eval.training.adapters.folder import load_adapter
    from ssn_eval.training.adapters.neuron_lora import merge

    loaded = load(folder)
    tuned: Any = load_adapter(loaded.model, folder / "a", loaded.ref)
    with intervene(tuned, CHOSEN, SUPPRESS):
        hooked = logits(tuned)
    merged: Any = merge(tuned)
    with intervene(merged, CHOSEN, SUPPRESS):
        torch.testing.assert_close(logits(merged), hooked, atol=1e-5, rtol=1e-4)


def test_a_broken_off_training_resumes_to_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run() -> None:
        loaded = load(folder)
        train(loaded, Method("ss", lr=0.05), NeuronFile(CHOSEN, loaded.ref, {}), PAIRS, SETTINGS, out=tmp_path / "a")

    with interrupted(monkeypatch, 3):
        run()
    run()
    name = "adapter_model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (folder / "a" / name).read_bytes()


def test_an_ordinary_lora_reaches_every_expert(folder: Path, tmp_path: Path):
    loaded = load(folder)
    done = train(loaded, Method(weights="lora", rank=2, lr=0.01), None, PAIRS, SETTINGS, out=tmp_path / "lora")
    tuned: Any = done.free.model
    moved = {name for name, p in tuned.named_parameters() if "lora_B" in name and p.any()}
    assert any("mlp.experts" in name for name in moved) and any("layers.0.mlp.down_proj" in name for name in moved)
    routers = [name for name in dict(tuned.named_parameters()) if ".gate." in name]
    assert routers and not any("lora_" in name for name in routers)


def test_a_kernel_that_reads_a_weight_beside_its_module_is_known():
    """On a GPU Mamba's fused kernel would leave out an adapter on the module."""
    from transformers.models.bamba.modeling_bamba import BambaMixer
    from transformers.models.llama.modeling_llama import LlamaAttention

    assert reads_weight(BambaMixer, "out_proj") and not reads_weight(BambaMixer, "in_proj")
    assert not reads_weight(LlamaAttention, "o_proj")


def test_preference_losses_move_the_chosen_neurons_alone(folder: Path, tmp_path: Path):
    pytest.importorskip("trl", reason="TRL is an extra: ssn-eval[baselines]")
    loaded = load(folder)
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    pairs = [Pair(p.id, p.lang, p.label, p.prompt, p.response, rejected="yes") for p in PAIRS]
    neurons = NeuronFile(CHOSEN, loaded.ref, {})
    train(loaded, Method("ss", loss="dpo", lr=0.05), neurons, pairs, SETTINGS, out=tmp_path / "dpo")
    again = load(folder)
    from ssn_eval.training.adapters.folder import load_adapter
    from ssn_eval.training.adapters.neuron_lora import merge

    allowed = masks(again.model, CHOSEN)
    tuned = load_adapter(again.model, tmp_path / "dpo", again.ref)
    moved = 0
    for name, parameter in merge(tuned).named_parameters():
        change = parameter != before[name]
        assert not (change & (allowed.get(name, torch.zeros_like(before[name])) == 0)).any(), name
        moved += int(change.sum())
    assert moved > 0
