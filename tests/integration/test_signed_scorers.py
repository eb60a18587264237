"""The scorers of other papers: activation against the hooks themselves, attribution against finite differences of the loss, two models."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny

from ssn_eval.core.errors import MismatchError, ParamsError
from ssn_eval.core.neurons import parse_key
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.importance import measure
from ssn_eval.models.architectures.resolving import resolve

INPUTS = [list(map(int, np.random.default_rng(i).integers(1, 120, 6 + 2 * i))) for i in range(3)]
PROMPTS = [3, 4, 6]
"""tokens of each input that are the prompt; the rest is the response"""


def measured(model: Any, method: str, position: str, batch_size: int = 2, inputs=INPUTS, lengths=PROMPTS):
    settings = ScoreParams(method=method, position=position, sites="both", batch_size=batch_size)
    return measure(model, inputs, settings, prompt_lengths=lengths)


@pytest.mark.parametrize("position", ["last", "mean", "response"])
def test_activation_is_the_mean_of_what_the_hooks_see(position: str):
    model = tiny("llama")
    found = measured(model, "activation", position).scores
    seen: dict[str, list[np.ndarray]] = {key: [] for key in found}
    for ids, prompt in zip(INPUTS, PROMPTS, strict=True):
        span = {"last": slice(prompt - 1, prompt), "mean": slice(0, prompt), "response": slice(prompt, len(ids))}[
            position
        ]
        handles = [
            site.hook(lambda a, key=key, span=span: seen[key].append(a[0, span].mean(0).detach().numpy()))
            for key, site in resolve(model).items()
        ]
        with torch.no_grad():
            model(torch.tensor([ids]))
        for handle in handles:
            handle.remove()
    for key, values in found.items():
        np.testing.assert_allclose(values, np.mean(seen[key], axis=0), atol=1e-6)
        assert (values < 0).any() or parse_key(key)[1] == "mlp"


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_attribution_is_the_slope_of_the_loss_at_the_response(architecture: str):
    """Scaling a neuron's activation at the response tokens by 1 − ε moves the response's loss by ε·I."""
    model = tiny(architecture).double()
    ids, prompt, step = torch.tensor([INPUTS[2]]), PROMPTS[2], 0.05
    found = measured(model, "attribution", "response", inputs=[INPUTS[2]], lengths=[prompt]).scores

    def loss() -> float:
        with torch.no_grad():
            logits = model(ids).logits[0, prompt - 1 : -1]
        return float(torch.nn.functional.cross_entropy(logits, ids[0, prompt:]))

    sites, largest = resolve(model), 0.0
    for key in ("layers.0.q_proj", "layers.0.v_proj", "layers.1.o_proj", "layers.1.mlp"):
        strongest = int(np.abs(found[key]).argmax())

        def scaled(activation: torch.Tensor, neuron: int = strongest, factor: float = 1.0) -> torch.Tensor:
            changed = activation.clone()
            changed[:, prompt:, neuron] *= factor
            return changed

        losses = []
        for factor in (1 - step, 1 + step):
            handle = sites[key].hook(partial(scaled, factor=factor))
            losses.append(loss())
            handle.remove()
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float(found[key][strongest]), rel=2e-2, abs=1e-7), key
        largest = max(largest, abs(slope))
    assert largest > 1e-3


def test_attribution_does_not_depend_on_the_batch_and_keeps_moments_of_signed_values():
    model = tiny("llama")
    one, all_at_once = (measured(model, "attribution", "response", batch_size=size) for size in (1, 3))
    for key, values in one.scores.items():
        np.testing.assert_allclose(values, all_at_once.scores[key], atol=1e-6)
        assert one.statistics is not None
        np.testing.assert_allclose(one.statistics.moments().mean(key), values, atol=1e-6)
    assert all(p.requires_grad for p in model.parameters())


def test_attribution_without_responses_says_what_to_do():
    with pytest.raises(ParamsError, match="set position=response"):
        measured(tiny("llama"), "attribution", "last")


def test_model_diff_is_the_root_mean_square_of_what_the_hooks_see():
    one, two = tiny("llama"), tiny("llama")
    with torch.no_grad():
        two.model.layers[1].mlp.down_proj.weight.add_(0.1)  # moves everything behind it, and nothing before
    settings = ScoreParams(method="model_diff", position="response", sites="both", batch_size=2)
    found = measure(one, INPUTS, settings, prompt_lengths=PROMPTS, other=two).scores
    assert not found["layers.0.mlp"].any() and not found["layers.1.q_proj"].any() and not found["layers.1.mlp"].any()
    expected = np.zeros_like(found["layers.2.q_proj"])
    for ids, prompt in zip(INPUTS, PROMPTS, strict=True):
        seen: list[torch.Tensor] = []
        for model in (one, two):
            handle = resolve(model)["layers.2.q_proj"].hook(lambda a, seen=seen: seen.append(a[0].detach()))
            with torch.no_grad():
                model(torch.tensor([ids]))
            handle.remove()
        expected += (seen[0] - seen[1])[prompt:].square().mean(0).sqrt().numpy() / len(INPUTS)
    np.testing.assert_allclose(found["layers.2.q_proj"], expected, atol=1e-6)
    assert expected.min() > 1e-4
    with pytest.raises(ParamsError, match="--against"):
        measure(one, INPUTS, settings, prompt_lengths=PROMPTS)
    with pytest.raises(MismatchError, match="one architecture"):
        measure(one, INPUTS, settings, prompt_lengths=PROMPTS, other=tiny("gpt2"))
