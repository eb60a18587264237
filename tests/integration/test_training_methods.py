"""Methods: neuron-LoRA is gradient masking, a loss moves only what is free, and the losses are what their papers say."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from interrupting import interrupted

from ssn_eval.core.errors import EmptySetError, MismatchError, MissingInputError, ParamsError
from ssn_eval.core.languages import language
from ssn_eval.core.methods import LOSSES, NEEDS_TRL, Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import generation
from ssn_eval.models.generation import Completion
from ssn_eval.models.loading import Loaded
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.answers import with_rejected
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import gaps, trainers
from ssn_eval.training.adapters.folder import load_adapter, save_adapter
from ssn_eval.training.encoding import IGNORED, encode
from ssn_eval.training.fit import fit
from ssn_eval.training.weights import free, masks

SETTINGS = TrainParams(steps=8, batch_size=4, pairs=4)
PAIRS = [
    Pair(f"{label}-{i}", lang, label, f"how {i} {lang}?", f"no {i}", f"yes {i} indeed")
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(6)
]
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (0, "k_proj", 3), (0, "v_proj", 2), (1, "mlp", 3), (1, "o_proj", 5)])
TRL = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("trl") is None, reason="TRL is an extra: ssn-eval[baselines]"
)


@pytest.fixture(scope="module")
def organism():
    tok = tokenizer.build(lexicon.load())
    return build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).eval(), tok


def run(organism, method: Method, settings: TrainParams = SETTINGS, work=None, pairs=PAIRS):
    model, tok = copy.deepcopy(organism[0]), organism[1]
    ready = free(model, method, CHOSEN if method.uses_set else None)
    curve = fit(ready.model, tok, pairs, settings, lr=1e-2, work=work, method=method)
    return ready, [e["loss"] for e in curve]


def plain(ready) -> dict[str, torch.Tensor]:
    """Weights after training, adapters merged."""
    model = ready.model.merge_and_unload() if ready.is_adapter else ready.model
    return {name: p.detach() for name, p in model.named_parameters()}


def test_neuron_lora_is_gradient_masking(organism):
    """METHOD.md, section 3: one loss curve, one set of final weights, and everything that is not chosen stays bit for bit."""
    settings = replace(SETTINGS, steps=20)
    lora, curve = run(organism, Method("ss"), settings)
    masked, reference = run(organism, Method("ss", "mask"), settings)
    assert lora.trainable == masked.trainable < 0.02 * lora.total
    assert max(abs(a - b) for a, b in zip(curve, reference, strict=True)) <= 1e-4 and curve[-1] < curve[0] - 0.01
    ours, theirs, before = plain(lora), plain(masked), dict(organism[0].named_parameters())
    trained = masks(organism[0], CHOSEN)
    for name, weight in ours.items():
        assert (weight - theirs[name]).abs().max() <= 1e-6, name
        fixed = trained.get(name, torch.zeros_like(weight)) == 0
        assert torch.equal(theirs[name][fixed], before[name][fixed]), name
    moved = [name for name in ours if not torch.equal(ours[name], before[name])]
    assert sorted(moved) == sorted(trained) and len(moved) == 7


@pytest.mark.parametrize(
    "loss",  # sft_ablated trains what lies outside the set
    [pytest.param(x, marks=TRL) if x in NEEDS_TRL else x for x in LOSSES if x != "sft_ablated"],
)
def test_every_loss_moves_what_is_free_and_nothing_else(organism, loss):
    """TRL's reference passes let PEFT thaw the one-hot matrices; then a neuron-LoRA would be none."""
    curves = {}
    for weights in ("neurons", "mask", "lora", "full"):
        method = Method("ss" if weights in ("neurons", "mask") else None, weights, loss)
        model = copy.deepcopy(organism[0])
        start = free(model, method, CHOSEN if method.uses_set else None).model
        frozen = {n: p.detach().clone() for n, p in start.named_parameters() if not p.requires_grad}
        ready, curves[weights] = run(organism, method)
        now = dict(ready.model.named_parameters())
        if weights != "lora":
            assert all(torch.equal(now[n], p) and not now[n].requires_grad for n, p in frozen.items())
        assert set(now) == {n for n, _ in start.named_parameters()}
        assert all(map(math.isfinite, curves[weights]))
    assert max(abs(a - b) for a, b in zip(curves["neurons"], curves["mask"], strict=True)) <= 1e-4
    if loss != "mpo":  # from a random start it holds HR still and has almost nothing to draw to it
        assert curves["full"][-1] < curves["full"][0]


@pytest.mark.parametrize("method", [pytest.param(Method("ss", loss="dpo"), marks=TRL), Method("ss", loss="mpo")])
def test_a_preference_run_resumes_to_the_same_weights(organism, tmp_path, monkeypatch, method):
    expected, losses = run(organism, method)
    with interrupted(monkeypatch, 5):
        run(organism, method, work=tmp_path / "w")
    resumed, curve = run(organism, method, work=tmp_path / "w")
    assert curve == losses
    assert all(torch.equal(v, plain(expected)[n]) for n, v in plain(resumed).items())


@TRL
def test_r_dpo_without_its_length_term_is_dpo(organism, capfd):
    """Our reward gaps, references and batches are TRL's; and TRL draws no bar of its own."""
    _, theirs = run(organism, Method(weights="full", loss="dpo"))
    _, ours = run(organism, Method(weights="full", loss="rdpo", alpha=0.0))
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) <= 1e-4
    assert "Computing reference" not in capfd.readouterr().err


def test_r_dpo_and_mpo_by_hand(organism):
    """The first loss, from log-probabilities that are computed here token by token."""
    model, tok = organism

    def score(prompt: Pair, text: str) -> tuple[float, int]:
        row = encode(tok, replace(prompt, response=text), 512)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        learned = [(i, t) for i, t in enumerate(row["labels"]) if t != IGNORED]
        return sum(float(logits[i - 1, t]) for i, t in learned), len(learned)

    pairs = [p for p in PAIRS if p.id == "harmful-0"]
    (good, n_good), (bad, n_bad) = score(pairs[0], "no 0"), score(pairs[0], "yes 0 indeed")
    gap = good / n_good - bad / n_bad
    (zh_good, zh_n), (zh_bad, zh_m) = score(pairs[1], "no 0"), score(pairs[1], "yes 0 indeed")
    other = zh_good / zh_n - zh_bad / zh_m
    one = replace(SETTINGS, steps=1, batch_size=1)
    _, (mpo,) = run(organism, Method(weights="full", loss="mpo", beta=2.0), one, pairs=pairs)
    assert mpo == pytest.approx((2 * other - gap) ** 2, abs=1e-4)
    _, (rdpo,) = run(organism, Method(weights="full", loss="rdpo", alpha=0.3), one, pairs=pairs[:1])
    assert rdpo == pytest.approx(math.log1p(math.exp(-0.3 * (n_good - n_bad))), abs=1e-4)


def test_mpo_pairs_other_languages_with_hr():
    found = gaps.couples([*PAIRS, Pair("alone", "zh", "harmful", "how?", "no", "yes")], "en")
    assert len(found) == 12 and all(c.source.lang == "en" and c.target.id == c.source.id for c in found)
    assert trainers.rows_in(PAIRS, Method(loss="mpo", weights="full"), "en") == 12
    assert trainers.rows_in(PAIRS, Method(loss="kto", weights="full"), "en") == 48
    with pytest.raises(MismatchError, match="no pair of another language"):
        gaps.couples([p for p in PAIRS if p.lang == "en"], "en")


def test_rejected_responses(organism, monkeypatch):
    """Against an answer the refusal, against a refusal the model's answer, or where that refuses an answer of the language."""
    said = {"how bad?": "first do this", "how worse?": language("en").refusal, "wie?": language("de").refusal}
    monkeypatch.setattr(generation, "complete", lambda _m, _t, texts, **_: [Completion(said[t], True) for t in texts])
    loaded = Loaded(organism[0], organism[1], None)  # type: ignore[arg-type]
    pairs = [
        Pair("a", "en", "harmful", "how bad?", "no"),
        Pair("b", "en", "harmful", "how worse?", "no"),
        Pair("c", "en", "harmful", "how worst?", "no", rejected="mine"),
        Pair("d", "de", "harmful", "wie?", "nein"),
        Pair("e", "en", "harmless", "how nice?", "in the garden"),
    ]
    found = with_rejected(loaded, pairs, max_new_tokens=8, batch_size=2)
    assert {p.id: p.rejected for p in found} == {
        "a": "first do this",
        "b": "in the garden",
        "c": "mine",
        "e": language("en").refusal,
    }
    with pytest.raises(EmptySetError, match="refuses every prompt"):
        with_rejected(loaded, [pairs[1]], max_new_tokens=8, batch_size=2)


def test_bad_input(organism, monkeypatch, tmp_path):
    with pytest.raises(EmptySetError, match="neurons of ss, which is empty"):
        free(organism[0], Method("ss"), NeuronSet.of([]))
    with pytest.raises(MismatchError):
        free(organism[0], Method("ss", "mask"), NeuronSet.of([(7, "q_proj", 0)]))
    with pytest.raises(EmptySetError, match="rejected response"):
        run(organism, Method(weights="full", loss="mpo"), pairs=[replace(p, rejected=None) for p in PAIRS])
    for change in ({"lr": math.nan}, {"beta": math.inf}, {"beta": 0}, {"alpha": math.nan}, {"rank": 0}):
        with pytest.raises(ParamsError, match=f"method's {next(iter(change))}"):
            Method(weights="full", **change)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingInputError, match=r"pip install 'ssn-eval\[baselines\]'"):
        run(organism, Method(weights="full", loss="dpo"))


@TRL
def test_kto_needs_a_batch(organism):
    with pytest.raises(ParamsError, match="train.batch_size"):
        run(organism, Method(weights="full", loss="kto"), replace(SETTINGS, batch_size=1))


def test_an_ordinary_lora_is_saved_and_loaded_like_ours(organism, tmp_path):
    ready, _ = run(organism, Method(weights="lora", rank=2))
    tuned: Any = ready.model
    model, _ = organism
    ids = torch.tensor([[1, 5, 9, 12]])
    with torch.no_grad():
        expected = tuned(input_ids=ids).logits
    from ssn_eval.core.origin import ModelRef
    from ssn_eval.models.architectures.resolving import geometry

    ref = ModelRef("m", "a" * 64, "llama", geometry(model))
    save_adapter(tuned, tmp_path / "lora", ref, {"method": "lora"})
    again = load_adapter(copy.deepcopy(model), tmp_path / "lora", ref)
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, expected)
