"""Safety training: loss on the response only, resuming to the same weights, and data that is mixed as asked."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from ssn_eval import adapters, checkpoints, training
from ssn_eval.errors import EmptySetError, FormatError, MissingInputError
from ssn_eval.neurons import NeuronSet
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.params import TrainParams
from ssn_eval.prompts import render
from ssn_eval.training import Pair

SETTINGS = TrainParams(steps=8, batch_size=2, pairs=4)
PAIRS = [
    Pair(f"{label}-{i}", lang, label, f"how {i} {lang}?", f"no {i}")
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(6)
]
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5)])


@pytest.fixture(scope="module")
def organism():
    tok = tokenizer.build(lexicon.load())
    return build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).eval(), tok


def test_labels_cover_the_response_and_its_end_only(organism):
    _, tok = organism
    row = training.encode(tok, PAIRS[0], 512)
    learned = [t for t in row["labels"] if t != training.IGNORED]
    head = row["input_ids"][: len(row["input_ids"]) - len(learned)]
    assert tok.decode(head) == render(tok, PAIRS[0].prompt)
    assert learned[-1] == tok.eos_token_id and tok.decode(learned[:-1]).strip() == PAIRS[0].response
    short = training.encode(tok, PAIRS[0], len(learned) + 3)
    assert short["input_ids"] == row["input_ids"][-len(learned) - 3 :]


def test_mixing_takes_parallel_prompts_and_as_many_benign_ones_as_asked():
    mixed = training.mix(PAIRS, replace(SETTINGS, replay=0.5))
    ids = {lang: sorted(p.id for p in mixed if p.lang == lang and p.label == "harmful") for lang in ("en", "zh")}
    assert ids["en"] == ids["zh"] and len(ids["en"]) == 4
    assert sum(p.label == "harmless" for p in mixed) == 2 * 2
    assert mixed == training.mix(PAIRS, replace(SETTINGS, replay=0.5))
    with pytest.raises(EmptySetError):
        training.mix([p for p in PAIRS if p.label == "harmless"], SETTINGS)


class Interrupted(Exception):
    """What the test throws instead of kill -9."""


def test_a_broken_off_adapter_training_resumes_to_the_same_weights_and_losses(organism, tmp_path, monkeypatch):
    model, tok = organism

    def run(work):
        tuned = adapters.build(copy.deepcopy(model), CHOSEN)
        curve = training.fit(tuned, tok, PAIRS, SETTINGS, lr=1e-2, work=work)
        return {n: p.detach().clone() for n, p in tuned.named_parameters()}, curve

    expected, losses = run(tmp_path / "whole")
    original = checkpoints.on_step

    def breaking(advance):
        callback, seen = original(advance), []

        def stop(*args, **kwargs):
            seen.append(1)
            if len(seen) == 5:
                raise Interrupted

        callback.on_step_end = stop
        return callback

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "on_step", breaking)
        with pytest.raises(Interrupted):
            run(tmp_path / "broken")
    assert checkpoints.step(checkpoints.last_complete(tmp_path / "broken")) == 4
    resumed, curve = run(tmp_path / "broken")
    assert curve == losses and [e["step"] for e in curve] == list(range(1, 9))
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    assert not (tmp_path / "broken").exists()
    start = dict(adapters.build(copy.deepcopy(model), CHOSEN).named_parameters())
    frozen = [n for n, p in start.items() if not p.requires_grad]
    assert frozen and all(torch.equal(resumed[n], start[n]) for n in frozen)


def test_bad_input(organism, tmp_path):
    model, tok = organism
    with pytest.raises(EmptySetError):
        training.fit(model, tok, [], SETTINGS, lr=1e-3, work=tmp_path / "w")
    with pytest.raises(MissingInputError, match="dvc repro prompts"):
        training.read_pairs(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(FormatError, match="line 1"):
        training.read_pairs(tmp_path / "bad.jsonl")
