"""What is decided about quantised weights, from a config and a module alone; their libraries are not needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.models import quantization
from ssn_eval.training.weights import free


def model(method: Any, *, trainable: bool = True, module: Any = None) -> Any:
    config = SimpleNamespace() if method is None else SimpleNamespace(quantization_config=method)
    return SimpleNamespace(
        config=config,
        hf_quantizer=SimpleNamespace(is_trainable=trainable),
        modules=lambda: [module],
        num_parameters=lambda: 1,
    )


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        (SimpleNamespace(quant_method=SimpleNamespace(value="bitsandbytes")), "bitsandbytes"),
        (SimpleNamespace(quant_method="torchao"), "torchao"),
        ({}, "unknown"),
        (None, None),
    ],
)
def test_the_method_is_read_from_a_dictionary_or_an_object(settings: Any, name: str | None):
    assert quantization.method_of(model(settings)) == name


def test_only_plain_matrices_count_as_readable():
    linear = torch.nn.Linear(4, 3)
    assert not quantization.is_packed(linear)
    assert not quantization.is_packed(torch.nn.LayerNorm(4))
    packed: Any = torch.nn.Module()
    packed.in_features, packed.out_features = 4, 3
    assert not quantization.is_packed(packed), "a module without weights is none"
    packed.register_buffer("qweight", torch.zeros(2, 3, dtype=torch.int32))
    assert quantization.is_packed(packed)
    linear.weight = torch.nn.Parameter(torch.zeros(3, 4, dtype=torch.float8_e4m3fn), requires_grad=False)
    assert quantization.is_packed(linear)


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "torchao"])
def test_adapters_are_trained_beside_weights_and_nothing_else_is(method: str):
    quantization.refuse_training(model({"quant_method": method}))
    with pytest.raises(
        ParamsError, match=rf"quantised \({method}\), and transformers has no training beside .*plain weights"
    ):
        quantization.refuse_training(model({"quant_method": method}, trainable=False))
    quantization.refuse_training(model(None, trainable=False))
    with pytest.raises(ParamsError, match=rf"quantised \({method}\), and this method changes them; train an adapter"):
        free(model({"quant_method": method}), Method(weights="full"), None)


def test_kernels_without_gradients_are_refused_with_the_way_round():
    state = SimpleNamespace(packing_format_for_cpu=True)
    packed = SimpleNamespace(weight=SimpleNamespace(quant_state=state))
    with pytest.raises(ParamsError, match="no gradients through 4-bit weights; use --method exact"):
        quantization.refuse_without_gradients(
            model({"quant_method": "bitsandbytes"}, module=packed), "use --method exact"
        )
    state.packing_format_for_cpu = False
    quantization.refuse_without_gradients(model({"quant_method": "bitsandbytes"}, module=packed), "")
