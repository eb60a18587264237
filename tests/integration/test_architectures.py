"""Every architecture: the hook sits at the right tensor, and the tiny models have what makes their architecture special."""

from __future__ import annotations

import pytest
import torch
from conftest import CONFIGS, existing, owned_by_hand, tiny, tiny_config

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.core.neurons import NeuronSet, parse_key
from ssn_eval.identification.importance import score
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS, Op
from ssn_eval.interventions.weights import bake
from ssn_eval.models.architectures.layouts import LAYOUTS
from ssn_eval.models.architectures.resolving import decoder, geometry, resolve

IDS = torch.randint(1, 120, (2, 11), generator=torch.Generator().manual_seed(0))


def test_every_row_of_the_table_has_a_tiny_model():
    assert set(LAYOUTS) == set(CONFIGS)


def test_zeroing_at_the_hook_equals_zeroing_rows_or_columns(any_model):
    """First, last and a middle neuron of every site; of the MLP, once its column and once its rows."""
    parameters = dict(any_model.named_parameters())
    effects: dict[str, float] = {}
    with torch.no_grad():
        reached, plain = routed(any_model, IDS)
        for key, width in geometry(any_model).widths.items():
            layer, site = parse_key(key)
            for index in {0, width // 2 + 3, width - 1}:
                with intervene(any_model, NeuronSet.of([(layer, site, index)]), SUPPRESS):
                    hooked = any_model(IDS).logits - plain
                owned = owned_by_hand(any_model, layer, site, index)
                first = dict(list(owned.items())[:1])
                rest = {name: owned[name] for name in owned if name not in first}
                for way in (first, rest) if site.startswith("mlp") else (owned,):
                    saved = {name: parameters[name].clone() for name in way}
                    for name, entries in way.items():
                        parameters[name][entries] = 0
                    expected = any_model(IDS).logits - plain
                    for name, value in saved.items():
                        parameters[name].copy_(value)
                    effect = expected.abs().max().item()
                    assert (hooked - expected).abs().max().item() <= 1e-6 + 1e-3 * effect, (key, index, *way)
                    effects[key] = max(effects.get(key, 0.0), effect)
    without = {key for key, effect in effects.items() if effect < 1e-5}
    assert without == {key for key in effects if parse_key(key)[1].startswith("mlp.") and key not in reached}


def routed(model, ids):
    """The keys of the experts that some token of `ids` reaches, as the routers say themselves; and the logits."""
    reached: set[str] = set()

    def note(name):
        layer = int(name.split("layers.")[1].split(".")[0])
        return lambda _m, _i, out: reached.update(f"layers.{layer}.mlp.{e}" for e in out[2].unique().tolist())

    routers = [(name, m) for name, m in model.named_modules() if name.endswith("mlp.gate")]
    handles = [module.register_forward_hook(note(name)) for name, module in routers]
    logits = model(ids).logits
    for handle in handles:
        handle.remove()
    return reached, logits


def test_the_last_hidden_state_is_what_the_head_reads(any_model):
    """`decoder` ends after the final norm: the head on its answer gives the logits, but for Gemma 2's capping."""
    with torch.no_grad():
        logits = any_model.get_output_embeddings()(decoder(any_model)(IDS).last_hidden_state)
        cap = getattr(any_model.config.get_text_config(), "final_logit_softcapping", None)
        logits = torch.tanh(logits / cap) * cap if cap else logits
        torch.testing.assert_close(any_model(IDS).logits, logits)


@pytest.mark.parametrize(
    ("kind", "without"),
    [
        ("gemma2", {"attn_logit_softcapping": None}),
        ("gemma2", {"final_logit_softcapping": None}),
        ("gemma2", {"layer_types": ["full_attention"] * 3}),
        ("gemma3_text", {"layer_types": ["full_attention"] * 3}),
        ("gemma3", {"layer_types": ["full_attention"] * 3}),
        ("mistral", {"sliding_window": None}),
        ("phi3", {"sliding_window": None}),
        ("gpt_neox", {"use_parallel_residual": False}),
        ("mixtral", {"num_experts_per_tok": 1}),
    ],
    ids=str,
)
def test_the_tiny_models_are_really_different(kind, without):
    """With the same weights but without the feature, the outputs change: so every law above is tested with it."""
    from transformers import AutoModelForCausalLM

    model = tiny(kind)
    other = AutoModelForCausalLM.from_config(tiny_config(kind, **without)).eval()
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert (model(IDS).logits - other(IDS).logits).abs().max() > 1e-4


@pytest.fixture(params=["mixtral", "qwen3_moe"])
def moe(request):
    return tiny(request.param)


@pytest.mark.parametrize("kernel", ["eager", "batched_mm", "grouped_mm"])
def test_the_experts_under_a_hook_compute_what_the_stock_kernels_do(moe, kernel):
    moe.config._experts_implementation = kernel
    sites = [site for site in resolve(moe).values() if site.expert is not None]
    with torch.no_grad():
        plain = moe(IDS).logits
        handles = [site.hook(lambda activation: activation) for site in sites]
        assert any("forward" in vars(m) for m in moe.modules())
        torch.testing.assert_close(moe(IDS).logits, plain, atol=1e-5, rtol=1e-4)
        for handle in handles:
            handle.remove()
        handles[0].remove()
        assert torch.equal(moe(IDS).logits, plain)
    assert not any("forward" in vars(m) or m._forward_pre_hooks for m in moe.modules())


def test_an_expert_s_activation_is_zero_where_it_is_not_routed(moe):
    """Each token of a layer reaches exactly `num_experts_per_tok` experts, and is shown at its place."""
    sites = {key: site for key, site in resolve(moe, ("mlp",)).items() if key.startswith("layers.1.")}
    seen: dict[str, torch.Tensor] = {}
    handles = [site.hook(lambda activation, key=key: seen.update({key: activation})) for key, site in sites.items()]
    with torch.no_grad():
        moe(IDS)
    for handle in handles:
        handle.remove()
    reached = torch.stack([activation.abs().sum(-1) > 0 for activation in seen.values()])
    assert reached.shape[1:] == IDS.shape and (reached.sum(0) == moe.config.num_experts_per_tok).all()


def test_sketch_and_exact_agree_on_the_experts_that_a_prompt_does_not_reach(moe):
    ids = IDS[:1, :3]
    with torch.no_grad():
        reached, _ = routed(moe, ids)
    sketched = score(moe, ids.tolist(), sites=("mlp",))
    measured = score(moe, ids.tolist(), sites=("mlp",), method="exact")
    last = moe.config.num_hidden_layers - 1
    experts = {key for key in measured if key.count(".") == 3}
    assert experts - reached
    for key in experts:
        acts = measured[key].max() > 1e-5  # one pass of many copies rounds otherwise than one of a single prompt
        assert sketched[key].max() == 0 if not acts else sketched[key].max() > 1e-5, key
        if key not in reached:
            assert not acts, key
        elif not key.startswith(f"layers.{last}."):  # of the last layer, only the last token is read
            assert acts, key


def test_interventions_on_one_expert_can_be_nested(moe):
    ids, chosen = IDS, existing(moe, [(1, "mlp", 3), (1, "mlp", 5)])
    with torch.no_grad():
        with intervene(moe, chosen, SUPPRESS):
            expected = moe(ids).logits
        with intervene(moe, chosen, Op(3.0)):
            with intervene(moe, chosen, SUPPRESS):
                torch.testing.assert_close(moe(ids).logits, expected)
            scaled = moe(ids).logits
        bake(moe, chosen, Op(3.0))
        torch.testing.assert_close(moe(ids).logits, scaled, atol=1e-5, rtol=1e-4)


def test_experts_in_another_form_are_refused(moe):
    experts = next(m for name, m in moe.named_modules() if name.endswith("mlp.experts"))
    experts.register_parameter("down_proj_bias", torch.nn.Parameter(torch.zeros(4, 32)))
    with pytest.raises(ArchitectureError, match=r"mlp\.experts' must hold .* found down_proj, down_proj_bias, gate_up"):
        geometry(moe)


def test_a_missing_module_is_named(llama):
    del llama.model.layers[1].self_attn.v_proj
    with pytest.raises(
        ArchitectureError, match=r"one module 'model\.layers\.1\.self_attn\.v_proj' in this llama model"
    ):
        geometry(llama)
