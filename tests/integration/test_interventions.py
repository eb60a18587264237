"""Interventions: right everywhere, at every decode step, and gone afterwards."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import existing, tiny
from test_cli_model import save_model
from two_processes import launched

from ssn_eval.core import store
from ssn_eval.core.errors import ConflictError, EmptySetError, MismatchError, ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions import measuring
from ssn_eval.interventions.hooks import intervene, intervene_all
from ssn_eval.interventions.ops import MEAN, POSITIONS, SUPPRESS, Intervention, Layers, Op, Positions, parse_op
from ssn_eval.interventions.reference import PERCENTILES, Activations, Reference
from ssn_eval.interventions.weights import bake, bake_all, bake_exact
from ssn_eval.models import loading
from ssn_eval.models.architectures.resolving import decoder, geometry, resolve
from ssn_eval.training.adapters.neuron_lora import build

CHOSEN = NeuronSet.of(
    [(0, "q_proj", 1), (1, "k_proj", 3), (2, "v_proj", 2), (1, "o_proj", 7), (2, "mlp", 11), (0, "mlp", 0)]
)
LOUD = Op(8.0)
GENERATE = {
    "max_new_tokens": 8,
    "do_sample": False,
    "output_scores": True,
    "return_dict_in_generate": True,
    "pad_token_id": 0,
    "eos_token_id": None,
}


def tokens(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(1, 120, (rows, columns), generator=torch.Generator().manual_seed(seed))


def generated(model, ids, mask=None, **more):
    """The new tokens, (batch, steps), and the scores of every step, (steps, batch, vocabulary)."""
    mask = torch.ones_like(ids) if mask is None else mask
    out = model.generate(input_ids=ids, attention_mask=mask, **GENERATE | more)
    return out.sequences[:, ids.shape[1] :], torch.stack(out.scores)


def same(one, other, tolerance=1e-4):
    assert torch.equal(one[0], other[0])
    torch.testing.assert_close(one[1], other[1], atol=tolerance, rtol=tolerance)


def constants(model, chosen, value=0.7) -> Reference:
    """A reference set that no model has measured: its constants are larger than what tiny models say."""
    sites = {
        key: Activations(np.array(index), np.full(len(index), value), np.linspace(0, [value] * len(index), PERCENTILES))
        for key, index in chosen.by_key().items()
    }
    return Reference(sites, ModelRef("tiny", "0" * 64, model.config.model_type, geometry(model)))


@pytest.mark.parametrize("op", [SUPPRESS, Op(2.0)], ids=str)
def test_exact_factors_give_the_same_bits_in_weights(any_model, op):
    """Experts are left to hooks; torch multiplies such small ones in float32 alone."""
    ids = tokens(2, 9)
    chosen = existing(any_model, CHOSEN)
    has_experts = any(resolve(any_model)[key].expert is not None for key in chosen.by_key())
    for dtype in (torch.float32,) if has_experts else (torch.float32, torch.bfloat16):
        model = any_model.to(dtype)
        with torch.no_grad():
            with intervene(model, chosen, op):
                hooked = model(ids).logits
            assert bake_exact(model, [Intervention(chosen, op)]) != has_experts
            assert has_experts or torch.equal(model(ids).logits, hooked)


def test_what_weights_would_round_or_cannot_express_is_left_to_hooks(any_model):
    chosen = existing(any_model, CHOSEN)
    before = {name: weight.clone() for name, weight in any_model.named_parameters()}
    assert not bake_exact(any_model, [Intervention(chosen, Op(1.5))])
    assert not bake_exact(any_model, [Intervention(chosen, Op(0.5))])
    assert not bake_exact(any_model, [Intervention(chosen, SUPPRESS, positions="prompt")])
    assert not bake_exact(any_model, [Intervention(chosen, MEAN)], constants(any_model, chosen))
    assert all(torch.equal(weight, before[name]) for name, weight in any_model.named_parameters())


@pytest.mark.parametrize("op", [SUPPRESS, Op(3.0), Op(-1.0)], ids=str)
def test_hooked_equals_baked(any_model, op):
    """Baking is the independent implementation: it touches weights and no hook. float32, to 1e-5."""
    ids = tokens(2, 9)
    chosen = existing(any_model, CHOSEN)
    with torch.no_grad():
        plain = any_model(ids).logits
        with intervene(any_model, chosen, op):
            hooked = any_model(ids).logits
        assert torch.equal(any_model(ids).logits, plain)
        bake(any_model, chosen, op)
        torch.testing.assert_close(any_model(ids).logits, hooked, atol=1e-5, rtol=1e-4)
    assert (hooked - plain).abs().max() > 1e-4


def test_constants_are_baked_where_a_bias_holds_them_and_refused_elsewhere(any_model):
    ids = tokens(2, 9)
    chosen = existing(any_model, CHOSEN)
    reference, sites = constants(any_model, chosen), resolve(any_model)
    baked: set[str] = set()
    for neuron in chosen:
        one, model = NeuronSet(frozenset([neuron])), copy.deepcopy(any_model)
        key = next(iter(one.by_key()))
        with torch.no_grad(), intervene(model, one, MEAN, reference=reference):
            hooked = model(ids).logits
        if sites[key].bias() is None:
            with pytest.raises(ParamsError, match=f"{key} has no bias"):
                bake(model, one, MEAN, reference)
            assert all(torch.equal(a, b) for a, b in zip(model.parameters(), any_model.parameters(), strict=True))
            continue
        baked.add(neuron.site)
        bake(model, one, MEAN, reference)
        with torch.no_grad():
            torch.testing.assert_close(model(ids).logits, hooked, atol=1e-5, rtol=1e-4)
            assert neuron.site == "k_proj" or (any_model(ids).logits - hooked).abs().max() > 1e-4
    every = {"q_proj", "k_proj", "v_proj", "o_proj", "mlp"}
    have = {"gpt2": every, "gpt_neox": every, "olmo2": every - {"mlp"}, "qwen2": {"q_proj", "k_proj", "v_proj"}}
    assert baked == have.get(any_model.config.model_type, set())


def test_baking_in_bfloat16_rounds_a_weight_once():
    model, chosen, ids = tiny("qwen2").to(torch.bfloat16), CHOSEN, tokens(2, 9)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad(), intervene(model, chosen, Op(2.0)):
        hooked = model(ids).logits
    bake(model, chosen, Op(2.0))
    with torch.no_grad():
        assert torch.equal(model(ids).logits, hooked)  # a power of two rounds nowhere
    model.load_state_dict(before)
    bake(model, chosen, Op(1.7))
    row = before["model.layers.0.self_attn.q_proj.weight"][1].float()
    assert torch.equal(model.model.layers[0].self_attn.q_proj.weight[1], (row * 1.7).bfloat16())


def test_what_weights_cannot_say_is_refused_and_nothing_changes(llama):
    before = copy.deepcopy(llama.state_dict())
    for positions in POSITIONS[1:]:
        with pytest.raises(ParamsError, match="act on every token"):
            bake_all(llama, [Intervention(CHOSEN, SUPPRESS), Intervention(CHOSEN, SUPPRESS, positions=positions)])
    with pytest.raises(ConflictError):
        bake_all(llama, [Intervention(CHOSEN, SUPPRESS), Intervention(CHOSEN, LOUD)])
    assert all(torch.equal(before[name], weight) for name, weight in llama.state_dict().items())
    with pytest.raises(ParamsError, match="ssn merge"):
        bake(build(llama, CHOSEN), CHOSEN, SUPPRESS)  # type: ignore[arg-type]


def test_active_at_every_decode_step(any_model):
    """Generation with the KV cache under the hook equals generation of the baked model, token by token."""
    ids, chosen = tokens(1, 5, 1), existing(any_model, CHOSEN)
    baked = copy.deepcopy(any_model)
    bake(baked, chosen, LOUD)
    with intervene(any_model, chosen, LOUD):
        hooked = generated(any_model, ids)
    same(hooked, generated(baked, ids))


def test_a_left_padded_batch_equals_each_prompt_alone(any_model):
    rows = [tokens(1, length, length) for length in (3, 9, 6)]
    ids = torch.cat([torch.nn.functional.pad(row, (9 - row.shape[1], 0)) for row in rows])
    chosen, reference = existing(any_model, CHOSEN), constants(any_model, existing(any_model, CHOSEN))
    ways = [Intervention(chosen, LOUD, positions="prompt"), Intervention(chosen, MEAN, positions="generated")]
    with intervene_all(any_model, ways, reference):
        together = generated(any_model, ids, (ids > 0).long())
        for i, row in enumerate(rows):
            same(generated(any_model, row), (together[0][i : i + 1], together[1][:, i : i + 1]))


def test_prompt_and_generated_tokens_are_told_apart(any_model):
    """Against a loop that reads the prompt and takes the steps by hand, with hooks on every token of one of the two."""
    ids, chosen = tokens(2, 6), existing(any_model, CHOSEN)

    def by_hand(on_prompt: Op, on_generated: Op):
        logits, cache, step = [], {}, ids
        with torch.no_grad():
            for i in range(GENERATE["max_new_tokens"]):
                with intervene(any_model, chosen, on_generated if i else on_prompt):
                    out = any_model(step, use_cache=True, **cache)
                logits = [*logits, out.logits[:, -1]]
                cache = {name: out[name] for name in ("cache", "past_key_values") if name in out}  # by version
                step = logits[-1].argmax(-1, keepdim=True)
        scores = torch.stack(logits)
        return scores.argmax(-1).T, scores

    none = Op(1.0)
    plain = generated(any_model, ids)
    ways: dict[Positions, tuple[Op, Op]] = {"prompt": (LOUD, none), "generated": (none, LOUD), "all": (LOUD, LOUD)}
    for positions, ops in ways.items():
        with intervene(any_model, chosen, LOUD, positions=positions):
            found = generated(any_model, ids)
            same(generated(any_model, ids, use_cache=False), found)
        same(found, by_hand(*ops))
        assert (found[1] - plain[1]).abs().max() > 1e-3
    same(generated(any_model, ids), plain)


def test_a_prompt_in_chunks_is_a_prompt(llama):
    ids = tokens(1, 7)
    for positions in POSITIONS[1:]:
        with intervene(llama, CHOSEN, LOUD, positions=positions):
            same(generated(llama, ids, prefill_chunk_size=3), generated(llama, ids))


def test_outside_generate_an_empty_cache_is_a_prompt(llama):
    ids = tokens(1, 7)
    with torch.no_grad():
        with intervene(llama, CHOSEN, LOUD):
            everywhere = llama(ids).logits
        with intervene(llama, CHOSEN, LOUD, positions="prompt"):
            assert torch.equal(llama(ids).logits, everywhere)
        with intervene(llama, CHOSEN, LOUD, positions="generated"):
            assert torch.equal(llama(ids).logits, llama(ids, use_cache=False).logits)
            assert not torch.equal(llama(ids).logits, everywhere)


def test_only_the_layers_asked_for(llama):
    ids = tokens(2, 5)
    inside = NeuronSet.of(n for n in CHOSEN if n.layer in (1, 2))
    with torch.no_grad():
        with intervene(llama, CHOSEN, LOUD, layers=Layers(1, 2)):
            found = llama(ids).logits
        with intervene(llama, inside, LOUD):
            assert torch.equal(llama(ids).logits, found)


def test_several_sets_at_once_equal_one_after_the_other(any_model):
    ids, chosen = tokens(2, 9), existing(any_model, CHOSEN)
    first = NeuronSet.of(list(chosen)[:3])
    ways = [Intervention(first, SUPPRESS), Intervention(chosen - first, Op(3.0))]
    with torch.no_grad():
        with intervene_all(any_model, ways):
            found = any_model(ids).logits
        with intervene(any_model, first, SUPPRESS), intervene(any_model, chosen - first, Op(3.0)):
            torch.testing.assert_close(any_model(ids).logits, found)
    with pytest.raises(ConflictError), intervene_all(any_model, [*ways, Intervention(chosen, LOUD)]):
        pass
    assert untouched(any_model)


def test_mean_and_quantile_put_the_reference_s_value_there(any_model):
    """Measured without hooks of ours: whoever listens behind the intervention hears the constant on every token."""
    chosen = existing(any_model, CHOSEN)
    prompts = [tokens(1, n, n)[0].tolist() for n in (4, 11, 7)]
    measured = measuring.measure(any_model, prompts, neurons=chosen, batch_size=2)
    if len(measured) < len(chosen.by_key()):  # an expert that these prompts do not reach
        chosen = NeuronSet.from_keys({key: found.index for key, found in measured.items()})
    reference = Reference(measured, ModelRef("tiny", "0" * 64, any_model.config.model_type, geometry(any_model)))
    for op, row in ((MEAN, None), (parse_op("set:0.9"), 90)):
        with intervene(any_model, chosen, op, reference=reference), torch.no_grad():
            heard = listen(any_model, list(measured), tokens(2, 6, 3))
        for key, found in measured.items():
            wanted = torch.as_tensor(found.mean if row is None else found.percentiles[row])
            said = heard[key][..., torch.as_tensor(found.index)].flatten(0, 1)
            said = said[(heard[key] != 0).any(-1).flatten()]  # tokens that an expert gets
            torch.testing.assert_close(said, wanted.expand_as(said), atol=1e-6, rtol=1e-5)


def listen(model, keys, ids):
    """What the sites say, (batch, time, width)."""
    heard: dict[str, torch.Tensor] = {}
    sites = resolve(model)
    handles = [sites[key].hook(lambda a, key=key: heard.update({key: a.clone()})) for key in keys]
    decoder(model)(input_ids=ids)
    for handle in handles:
        handle.remove()
    return heard


def test_reference_statistics_ignore_padding_and_batches(any_model):
    """Of all neurons: against the values of each prompt alone, by numpy."""
    prompts = [tokens(1, n, n)[0].tolist() for n in (3, 12, 7)]
    every: dict[str, list[np.ndarray]] = {}
    with torch.no_grad():
        for ids in prompts:
            for key, said in listen(any_model, list(geometry(any_model).widths), torch.tensor([ids])).items():
                rows = said[0][(said[0] != 0).any(-1)] if ".mlp." in key else said[0]
                every.setdefault(key, []).append(rows.numpy())
    found = measuring.measure(any_model, prompts, batch_size=3, budget=40_000)  # several passes
    assert set(found) == {key for key, rows in every.items() if sum(map(len, rows))}
    for key, site in found.items():
        values = np.concatenate(every[key])
        assert list(site.index) == list(range(values.shape[1]))
        np.testing.assert_allclose(site.mean, values.mean(0), atol=1e-5)
        np.testing.assert_allclose(site.percentiles[[0, 50, 95, 100]], np.percentile(values, [0, 50, 95, 100], axis=0), atol=1e-5)  # fmt: skip


def test_hooks_are_removed_after_an_exception(llama):
    ids = tokens(1, 3)
    plain = llama(ids).logits
    with pytest.raises(RuntimeError), intervene(llama, CHOSEN, SUPPRESS, positions="generated"):
        raise RuntimeError
    with pytest.raises(ValueError), intervene(llama, CHOSEN, LOUD, positions="prompt"):
        llama.generate(input_ids=ids, no_such_argument=1)
    assert untouched(llama) and torch.equal(llama(ids).logits, plain)


def test_nested_interventions_by_position(llama):
    ids = tokens(1, 4)
    ways = [Intervention(CHOSEN, LOUD, positions="prompt"), Intervention(CHOSEN, SUPPRESS, positions="generated")]
    with intervene_all(llama, ways):
        together = generated(llama, ids)
    outer = intervene(llama, CHOSEN, LOUD, positions="prompt")
    inner = intervene(llama, CHOSEN, SUPPRESS, positions="generated")
    outer.__enter__()
    inner.__enter__()
    same(generated(llama, ids), together)
    outer.__exit__(None, None, None)  # not the last one first
    inner.__exit__(None, None, None)
    assert untouched(llama)


def untouched(model) -> bool:
    hooked = any(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m) for m in model.modules())
    return not hooked and "generate" not in vars(model) and "_ssn_phases" not in vars(model)


def test_the_same_on_a_plain_and_a_peft_wrapped_model(any_model):
    chosen = existing(any_model, CHOSEN)
    reference = constants(any_model, chosen)
    attention = NeuronSet.of(n for n in chosen if not n.site.startswith("mlp"))
    wrapped, ids = build(copy.deepcopy(any_model), attention).eval(), tokens(2, 6)
    ways = [Intervention(chosen, LOUD, positions="prompt"), Intervention(chosen, MEAN, positions="generated")]
    with intervene_all(any_model, ways, reference):
        expected = generated(any_model, ids)
    with intervene_all(wrapped, ways, reference):  # type: ignore[arg-type]
        same(generated(wrapped, ids), expected)
    assert untouched(wrapped.get_base_model())


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
def test_a_compiled_model_takes_the_intervention_up_and_loses_it(llama, backend):
    """Compiled before, inside and after: torch does not look for new hooks in compiled code, so it is compiled anew."""
    ids, compiled = tokens(2, 6), torch.compile(llama, backend=backend)
    with torch.no_grad():
        plain = compiled(ids).logits
        for positions in ("all", "prompt"):
            with intervene(llama, CHOSEN, LOUD, positions=positions):
                expected = llama(ids).logits
            with intervene(compiled, CHOSEN, LOUD, positions=positions):  # type: ignore[arg-type]
                torch.testing.assert_close(compiled(ids).logits, expected)
            torch.testing.assert_close(compiled(ids).logits, plain)
        assert (expected - plain).abs().max() > 1e-3


@pytest.mark.slow  # the test above compiles too
def test_generation_of_a_compiled_model_by_position(llama):
    ids = tokens(2, 6)
    for positions in POSITIONS[1:]:
        with intervene(llama, CHOSEN, LOUD, positions=positions):
            expected = generated(llama, ids)
        llama.forward = torch.compile(llama.forward, backend="eager")
        with intervene(llama, CHOSEN, LOUD, positions=positions):
            same(generated(llama, ids), expected)
        del llama.forward


SHARE = """
import json, sys
import torch
from accelerate import Accelerator
from ssn_eval.core import store
from ssn_eval.models import loading
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import parse_op

folder, neurons, out = sys.argv[1:]
lm = SsnHFLM(folder, neurons=neurons, op="scale:8", device="cpu")
accelerator = Accelerator(cpu=True)
plain = loading.load(loading.ModelSpec(folder), device="cpu").model
ready = accelerator.prepare(plain) if accelerator.num_processes > 1 else plain
prompts = [[3, 4, 5], [6, 7, 8, 9], [10, 11], [12, 13, 14]]
mine = prompts[accelerator.process_index :: accelerator.num_processes]
found = []
with torch.no_grad(), intervene(ready, store.load_neurons(__import__("pathlib").Path(neurons)).neurons, parse_op("scale:8")):
    for ids in mine:
        ids = torch.tensor([ids])
        found.append([lm.model(ids).logits[0, -1].tolist(), ready(input_ids=ids).logits[0, -1].tolist()])
with open(f"{out}.{accelerator.process_index}", "w") as handle:
    json.dump([type(ready).__name__, found], handle)
"""


@pytest.mark.slow  # test_cli_train.py and test_identify_scale.py launch two processes too
def test_the_same_under_accelerate_launch(tmp_path):
    """Two processes share the prompts, as ssn_hf and on a model that accelerate has wrapped; then one does them all."""
    folder = save_model(tmp_path / "model", 0)
    ref = loading.load(loading.ModelSpec(str(folder)), device="cpu").ref
    chosen = NeuronSet.of([(0, "q_proj", 31), (0, "mlp", 3), (1, "k_proj", 5), (1, "v_proj", 0), (1, "o_proj", 2)])
    store.save_neurons(tmp_path / "n.json", store.NeuronFile(chosen, ref))
    script = tmp_path / "share.py"
    script.write_text(SHARE)
    arguments = [str(script), str(folder), str(tmp_path / "n.json")]
    two = launched([*arguments, str(tmp_path / "two")])
    assert two.returncode == 0, two.stderr[-3000:]
    one = subprocess.run(
        [sys.executable, *arguments, str(tmp_path / "one")], capture_output=True, text=True, check=False
    )
    assert one.returncode == 0, one.stderr[-3000:]

    def read(name: str):
        return json.loads(Path(tmp_path / name).read_text())

    (wrapper, first), (_, second), (_, alone) = read("two.0"), read("two.1"), read("one.0")
    assert wrapper == "DistributedDataParallel"
    shared = [rows for pair in zip(first, second, strict=True) for rows in pair]
    np.testing.assert_allclose(np.array(shared), np.array(alone), rtol=1e-5, atol=1e-6)
    model = loading.load(loading.ModelSpec(str(folder)), device="cpu").model
    with torch.no_grad(), intervene(model, chosen, LOUD):
        here = model(torch.tensor([[3, 4, 5]])).logits[0, -1]
    np.testing.assert_allclose(alone[0], [here.tolist()] * 2, rtol=1e-5, atol=1e-6)


def test_bad_input_changes_nothing(llama):
    reference = constants(llama, CHOSEN)
    cases: list[tuple[NeuronSet, Op, dict[str, Any], type[Exception]]] = [
        (NeuronSet(frozenset()), SUPPRESS, {}, EmptySetError),
        (NeuronSet.of([(0, "mlp", 1), (0, "q_proj", 99)]), SUPPRESS, {}, MismatchError),
        (CHOSEN, SUPPRESS, {"layers": Layers(0, 7)}, ParamsError),
        (CHOSEN, MEAN, {}, ParamsError),
        (NeuronSet.of([(0, "mlp", 5)]), MEAN, {"reference": reference, "positions": "prompt"}, ParamsError),
    ]
    for neurons, op, more, error in cases:
        with pytest.raises(error), intervene(llama, neurons, op, **more):
            pass
    assert untouched(llama)
