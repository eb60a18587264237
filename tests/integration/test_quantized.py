"""Models whose weights are quantised with torchao (int8, weights alone): scored, intervened on and trained beside; never written into."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny
from zoo import building, checking

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.identification.importance import score
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS, Op
from ssn_eval.interventions.weights import bake
from ssn_eval.models import loading, quantization
from ssn_eval.models.architectures.discovery import linears
from ssn_eval.models.architectures.resolving import found_of, resolve
from ssn_eval.models.loading import ModelSpec
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training.adapters.folder import load_adapter
from ssn_eval.training.adapters.neuron_lora import merge
from ssn_eval.training.run import train
from ssn_eval.training.weights import free

pytest.importorskip(
    "torchao", reason="torchao is an extra: ssn-eval[quantized]; `make test-quantized` makes an environment of its own"
)

KINDS = ("llama", "cohere", "qwen3_moe")
"""in the table, unknown to it, and with experts, which torchao leaves as they are"""
SETTINGS = TrainParams(steps=4, batch_size=2, pairs=2)
PAIRS = [
    Pair(f"{label}{i}", lang, label, f"how {i}?", f"no {i}")
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(2)
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A quantised model of each kind on disk, with a tokenizer."""
    from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found]
    from transformers import TorchAoConfig

    from ssn_eval.models.classes import auto_class

    root = tmp_path_factory.mktemp("quantized")
    words = tokenizer.build(lexicon.load())
    for kind in KINDS:
        model: Any = building.build(kind, "CohereForCausalLM") if kind == "cohere" else tiny(kind)
        model.resize_token_embeddings(len(words))
        model.save_pretrained(root / "plain" / kind)
        settings = TorchAoConfig(Int8WeightOnlyConfig())
        quantised = auto_class(model.config).from_pretrained(root / "plain" / kind, quantization_config=settings)
        quantised.save_pretrained(root / kind)
        words.save_pretrained(root / kind)
    return {kind: root / kind for kind in KINDS}


def dequantised(model: Any) -> Any:
    """A model of the same numbers as plain weights."""
    plain = type(model)._from_config(copy.deepcopy(model.config)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = parameter.dequantize() if hasattr(parameter, "qdata") else parameter
            plain.get_parameter(name).copy_(value)
    del plain.config.quantization_config
    return plain


def two_of_every_site(model: Any) -> NeuronSet:
    return NeuronSet.from_keys({key: [0, site.width - 1] for key, site in resolve(model).items()})


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_hooks_are_those_of_the_same_numbers_as_plain_weights(kind: str, folders: dict[str, Path]):
    model: Any = loading.load(ModelSpec(str(folders[kind])), device="cpu").model
    assert quantization.method_of(model) == "torchao"
    assert quantization.is_packed(model.model.layers[0].self_attn.q_proj)
    plain = dequantised(model)
    assert found_of(model).to_json() == found_of(plain).to_json()
    torch.testing.assert_close(checking.logits(model), checking.logits(plain), atol=1e-4, rtol=1e-3)
    prompts = [[5, 9, 17, 4], [8, 3, 12]]
    for method in ("sketch", "exact"):
        ours, theirs = (score(m, prompts, sites=("both",), method=method, probes=4) for m in (model, plain))
        largest = max(float(scores.max()) for scores in theirs.values())
        for key in theirs:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-2, atol=1e-4 * largest)
    neurons = two_of_every_site(model)
    for op in (SUPPRESS, Op(2.0)):
        baked = copy.deepcopy(plain)
        bake(baked, neurons, op)
        with intervene(model, neurons, op):
            torch.testing.assert_close(checking.logits(model), checking.logits(baked), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_lora_is_trained_beside_the_weights_saved_and_loaded(
    kind: str, folders: dict[str, Path], tmp_path: Path
):
    from ssn_eval.core.store import NeuronFile

    spec = ModelSpec(str(folders[kind]))
    loaded = loading.load(spec, device="cpu")
    before = {name: p.dequantize() if hasattr(p, "qdata") else p.clone() for name, p in loaded.model.named_parameters()}
    neurons = NeuronFile(two_of_every_site(loaded.model), loaded.ref, {})
    done = train(loaded, Method("ss", lr=0.05), neurons, PAIRS, SETTINGS, out=tmp_path / "adapter")
    tuned: Any = done.free.model
    assert done.summary["loss"][-1]["loss"] < done.summary["loss"][0]["loss"]
    for name, parameter in tuned.base_model.model.named_parameters():
        if "lora_" not in name:
            value = parameter.dequantize() if hasattr(parameter, "qdata") else parameter
            assert torch.equal(value, before[name.replace("base_layer.", "")]), name
    expected = checking.logits(tuned.base_model.model)
    again = loading.load(spec, device="cpu")
    assert not torch.allclose(checking.logits(again.model), expected, atol=1e-3)
    stored: Any = load_adapter(again.model, tmp_path / "adapter", again.ref)
    torch.testing.assert_close(checking.logits(stored.base_model.model), expected)
    with pytest.raises(
        ParamsError, match=r"quantised \(torchao\), and an adapter cannot be added to them; merge it into"
    ):
        merge(stored)


def test_what_would_write_into_the_weights_is_refused_with_the_way_round(folders: dict[str, Path]):
    model = loading.load(ModelSpec(str(folders["llama"])), device="cpu").model
    neurons = two_of_every_site(model)
    with pytest.raises(
        ParamsError, match=r"quantised \(torchao\), and single rows.*bake into the model's plain weights"
    ):
        bake(model, neurons, SUPPRESS)
    for method in (Method("ss", "mask"), Method(weights="full")):
        with pytest.raises(ParamsError, match=r"quantised \(torchao\), and this method changes them; train an adapter"):
            free(model, method, neurons)


def test_ssn_hf_runs_a_quantised_model_under_an_intervention(folders: dict[str, Path]):
    from ssn_eval.harness.model import SsnHFLM

    lm = SsnHFLM.from_spec(ModelSpec(str(folders["cohere"])), batch_size=2)
    ids = torch.tensor([[5, 6, 7, 8]])
    plain = lm._model_call(ids)
    with intervene(lm.model, two_of_every_site(lm.model), SUPPRESS):
        assert (lm._model_call(ids) - plain).abs().max() > 0


def test_a_quantised_module_whose_activations_are_rounded_too_is_not_proven():
    linear = torch.nn.Linear(16, 8)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    assert linears.is_affine(linear, x, linear(x))
    assert not linears.is_affine(linear, x, linear(x) + 0.1)
    rounded = _Rounded(16, 8)
    assert not linears.is_affine(rounded, x, rounded(x))


class _Rounded(torch.nn.Linear):
    """Rounds its input to a few levels, as dynamic int8 does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        scale = input.abs().amax(-1, keepdim=True) / 7
        return super().forward((input / scale).round() * scale)
