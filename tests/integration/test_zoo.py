"""Tiny models of architectures that the table does not know: their sites are found by experiment, and every capability works on them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONFIGS, tiny
from scipy import stats
from zoo import building, checking, listing, training
from zoo.important import IMPORTANT

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet, parse_key
from ssn_eval.identification.importance import score
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS, Op
from ssn_eval.interventions.weights import bake
from ssn_eval.models.architectures.discovery import entry, finding
from ssn_eval.models.architectures.found import Found
from ssn_eval.models.architectures.layouts import LAYOUTS
from ssn_eval.models.architectures.resolving import decoder, found_of, geometry, remember, resolve
from ssn_eval.training.adapters.neuron_lora import build as neuron_lora
from ssn_eval.training.weights import free, masks

KNOWN = json.loads((Path(building.__file__).parent / "zoo.json").read_text(encoding="utf-8"))
MILD = 0.5
"""gain of the weights where a first-order estimate is compared with an ablation"""

UNTRAINED = json.loads((Path(building.__file__).parent / "untrained.json").read_text(encoding="utf-8"))
"""pair → why a neuron-LoRA cannot train some of its sites"""


@pytest.fixture(scope="module")
def classes() -> dict[str, str]:
    """Model type → the first class that transformers has for it."""
    first: dict[str, str] = {}
    for kind, name in building.pairs():
        first.setdefault(kind, name)
    return first


@pytest.mark.parametrize("kind", IMPORTANT)
def test_hooks_equal_weights_and_the_sketch_agrees_with_ablation(kind: str, classes: dict[str, str]):
    model = building.build(kind, classes[kind], gain=MILD)
    assert found_of(model).origin == "experiment"
    assert not checking.differences(model)
    generator = torch.Generator().manual_seed(5)
    prompts = [torch.randint(3, 100, (n,), generator=generator).tolist() for n in (6, 8, 7)]
    sketched = score(model, prompts, sites=("both",), probes=128, batch_size=4)
    measured = score(model, prompts, sites=("both",), method="exact")
    estimate, truth = (np.concatenate([scores[key] for key in measured]) for scores in (sketched, measured))
    acts = truth > 1e-5 * truth.max()  # an expert that no token reaches
    correlation: Any = stats.spearmanr(estimate[acts], truth[acts])
    assert correlation.statistic >= 0.97


@pytest.mark.parametrize("kind", IMPORTANT)
def test_suppress_bake_train_and_merge(kind: str, classes: dict[str, str], tmp_path: Path):
    model = building.build(kind, classes[kind], gain=MILD)
    neurons = training.a_set(model)
    assert any("mlp." in n.site for n in neurons) == any(site.expert is not None for site in resolve(model).values())
    with intervene(model, neurons, Op(0.3)):
        hooked = checking.logits(model)
    with intervene(model, neurons, SUPPRESS):
        assert (checking.logits(model) - hooked).abs().max() > 0
    baked = copy.deepcopy(model)
    bake(baked, neurons, Op(0.3))
    torch.testing.assert_close(checking.logits(baked), hooked, atol=1e-4, rtol=1e-3)

    name = f"{kind} {classes[kind]}"
    if name in UNTRAINED:
        with pytest.raises(ArchitectureError, match="PEFT cannot put a LoRA on all of these weights"):
            neuron_lora(copy.deepcopy(model), neurons)
        masked = copy.deepcopy(model)
        free(masked, Method("ss", "mask"), neurons)
        allowed = masks(masked, neurons)
        training.loss(masked).backward()
        recurrent = [weight for weight in allowed if "out_proj" in weight]
        assert recurrent and all(masked.get_parameter(weight).grad.abs().max() > 0 for weight in recurrent)
        assert not any(
            p.grad is not None and p.grad[allowed.get(n, torch.zeros_like(p)) == 0].any()
            for n, p in masked.named_parameters()
        )
        outputs = {key for key, site in resolve(model).items() if site.owned[0].name.endswith("out_proj")}
        neurons = NeuronSet.of(n for n in neurons if f"layers.{n.layer}.{n.site}" not in outputs)
    assert not training.faults(model, neurons, tmp_path / "adapter")


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_experiment_and_table_agree(kind: str):
    """On every architecture of the table the experiments find the same sites, coordinates, rows and norms, and nothing else."""
    model: Any = tiny(kind)
    by_table = resolve(model)
    found = finding.discover(model)
    assert LAYOUTS[kind].layers == found.layers[0].layout.layers
    other = tiny(kind)
    other.config.model_type = "unknown_to_the_table"
    remember(other, found)
    by_experiment = resolve(other)
    assert set(by_table) == set(by_experiment)
    for key, site in by_table.items():
        twin = by_experiment[key]
        assert (site.side, site.width, site.norm_time) == (twin.side, twin.width, twin.norm_time), key
        assert _owned(site) == _owned(twin), key
        assert (site.norm is None) == (twin.norm is None), key
        assert decoder(other) is other.base_model


def _owned(site: Any) -> set[tuple]:
    """The rows and columns of a site; the order of the MLP's modules has no meaning."""
    return {(o.name, o.side, tuple(o.of(range(site.width)))) for o in site.owned}


@pytest.mark.parametrize("kind", ["olmo", "falcon", "deepseek_v3", "qwen3_5", "gpt_oss", "gemma4_text"])
def test_samples_find_what_all_coordinates_find(kind: str, classes: dict[str, str]):
    model = building.build(kind, classes[kind])
    assert finding.discover(model, every=True).to_json() == finding.discover(model).to_json()


def test_what_was_found_round_trips_as_json(classes: dict[str, str]):
    found = finding.discover(building.build("deepseek_v3", classes["deepseek_v3"]))
    again = Found.from_json(json.loads(json.dumps(found.to_json())))
    assert again.to_json() == found.to_json() and again.layers == found.layers and again.origin == "cache"


def test_queries_and_keys_that_changed_places_are_told_apart(classes: dict[str, str]):
    """Zero at the hook equals zero in the weights for any linear module; only the causal signature shows which one it is."""
    model = building.build("olmo", classes["olmo"])
    for layer in model.model.layers:
        layer.self_attn.__class__ = _swapped(type(layer.self_attn))
    found = finding.discover(model).layers[0].layout.sites
    assert (found["k_proj"].module, found["v_proj"].module) == ("self_attn.v_proj", "self_attn.k_proj")


def _swapped(attention: Any) -> Any:
    """A class of attention that uses its module `k_proj` for values, and `v_proj` for keys."""

    class Swapped(attention):
        def __getattr__(self, name: str) -> Any:
            return super().__getattr__({"k_proj": "v_proj", "v_proj": "k_proj"}.get(name, name))

    return Swapped


def test_a_discovery_leaves_the_model_as_it_was(classes: dict[str, str]):
    model = building.build("cohere", classes["cohere"])
    model.train()
    state = torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    entry.discover(model)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["cohere", "olmo", "smollm3", "glm4", "granite", "ernie4_5"])
def test_half_precision_finds_the_same(kind: str, attention: str, dtype: torch.dtype, classes: dict[str, str]):
    model = building.build(kind, classes[kind])
    whole = finding.discover(model)
    model.set_attn_implementation(attention)
    half = finding.discover(model.to(dtype))
    assert [layer.layout for layer in half.layers] == [layer.layout for layer in whole.layers]


def test_a_model_whose_layers_run_twice_is_refused(classes: dict[str, str]):
    model = building.build("dory", classes["dory"])
    with pytest.raises(ArchitectureError, match="called once each, in order"):
        geometry(model)


def test_every_pair_that_is_named_important_is_listed_as_proven(classes: dict[str, str]):
    assert len(IMPORTANT) >= 40
    for kind in IMPORTANT:
        assert KNOWN["pairs"][f"{kind} {classes[kind]}"]["proven"], kind


def test_the_list_reaches_the_bar():
    assert sum(pair["proven"] for pair in KNOWN["pairs"].values()) >= 220


@pytest.mark.slow
def test_every_architecture_of_transformers():
    """The count and the refusals of `zoo.json`, made again; a new transformers release shows here what changed."""
    pairs = listing.everything()
    assert {name: pair["proven"] for name, pair in pairs.items()} == {
        name: pair["proven"] for name, pair in KNOWN["pairs"].items()
    }
    assert {name: pair.get("refused") for name, pair in pairs.items()} == {
        name: pair.get("refused") for name, pair in KNOWN["pairs"].items()
    }


@pytest.mark.slow
def test_every_architecture_is_trained_as_listed():
    """One step of a neuron-LoRA on every site of every pair; `untrained.json`, made again."""
    assert listing.untrained(KNOWN["pairs"]) == UNTRAINED


def test_keys_of_a_wide_model_stay_in_order(classes: dict[str, str]):
    widths = geometry(building.build("falcon_h1", classes["falcon_h1"])).widths
    assert [parse_key(key)[1] for key in widths if key.startswith("layers.0.")] == [
        *("q_proj", "k_proj", "v_proj", "o_proj", "o_proj.1", "mlp"),
    ]
