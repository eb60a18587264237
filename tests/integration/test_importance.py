"""The scorers on tiny models of every architecture."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import existing, owned_by_hand, tiny
from scipy import stats
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from ssn_eval.core.errors import ArchitectureError, EmptySetError, FormatError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import SITES, site_key
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification import importance
from ssn_eval.identification.importance import measure
from ssn_eval.models.architectures.resolving import decoder, geometry

score = partial(importance.score, sites="both")
INPUTS = [list(map(int, np.random.default_rng(i).integers(1, 120, 4 + 3 * i))) for i in range(5)]


def spearman(first, second) -> float:
    found: Any = stats.spearmanr(first, second)
    return float(found.statistic)


def flat(scores):
    return np.concatenate([scores[key] for key in scores])


def test_sketch_agrees_with_the_definition(any_model):
    sketched, measured = score(any_model, INPUTS, probes=24), score(any_model, INPUTS, method="exact")
    assert list(sketched) == list(measured) == list(geometry(any_model).widths)
    assert spearman(flat(sketched), flat(measured)) > 0.97


def test_exact_equals_zeroing_the_weights(any_model):
    """The independent way: a fresh forward pass with everything that the neuron owns, by hand, set to zero."""
    ids = torch.tensor([INPUTS[2]])
    chosen = [(0, "q_proj", 3), (1, "k_proj", 5), (2, "v_proj", 1), (1, "o_proj", 9), (0, "mlp", 40), (2, "mlp", 7)]
    largest = 0.0
    with torch.no_grad():
        z = decoder(any_model)(ids).last_hidden_state[0, -1]
        for layer, site, index in existing(any_model, chosen):
            parameters = dict(any_model.named_parameters())
            owned = owned_by_hand(any_model, layer, site, index)
            saved = {name: parameters[name].clone() for name in owned}
            for name, entries in owned.items():
                parameters[name][entries] = 0
            expected = (decoder(any_model)(ids).last_hidden_state[0, -1] - z).norm().item()
            for name, value in saved.items():
                parameters[name].copy_(value)
            key = site_key(layer, site)
            found = measure(
                any_model, [INPUTS[2]], ScoreParams(sites="both", method="exact"), neurons={key: [index]}
            ).scores[key][index]
            assert found == pytest.approx(expected, rel=1e-3, abs=1e-6), key
            largest = max(largest, expected)
    assert largest > 1e-3


def test_exact_passes_over_layers_that_return_tuples():
    """Decoder layers of older transformers return `(hidden_states, …)`; so does a layer under some wrappers."""
    model = tiny("gpt2")
    expected = score(model, INPUTS[:2], method="exact")
    for block in model.transformer.h:
        block.__class__ = _TupleBlock
    found = score(model, INPUTS[:2], method="exact")
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-4, atol=1e-7)


class _TupleBlock(GPT2Block):
    """A layer with a tuple as output, called by a decoder that takes the first of it."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return (super().forward(*args, **kwargs),)

    def __call__(self, *args, **kwargs):
        return super().__call__(*args, **kwargs)[0]


@pytest.mark.parametrize("method", ["sketch", "local"])
def test_batched_equals_single(any_model, method):
    together = score(any_model, INPUTS, method=method, batch_size=4)
    alone = score(any_model, INPUTS, method=method, batch_size=1)
    for key in together:
        np.testing.assert_allclose(together[key], alone[key], rtol=1e-3, atol=1e-6)


def test_same_seed_same_bytes_and_the_model_is_left_as_it_was(llama):
    before = {name: (p.clone(), p.requires_grad) for name, p in llama.named_parameters()}
    first, second = score(llama, INPUTS, seed=3), score(llama, INPUTS, seed=3)
    assert all(first[key].tobytes() == second[key].tobytes() for key in first)
    assert not np.allclose(flat(first), flat(score(llama, INPUTS, seed=4)))
    for name, p in llama.named_parameters():
        assert p.grad is None and p.requires_grad == before[name][1] and torch.equal(p, before[name][0])


def test_exact_reuses_lower_layers_without_changing_the_model(llama):
    ids = torch.tensor([INPUTS[1]])
    before = llama(ids).logits
    score(llama, INPUTS[:1], method="exact")
    assert torch.equal(llama(ids).logits, before)
    assert not any("forward" in vars(m) for m in llama.modules())


def test_bad_input(llama):
    with pytest.raises(EmptySetError):
        score(llama, [])
    with pytest.raises(EmptySetError):
        score(llama, [[]])
    with pytest.raises(UnknownNameError, match="Did you mean sketch"):
        score(llama, INPUTS, method="sketsh")
    with torch.no_grad():
        llama.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
    with pytest.raises(FormatError, match="NaN"):
        score(llama, INPUTS)


def test_an_unknown_architecture_is_found_by_experiment():
    from transformers import OPTConfig, OPTForCausalLM

    model = OPTForCausalLM(
        OPTConfig(
            num_hidden_layers=1, num_attention_heads=2, hidden_size=8, ffn_dim=8, vocab_size=10, word_embed_proj_dim=8
        )
    )
    assert dict(geometry(model).widths) == {f"layers.0.{site}": 8 for site in SITES}


LENGTHS = [3, 5, 8, 9, 12]
"""how many tokens of each input are the prompt; the rest is its response"""


@pytest.mark.parametrize("position", ["last", "mean", "response"])
@pytest.mark.parametrize("target", ["hidden", "logits"])
def test_every_readout_agrees_with_its_definition(llama, position, target):
    options = {"position": position, "target": target}
    sketched = measure(llama, INPUTS, ScoreParams(sites="both", probes=48, **options), prompt_lengths=LENGTHS).scores
    measured = measure(
        llama, INPUTS, ScoreParams(sites="both", method="exact", **options), prompt_lengths=LENGTHS
    ).scores
    assert spearman(flat(sketched), flat(measured)) > 0.97
    assert np.median(flat(sketched) / np.maximum(flat(measured), 1e-9)) == pytest.approx(1, abs=0.1)


def test_positions_read_what_they_say(llama):
    """One neuron by hand: the quadratic mean over the tokens of the change of the logits."""
    ids, prompt = torch.tensor([INPUTS[3]]), LENGTHS[3]
    row = llama.model.layers[1].self_attn.q_proj.weight
    with torch.no_grad():
        before, saved = llama(ids).logits[0], row[3].clone()
        row[3] = 0
        moved = (llama(ids).logits[0] - before).norm(dim=-1)
        row[3] = saved
    key = site_key(1, "q_proj")
    for position, chosen in (
        ("last", moved[prompt - 1 : prompt]),
        ("mean", moved[:prompt]),
        ("response", moved[prompt:]),
    ):
        settings = ScoreParams(sites="both", method="exact", position=position, target="logits")
        found = measure(llama, [INPUTS[3]], settings, prompt_lengths=[prompt], neurons={key: [3]}).scores[key]
        assert found[3] == pytest.approx(chosen.pow(2).mean().sqrt().item(), rel=1e-4)
        assert found[:3].sum() == 0


def test_batched_equals_single_at_every_position(llama):
    for position in ("mean", "response"):
        one, many = (
            measure(
                llama, INPUTS, ScoreParams(sites="both", position=position, batch_size=size), prompt_lengths=LENGTHS
            ).scores
            for size in (1, 5)
        )
        np.testing.assert_allclose(flat(one), flat(many), rtol=1e-4, atol=1e-7)


def test_checkpointing_changes_nothing_but_memory(any_model):
    plain, checkpointed = (score(any_model, INPUTS, checkpointing=flag, batch_size=3) for flag in (False, True))
    np.testing.assert_allclose(flat(plain), flat(checkpointed), rtol=1e-5, atol=1e-8)
    assert not any("forward" in vars(m) for m in any_model.modules())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_ranks_as_float32_does(llama, dtype):
    full = flat(score(llama, INPUTS, probes=8))
    half = score(llama.to(dtype), INPUTS, probes=8)
    assert all(values.dtype == np.float32 for values in half.values())
    assert spearman(full, flat(half)) > 0.99


def test_local_equals_the_change_it_stands_for(llama):
    """Q and k: the attention weights move; v: what o_proj receives; o and mlp: the module's output (no rotation, by definition)."""
    scores = score(llama, [INPUTS[4]], method="local")
    ids = torch.tensor([INPUTS[4]])
    layer = llama.model.layers[0]
    with torch.no_grad():
        x = layer.input_layernorm(llama.model.embed_tokens(ids))[0]
        q, k, v = (getattr(layer.self_attn, f"{n}_proj")(x) for n in "qkv")

        def attention(q, k):
            time = len(x)
            heads = q.view(time, 4, 8).transpose(0, 1)
            keys = k.view(time, 2, 8).transpose(0, 1).repeat_interleave(2, 0)
            s = heads @ keys.transpose(1, 2) / 8**0.5
            return s.masked_fill(~torch.ones(time, time, dtype=torch.bool).tril(), -torch.inf).softmax(-1)

        a = attention(q, k)
        for n in (0, 9, 31):
            changed = q.clone()
            changed[:, n] = 0
            assert scores[site_key(0, "q_proj")][n] == pytest.approx(
                (attention(changed, k) - a).norm().item(), rel=1e-4
            )
        for n in (0, 9, 15):
            changed = k.clone()
            changed[:, n] = 0
            assert scores[site_key(0, "k_proj")][n] == pytest.approx(
                (attention(q, changed) - a).norm().item(), rel=1e-4
            )
            heads = a[2 * (n // 8) : 2 * (n // 8) + 2]
            assert scores[site_key(0, "v_proj")][n] == pytest.approx((heads @ v[:, n]).norm().item(), rel=1e-4)
        hidden = layer.mlp.act_fn(layer.mlp.gate_proj(m := _mlp_input(llama, ids))) * layer.mlp.up_proj(m)
        expected = (hidden[:, 7, None] * layer.mlp.down_proj.weight[:, 7]).norm().item()
        assert scores[site_key(0, "mlp")][7] == pytest.approx(expected, rel=1e-4)


def _mlp_input(model, ids):
    seen = []
    handle = model.model.layers[0].mlp.register_forward_pre_hook(lambda _m, args: seen.append(args[0][0]))
    model(ids)
    handle.remove()
    return seen[0]


def test_tolerance_stops_early_and_says_how_sure_the_ranking_is(llama):
    many = [list(map(int, np.random.default_rng(i).integers(1, 120, 6 + i % 5))) for i in range(64)]
    loose = measure(llama, many, ScoreParams(sites="both", tolerance=0.5, batch_size=2))
    strict = measure(llama, many, ScoreParams(sites="both", tolerance=0.01, batch_size=2))
    assert loose.prompts < strict.prompts == 64
    sure, less = strict.reliability(), loose.reliability()
    assert less["standard_error"] is not None and less["standard_error"] <= 0.5
    assert (sure["split_half_spearman"] or 0) > (less["split_half_spearman"] or 0) > 0
    np.testing.assert_allclose(flat(strict.scores), flat(score(llama, many)), rtol=1e-4, atol=1e-7)


def test_halves_average_to_the_whole(llama):
    found = measure(llama, INPUTS[:4], ScoreParams(sites="both"))
    assert found.halves is not None and found.prompts == 4
    for key, values in found.scores.items():
        np.testing.assert_allclose((found.halves[0][key] + found.halves[1][key]) / 2, values, rtol=1e-5)
    assert measure(llama, INPUTS[:1], ScoreParams(sites="both")).halves is None


class Killed(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    "settings",
    [
        ScoreParams(sites="both", batch_size=2),
        ScoreParams(sites="both", batch_size=1, tolerance=0.01),
        ScoreParams(sites="both", method="exact", batch_size=1),
    ],
)
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(llama, tmp_path, monkeypatch, settings):
    from ssn_eval.identification import accumulate

    undisturbed = measure(llama, INPUTS, settings)
    save, calls = accumulate.Progress.save, []

    def dies(self, sums):
        save(self, sums)
        calls.append(sums.batches)
        if len(calls) == 2:
            raise Killed

    monkeypatch.setattr(accumulate.Progress, "save", dies)
    with pytest.raises(Killed):
        measure(llama, INPUTS, settings, work=tmp_path / "sums")
    resumed = measure(llama, INPUTS, settings, work=tmp_path / "sums")
    assert calls[2] == 3, "the first two batches were computed again"
    assert all(resumed.scores[k].tobytes() == v.tobytes() for k, v in undisturbed.scores.items())


def test_the_sums_of_another_run_are_not_taken_over(llama, tmp_path):
    measure(llama, INPUTS, ScoreParams(sites="both", seed=1), work=tmp_path)
    assert (
        flat(measure(llama, INPUTS, ScoreParams(sites="both", seed=2), work=tmp_path).scores).tobytes()
        == flat(score(llama, INPUTS, seed=2)).tobytes()
    )
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    measure(llama, INPUTS, ScoreParams(sites="both", seed=2), work=tmp_path)


def test_settings_refuse_what_cannot_be_measured(llama):
    names: list[dict[str, Any]] = [{"position": "lats"}, {"target": "hiden"}, {"method": "exakt"}]
    numbers: list[dict[str, Any]] = [{"probes": 0}, {"tolerance": 0.0}, {"tolerance": 1.5}]
    for wrong in names:
        with pytest.raises(UnknownNameError, match="Did you mean"):
            ScoreParams(sites="both", **wrong)
    for wrong in numbers:
        with pytest.raises(ParamsError):
            ScoreParams(sites="both", **wrong)
    with pytest.raises(EmptySetError, match="response"):
        measure(llama, INPUTS, ScoreParams(sites="both", position="response"))
    with pytest.raises(ParamsError, match="exact"):
        measure(llama, INPUTS, ScoreParams(sites="both"), neurons={site_key(0, "mlp"): [1]})


NORMED = ("qwen3", "gemma3_text", "gemma3", "olmo2", "qwen3_moe")


@pytest.mark.parametrize("kind", NORMED)
def test_norms_of_queries_and_keys_are_taken_exactly(kind):
    """To first order, zeroing a coordinate would rescale the others twice as much as it does: q and k were at 0.85 of exact."""
    model = tiny(kind)
    sites = ("q_proj", "k_proj")
    sketched = flat(score(model, INPUTS, probes=64, sites=sites))
    measured = flat(score(model, INPUTS, method="exact", sites=sites))
    assert np.median(sketched / measured) == pytest.approx(1, abs=0.05)
    assert spearman(sketched, measured) > 0.975


@pytest.mark.parametrize("kind", NORMED)
def test_time_and_heads_are_told_apart_where_there_are_as_many(kind):
    """Four tokens and four query heads: a mix-up of the axes would show in no shape."""
    model = tiny(kind)
    four = [ids[:4] for ids in INPUTS]
    sketched = flat(score(model, four, probes=256, sites=("q_proj",)))
    measured = flat(score(model, four, method="exact", sites=("q_proj",)))
    assert spearman(sketched, measured) > 0.97


@pytest.mark.parametrize("time", [1, 2])
def test_through_a_norm_equals_what_zeroing_does(time):
    from ssn_eval.identification.sketch import through_norm

    torch.manual_seed(0)
    raw, weight, v = torch.randn(2, 3, 5, 8), torch.rand(8), torch.randn(2, 3, 5, 8)

    def norm(x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-3) * weight

    found = through_norm(v, raw, norm(raw), eps=1e-3, time=time)
    for n in range(8):
        zeroed = raw.clone()
        zeroed[..., n] = 0
        moved = (v * (norm(raw) - norm(zeroed))).sum(-1).movedim(time, 1)
        torch.testing.assert_close(found.unflatten(2, (-1, 8))[..., n], moved, atol=1e-5, rtol=1e-4)


def test_logits_need_an_output_head(llama, monkeypatch):
    monkeypatch.setattr(type(llama), "get_output_embeddings", lambda _self: None)
    with pytest.raises(ArchitectureError, match="target=hidden"):
        measure(llama, INPUTS, ScoreParams(sites="both", target="logits"))
