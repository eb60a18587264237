"""Training that fits: a step in parts is the step, layers computed again are the same, and the plan follows the free memory."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from interrupting import interrupted

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import memory as room
from ssn_eval.models.memory import MemoryNeedError, Shape
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import planning
from ssn_eval.training.fit import fitted
from ssn_eval.training.memory import Demand, plan, share
from ssn_eval.training.weights import free

PAIRS = [
    Pair(f"{label}-{i}", lang, label, f"how {i} {lang}?" + " very" * (i % 4), "no" + " no" * (i % 5), f"yes {i}")
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(8)
]
"""32 pairs of unequal length: two full batches"""
SETTINGS = TrainParams(steps=3, batch_size=16, warmup_ratio=0.0)
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (0, "v_proj", 2), (1, "mlp", 3), (1, "o_proj", 5)])
SSN, MASK, FULL = Method("ss"), Method("ss", "mask"), Method(weights="full")
TRL = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("trl") is None, reason="TRL is an extra: ssn-eval[baselines]"
)


@pytest.fixture(scope="module")
def organism():
    tok = tokenizer.build(lexicon.load())
    return build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).eval(), tok


def run(organism, method, settings=SETTINGS, pairs=PAIRS, work=None, said=None):
    model, tok = copy.deepcopy(organism[0]), organism[1]
    ready = free(model, method, CHOSEN if method.uses_set else None)
    say = (lambda _line: None) if said is None else said.append
    done = fitted(ready.model, tok, pairs, settings, lr=1e-3, method=method, work=work, say=say)
    weights = {n: p.detach().clone() for n, p in ready.model.named_parameters()}
    return weights, [e["loss"] for e in done.curve], done.plan, ready.model


@pytest.mark.parametrize(
    "method",
    [SSN, MASK, FULL, Method("ss", loss="rdpo"), Method("ss", loss="mpo"), pytest.param(Method("ss", loss="dpo"), marks=TRL)],
    ids=lambda m: f"{m.weights}-{m.loss}",
)  # fmt: skip
def test_a_step_in_parts_is_the_step_and_computing_again_changes_no_bit(organism, method):
    """One step of 16 is four accumulated ones of 4: the loss is a mean over the tokens of the step, not over its parts' means."""
    pairs = PAIRS if method.loss == "dpo" else PAIRS[:22]  # TRL averages the parts of a last batch that is not full
    weights, curve, whole, _ = run(organism, method, pairs=pairs)
    parts, in_parts, cut, _ = run(organism, method, replace(SETTINGS, micro_batch=4), pairs=pairs)
    assert whole.is_plain and (cut.micro_batch, cut.accumulation) == (4, 4)
    assert curve == pytest.approx(in_parts, abs=1e-5) and curve[0] != curve[-1]
    assert max((weights[name] - parts[name]).abs().max() for name in weights) <= 1e-5
    again, same_curve, checkpointed, model = run(organism, method, replace(SETTINGS, checkpointing=True), pairs=pairs)
    assert checkpointed.checkpointing and same_curve == curve
    assert all(torch.equal(again[name], weights[name]) for name in weights)
    assert not model.is_gradient_checkpointing


@pytest.mark.parametrize("change", [{"autocast": True}, {"optimizer": "adafactor"}], ids=lambda c: next(iter(c)))
def test_other_arithmetic_trains_the_same_weights_in_float32(organism, change):
    start = dict(free(copy.deepcopy(organism[0]), SSN, CHOSEN).model.named_parameters())
    plain, expected, _, _ = run(organism, SSN)
    weights, curve, _, model = run(organism, SSN, replace(SETTINGS, **change))
    moved = {name for name in start if not torch.equal(start[name], weights[name])}
    assert moved == {name for name, p in start.items() if p.requires_grad} and all(map(math.isfinite, curve))
    assert any(not torch.equal(plain[name], weights[name]) for name in moved), "the setting does something"
    assert {weights[name].dtype for name in moved} == {torch.float32} and curve == pytest.approx(expected, rel=1e-2)
    ids = torch.tensor([[1, 5, 9]])
    with torch.no_grad():
        assert model(input_ids=ids).logits.dtype == torch.float32
        fresh = free(copy.deepcopy(organism[0]), SSN, CHOSEN).model.eval()
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(fresh(input_ids=ids).logits, model(input_ids=ids).logits), "nothing of autocast stays behind"


def test_an_adapter_on_bfloat16_weights_is_float32(organism):
    model = (copy.deepcopy(organism[0]).to(torch.bfloat16), organism[1])
    weights, curve, _, _ = run(model, SSN, replace(SETTINGS, autocast=True, checkpointing=True, micro_batch=8))
    dtypes = {name.split(".")[-2] if "lora_" in name else "base": p.dtype for name, p in weights.items()}
    assert dtypes == {"default": torch.float32, "base": torch.bfloat16}
    assert curve == pytest.approx(run(organism, SSN)[1], rel=1e-2)


@pytest.mark.parametrize(
    "change", [{"micro_batch": 2, "checkpointing": True, "autocast": True, "optimizer": "adafactor"}]
)
def test_a_run_in_parts_resumes_to_the_same_bytes(organism, tmp_path, monkeypatch, change):
    settings = replace(SETTINGS, steps=6, batch_size=4, **change)
    weights, curve, _, _ = run(organism, SSN, settings)
    with interrupted(monkeypatch, 5):
        run(organism, SSN, settings, work=tmp_path / "w")
    resumed, same_curve, _, _ = run(organism, SSN, settings, work=tmp_path / "w")
    assert same_curve == curve and all(torch.equal(resumed[name], weights[name]) for name in weights)


def test_a_run_that_resumes_keeps_its_plan(organism, tmp_path, monkeypatch):
    """With less free memory the second time it would have been cut, and its numbers rounded otherwise."""
    said: list[str] = []
    with interrupted(monkeypatch, 2):
        run(organism, SSN, work=tmp_path / "w", said=said)
    monkeypatch.setattr(room, "free", lambda _: 2 << 20)
    assert run(organism, SSN, work=tmp_path / "w")[2].is_plain
    cut = run(organism, SSN, said=said)[2]
    assert cut.accumulation > 1 and not cut.checkpointing
    assert "made as 1 × 16; about" in said[0] and f"made as {cut.accumulation} × {cut.micro_batch}; about" in said[1]
    monkeypatch.setattr(room, "free", lambda _: 1000)
    with pytest.raises(MemoryNeedError, match="even with checkpointing, and 0.00 GiB are free; set train.autocast"):
        run(organism, SSN)
    assert run(organism, SSN, replace(SETTINGS, micro_batch=16))[2].is_plain, "what is set is taken"


def test_the_plan_is_the_largest_that_fits():
    sizes = Shape(24, 896, 896, 128, 4864, 151936, 494_000_000)
    demand = Demand(sizes, 4, 4e6)
    base = TrainParams()
    kept: Any = {"batch": 16, "rows": 100, "tokens": 512}
    need = {n: demand.need(base, n, 512) for n in (1, 2, 4, 8, 16)}
    again = demand.need(replace(base, checkpointing=True), 1, 512)
    assert again < 0.5 * need[1] < need[1] < need[2] < need[16]
    for size in (1, 2, 4, 8, 16):
        chosen = plan(demand, base, available=need[size] * 1.01, **kept)
        assert (chosen.micro_batch, chosen.accumulation, chosen.checkpointing) == (size, 16 // size, False)
    assert plan(demand, base, available=need[1] * 0.9, **kept).checkpointing
    with pytest.raises(MemoryNeedError, match="set train.autocast, use train.optimizer adafactor"):
        plan(demand, base, available=again * 0.9, **kept)
    with pytest.raises(MemoryNeedError, match="a smaller train.batch_size"):
        plan(demand, base, available=again * 1.1, whole=True, **kept)
    assert plan(demand, base, available=need[2], batch=16, rows=2, tokens=512).micro_batch == 16, "there are two pairs"
    everything = replace(demand, moving=sizes.parameters)
    fixed = [everything.fixed(replace(base, optimizer=name)) for name in ("adamw", "adamw_8bit", "adafactor")]
    assert fixed == sorted(fixed, reverse=True) and everything.fixed(base) == sizes.parameters * 12
    assert replace(everything, shards=4).fixed(base) == everything.fixed(base) / 4


def test_the_estimate_is_above_what_a_step_keeps_and_near_it(organism):
    """Tensors kept for the backward pass, counted on a real step of masked gradients."""
    model, tok = copy.deepcopy(organism[0]), organism[1]
    free(model, MASK, CHOSEN)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.randint(1, len(tok), (4, 64))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(input_ids=ids, labels=ids, use_cache=False)
    measured = sum(t.untyped_storage().nbytes() for pointer, t in kept.items() if pointer not in weights)
    estimated = 4 * 64 * planning.demand(model, MASK, None).token(SETTINGS)
    assert 0.4 < measured / estimated < 1.0


def test_mistakes(organism, monkeypatch):
    for settings, processes, said in (
        (TrainParams(batch_size=16, micro_batch=3), 1, "train.micro_batch is 3.*use one of 1, 2, 4, 8, 16"),
        (TrainParams(batch_size=16, micro_batch=16), 2, "a process has 8 pairs in a step; use one of 1, 2, 4, 8"),
        (TrainParams(batch_size=6), 4, "6, which 4 processes cannot share equally; use a multiple of 4"),
    ):
        with pytest.raises(ParamsError, match=said):
            share(settings, processes)
    with pytest.raises(ParamsError, match="train.micro_batch must be at least 1"):
        TrainParams(micro_batch=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match="adamw_8bit needs bitsandbytes, which is not installed; pip install"):
        run(organism, SSN, replace(SETTINGS, optimizer="adamw_8bit"))


def test_settings_of_memory_are_recorded_only_where_they_are_set():
    """So the files of a run with the defaults are those of a version that had none of these settings."""
    assert not {"micro_batch", "checkpointing", "autocast", "optimizer"} & set(TrainParams().recorded())
    assert TrainParams(micro_batch=4, autocast=True).recorded().items() >= {"micro_batch": 4, "autocast": True}.items()
