"""The training methods of other papers, each against a small case by hand: complement, tied, sft_ablated, mlc."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from interrupting import interrupted

from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.methods import METHODS, Method, check, method_for
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.settings import TrainParams
from ssn_eval.interventions.hooks import intervene
from ssn_eval.models.architectures.resolving import geometry
from ssn_eval.models.loading import Loaded
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import clusters, consistency
from ssn_eval.training.adapters.folder import load_adapter, save_adapter
from ssn_eval.training.encoding import IGNORED, encode, encode_prompt
from ssn_eval.training.fit import fitted
from ssn_eval.training.weights import free, masks

SETTINGS = TrainParams(steps=4, batch_size=4, warmup_ratio=0.0)
PAIRS = [
    Pair(f"{label}-{i}", lang, label, f"how {i} {lang}?" + " very" * (i % 3), "no" + " no" * (i % 4))
    for label in ("harmful", "harmless")
    for lang in ("en", "zh", "th")
    for i in range(4)
]
CHOSEN = NeuronSet.of(
    [(0, "q_proj", 1), (0, "k_proj", 3), (0, "v_proj", 2), (1, "o_proj", 5), *((1, "mlp", i) for i in (3, 8, 9, 20))]
)
CLUSTERS = {
    "layers.0.q_proj": [[1]],
    "layers.0.k_proj": [[3]],
    "layers.0.v_proj": [[2]],
    "layers.1.o_proj": [[5]],
    "layers.1.mlp": [[3, 9], [8, 20]],
}
NEW = {
    "complement": METHODS["complement"],
    "tied": replace(METHODS["tied"], clusters=2),
    "sft_ablated": replace(METHODS["sft_ablated"], rank=2),
    "mlc": replace(METHODS["mlc"], width=8),
    "mlc_ssn": replace(METHODS["mlc_ssn"], width=8),
}


def some(*quick: str) -> list[Any]:
    """Every new row; those that are not named here run in `make test-slow`."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in NEW]


@pytest.fixture(scope="module")
def organism():
    tok = tokenizer.build(lexicon.load())
    return build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).eval(), tok


def run(organism, method: Method, settings: TrainParams = SETTINGS, work=None, pairs=PAIRS, lr=1e-2):
    model, tok = copy.deepcopy(organism[0]), organism[1]
    torch.manual_seed(0)
    ready = free(model, method, CHOSEN if method.uses_set else None, CLUSTERS)
    done = fitted(ready.model, tok, pairs, settings, lr=lr, work=work, method=method, masks=ready.masks, neurons=CHOSEN)
    return ready, [e["loss"] for e in done.curve]


def weights(ready) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in ready.model.named_parameters()}


def test_complement_moves_every_weight_but_those_of_the_set(organism):
    ready, curve = run(organism, NEW["complement"])
    before, now, owned = dict(organism[0].named_parameters()), weights(ready), masks(organism[0], CHOSEN)
    held = 0
    for name, weight in now.items():
        mask = owned.get(name, torch.zeros_like(weight)).bool()
        assert torch.equal(weight[mask], before[name][mask]), name
        held += int(mask.sum())
        if name in owned:  # rows of other neurons move
            assert not torch.equal(weight[~mask], before[name][~mask]), name
    assert not torch.equal(now["model.norm.weight"], before["model.norm.weight"])
    assert ready.trainable == ready.total - held and held > 0 and curve[-1] < curve[0]


def test_complement_holds_the_biases_of_the_set():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    ready = free(Qwen2ForCausalLM(config), Method("ss", "complement"), NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3)]))
    assert ready.masks is not None
    bias = ready.masks["model.layers.0.self_attn.q_proj.bias"]
    assert bias.ndim == 1 and bias.tolist() == [1.0, 0.0] + [1.0] * 14
    assert ready.masks["model.layers.0.self_attn.k_proj.bias"].ndim == 0
    assert ready.trainable == ready.total - (16 + 1) - 3 * 16


def test_rows_of_one_cluster_get_one_update_and_nothing_else_moves(organism, tmp_path):
    ready, curve = run(organism, NEW["tied"])
    ref = ModelRef("m", "a" * 64, "llama", geometry(organism[0]))
    adapter: Any = ready.model
    save_adapter(adapter, tmp_path / "tied", ref, {"method": "tied"})
    tuned: Any = load_adapter(copy.deepcopy(organism[0]), tmp_path / "tied", ref).merge_and_unload()
    moved = {
        name: weight.detach() - before
        for (name, weight), (_, before) in zip(tuned.named_parameters(), organism[0].named_parameters(), strict=True)
        if not torch.equal(weight, before)
    }
    hidden = organism[0].config.hidden_size
    mlp = {name: delta for name, delta in moved.items() if ".mlp." in name}
    assert sorted(name.split(".")[-2] for name in mlp) == ["gate_proj", "up_proj"], (
        "not the column of the down projection"
    )
    for delta in mlp.values():
        assert set(delta.abs().sum(1).nonzero().flatten().tolist()) == {3, 8, 9, 20}
        for group in CLUSTERS["layers.1.mlp"]:
            assert torch.allclose(delta[group[0]], delta[group[1]], atol=1e-7)
        assert not torch.allclose(delta[3], delta[8], atol=1e-4)
    assert len(moved) == 6
    assert ready.trainable == 2 * (2 * hidden) + 3 * hidden + hidden  # two clusters each; q, k, v; a column of o
    assert curve[-1] < curve[0]


def test_clusters_are_the_groups_of_like_profiles():
    base = np.random.default_rng(0).normal(size=(3, 40))
    rows = np.stack([base[i % 3] * (1 + i) + i + 0.01 * np.sin(np.arange(40) + i) for i in range(9)])
    found = clusters.grouped([10, 11, 12, 13, 14, 15, 16, 17, 18], rows, largest=6, seed=0)
    assert found == [[10, 13, 16], [11, 14, 17], [12, 15, 18]], (
        "scale and offset do not count; the silhouette finds three"
    )
    assert clusters.grouped([4, 7], rows[:2], 8, 0) == [[4, 7]]
    assert clusters.grouped([1, 2, 3], np.ones((3, 5)), 8, 0) == [[1, 2, 3]]
    assert clusters.grouped([1, 2, 3, 4], rows[:4], 1, 0) == [[1, 2, 3, 4]]


def test_profiles_are_the_largest_activations_over_a_prompts_tokens(organism):
    model, tok = organism
    loaded = Loaded(model, tok, ModelRef("m", "a" * 64, "llama", geometry(model)))
    neurons = NeuronSet.of([(0, "q_proj", 1), (0, "q_proj", 7)])
    texts = ["how are you?", "how very very nice?"]
    found = clusters.profiles(loaded, neurons, texts)["layers.0.q_proj"]
    captured: list[torch.Tensor] = []
    handle = model.model.layers[0].self_attn.q_proj.register_forward_hook(lambda _m, _a, out: captured.append(out))
    for text in texts:
        with torch.no_grad():
            model(input_ids=torch.tensor([encode_prompt(tok, text, 512)]))
    handle.remove()
    expected = [[float(out[0, :, i].max()) for out in captured] for i in (1, 7)]
    assert found == pytest.approx(np.array(expected), abs=1e-5)
    made = clusters.of_method(loaded, METHODS["tied"], CHOSEN, PAIRS, SETTINGS)
    assert made is not None and {k: sorted(i for group in v for i in group) for k, v in made.items()} == CHOSEN.by_key()
    assert made == clusters.of_method(loaded, METHODS["tied"], CHOSEN, PAIRS, SETTINGS)
    assert clusters.of_method(loaded, METHODS["ssn"], CHOSEN, PAIRS, SETTINGS) is None


def scores(organism, pair: Pair) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Log-probabilities (time, vocabulary), and place and token of every learned token."""
    row = encode(organism[1], pair, 512)
    with torch.no_grad():
        logits = organism[0](input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
    return logits, [(i - 1, t) for i, t in enumerate(row["labels"]) if t != IGNORED]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_sft_ablated_by_hand(organism, checkpointing):
    """Every term under the hooks of `intervene`, one pair after the other; the gradient, too, also where layers are computed again."""
    pairs = [PAIRS[3], PAIRS[1], next(p for p in PAIRS if p.label == "harmless")]
    total, count = 0.0, 0
    for pair in pairs:
        plain, learned = scores(organism, pair)
        count += len(learned)
        total -= sum(float(plain[at, token]) for at, token in learned)
        if pair.label == "harmful":
            with intervene(organism[0], CHOSEN, "suppress"):
                held, _ = scores(organism, pair)
            total -= sum(float(held[at, token]) for at, token in learned)
            total += 0.5 * sum(float((held[at].exp() * (held[at] - plain[at])).sum()) for at, _ in learned)
    one = replace(SETTINGS, steps=1, batch_size=3, checkpointing=checkpointing)
    method = Method("ss", "full", "sft_ablated", beta=0.5)
    ready, (loss,) = run(organism, method, one, pairs=pairs)
    assert loss == pytest.approx(total / count, abs=1e-5)
    reference, _ = run(organism, method, replace(one, checkpointing=False), pairs=pairs)
    assert all(torch.equal(v, weights(reference)[n]) for n, v in weights(ready).items())
    layers: Any = ready.model.model.layers
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in layers.modules()), "no hook stays behind"


def test_the_further_terms_of_sft_ablated_give_the_set_no_gradient(organism):
    """Less the gradient of the plain term, what the suppressed neurons own gets none."""
    gradients = {}
    for loss in ("sft", "sft_ablated"):
        model = copy.deepcopy(organism[0])
        seen: dict[str, torch.Tensor] = {}
        free(model, Method(weights="full"), None)
        for name, parameter in model.named_parameters():
            parameter.register_hook(lambda g, name=name, seen=seen: seen.__setitem__(name, g.clone()))
        method = Method("ss" if loss == "sft_ablated" else None, "full", loss, beta=1e-9 if loss != "sft" else None)
        one = replace(SETTINGS, steps=1, batch_size=4)
        fitted(model, organism[1], PAIRS[:4], one, lr=1e-3, work=None, method=method, neurons=CHOSEN)
        gradients[loss] = seen
    owned = masks(organism[0], CHOSEN)
    for name, mask in owned.items():
        added = gradients["sft_ablated"][name] - gradients["sft"][name]
        assert added[mask.bool()].abs().max() < 1e-6 < added[~mask.bool()].abs().max(), name


def test_mlc_by_hand(organism):
    """The loss of one step, with singular values from the Gram matrix and an extractor that is drawn here again."""
    model, tok = organism
    pairs = [p for p in PAIRS if p.id == "harmful-1"]
    method = replace(NEW["mlc"], beta=0.7, tau=0.3)
    with torch.no_grad():
        states = [
            model.model(input_ids=torch.tensor([encode_prompt(tok, p.prompt, 512)])).last_hidden_state[0, -1].double()
            for p in pairs
        ]
    generator = torch.Generator().manual_seed(SETTINGS.seed)
    bound = math.sqrt(6 / (8 + 32))
    extractor = (torch.rand(8, 32, generator=generator) * 2 - 1).double() * bound
    vectors = torch.stack([v / v.norm() for v in (extractor @ h for h in states)])
    sigma = torch.linalg.eigvalsh(vectors @ vectors.T).clamp(min=0).sqrt().flip(0)
    shares = (sigma / sigma[0] / 0.3).exp()
    total, count = 0.0, 0
    for pair in pairs:
        plain, learned = scores(organism, pair)
        total -= sum(float(plain[at, token]) for at, token in learned)
        count += len(learned)
    one = replace(SETTINGS, steps=1, batch_size=3)
    _, (loss,) = run(organism, method, one, pairs=pairs)
    assert loss == pytest.approx(total / count - 0.7 * math.log(float(shares[0] / shares.sum())), abs=1e-4)


def test_the_mlc_term_is_smallest_on_one_line_and_draws_vectors_to_it():
    line = torch.tensor([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [-3.0, -6.0, 0.0]])
    apart = torch.eye(3)
    tau = 0.2
    assert float(consistency.consistency(line, tau)) == pytest.approx(math.log(1 + 2 * math.exp(-5)), abs=1e-5)
    assert float(consistency.consistency(apart, tau)) == pytest.approx(math.log(3), abs=1e-5)
    vectors = torch.nn.Parameter(torch.tensor([[1.0, 0.2, 0.0], [0.3, 1.0, 0.1], [0.1, 0.3, 1.0]]))
    optimizer = torch.optim.Adam([vectors], lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = consistency.consistency(vectors, tau)
        loss.backward()
        optimizer.step()
    assert torch.linalg.svdvals(torch.nn.functional.normalize(vectors.detach(), dim=1))[1] < 0.1


def test_mlc_learns_the_responses_of_hr_alone_if_asked(organism):
    assert {p.lang for p in consistency.learned(PAIRS, METHODS["mlc_hr"], "zh")} == {"zh"}
    with pytest.raises(EmptySetError, match="responses of de alone"):
        consistency.learned(PAIRS, METHODS["mlc_hr"], "de")
    with pytest.raises(MismatchError, match="give parallel pairs"):
        run(organism, NEW["mlc"], pairs=[p for p in PAIRS if p.lang == "en"])


@pytest.mark.parametrize("name", some("sft_ablated", "mlc"))
def test_parts_and_checkpointing_give_the_same_step(organism, name):
    settings = replace(SETTINGS, steps=2, batch_size=8)
    whole, curve = run(organism, NEW[name], settings, lr=1e-3)
    parts, in_parts = run(organism, NEW[name], replace(settings, micro_batch=2), lr=1e-3)
    assert in_parts == pytest.approx(curve, abs=1e-5)
    assert max((v - weights(parts)[n]).abs().max() for n, v in weights(whole).items()) <= 2e-5
    again, same = run(organism, NEW[name], replace(settings, checkpointing=True), lr=1e-3)
    assert same == curve and all(torch.equal(v, weights(again)[n]) for n, v in weights(whole).items())
    cast, near = run(organism, NEW[name], replace(settings, autocast=True, optimizer="adafactor"), lr=1e-3)
    assert near == pytest.approx(curve, rel=3e-2) and all(v.dtype == torch.float32 for v in weights(cast).values())


@pytest.mark.parametrize("name", some("sft_ablated", "mlc_ssn"))
def test_a_killed_run_resumes_to_the_same_weights(organism, tmp_path, monkeypatch, name):
    expected, losses = run(organism, NEW[name])
    with interrupted(monkeypatch, 3):
        run(organism, NEW[name], work=tmp_path / "w")
    resumed, curve = run(organism, NEW[name], work=tmp_path / "w")
    assert curve == losses
    assert all(torch.equal(v, weights(expected)[n]) for n, v in weights(resumed).items())


def test_rows_that_cannot_be_are_refused(organism):
    for kind in ("neurons", "mask", "tied"):
        with pytest.raises(ParamsError, match="use weights: lora, complement or full"):
            Method("ss", kind, "sft_ablated")  # type: ignore[arg-type]
    for row, said in (
        (Method(weights="complement"), "outside a set"),
        (Method(weights="lora", loss="sft_ablated"), "suppresses a set"),
    ):
        with pytest.raises(ParamsError, match=said):
            check("mine", row)
    for change in ({"clusters": 0}, {"tau": 0.0}, {"width": 0}):
        with pytest.raises(ParamsError, match=f"method's {next(iter(change))}"):
            Method(weights="full", **change)  # type: ignore[arg-type]
    with pytest.raises(ParamsError, match="give --neurons FILE"):
        method_for("complement", has_neurons=False)
    with pytest.raises(ParamsError, match="give --neurons FILE"):
        method_for("sft_ablated", has_neurons=False)
    assert (
        method_for("mlc", has_neurons=True) == METHODS["mlc_ssn"]
        and method_for("mlc", has_neurons=False).weights == "full"
    )
    with pytest.raises(EmptySetError, match="needs the neurons of ss"):
        free(organism[0], Method("ss", "complement"), NeuronSet.of([]))


def test_a_row_from_before_has_the_record_that_it_had():
    """Kept cells of a frontier are named by it."""
    names = {"set", "weights", "loss", "lr", "beta", "gamma", "alpha", "rank"}
    assert set(METHODS["ssn"].recorded()) == set(METHODS["mpo"].recorded()) == names
    assert set(METHODS["tied"].recorded()) == names | {"clusters"}
    assert set(METHODS["mlc"].recorded()) == names | {"tau", "width", "responses"}
