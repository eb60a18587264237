"""Safety training: loss on the response only, resuming to the same weights, and data that is mixed as asked."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from interrupting import interrupted

from ssn_eval.core.errors import (
    EmptySetError,
    FormatError,
    MismatchError,
    MissingInputError,
    ParamsError,
    UnknownNameError,
)
from ssn_eval.core.languages import language
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import resuming
from ssn_eval.models.templates import render
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.pairs import Pair, common, mix, read_pairs, read_phrasings, safety_pairs, write_pairs
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.training.adapters.neuron_lora import build
from ssn_eval.training.encoding import IGNORED, encode
from ssn_eval.training.fit import fit

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
    row = encode(tok, PAIRS[0], 512)
    learned = [t for t in row["labels"] if t != IGNORED]
    head = row["input_ids"][: len(row["input_ids"]) - len(learned)]
    assert tok.decode(head) == render(tok, PAIRS[0].prompt)
    assert learned[-1] == tok.eos_token_id and tok.decode(learned[:-1]).strip() == PAIRS[0].response
    short = encode(tok, PAIRS[0], len(learned) + 3)
    assert short["input_ids"] == row["input_ids"][-len(learned) - 3 :]


def test_mixing_takes_parallel_prompts_and_as_many_benign_ones_as_asked():
    mixed = mix(PAIRS, replace(SETTINGS, replay=0.5))
    ids = {lang: sorted(p.id for p in mixed if p.lang == lang and p.label == "harmful") for lang in ("en", "zh")}
    assert ids["en"] == ids["zh"] and len(ids["en"]) == 4
    assert sum(p.label == "harmless" for p in mixed) == 2 * 2
    assert mixed == mix(PAIRS, replace(SETTINGS, replay=0.5))
    with pytest.raises(EmptySetError):
        mix([p for p in PAIRS if p.label == "harmless"], SETTINGS)


def test_a_language_is_left_out_with_its_benign_pairs():
    mixed = mix(PAIRS, replace(SETTINGS, leave_out=("zh",)))
    assert {p.lang for p in mixed} == {"en"} and {p.label for p in mixed} == {"harmful", "harmless"}
    assert mixed == [p for p in mix(PAIRS, SETTINGS) if p.lang == "en"]
    with pytest.raises(UnknownNameError, match="language to leave out 'th'"):
        mix(PAIRS, replace(SETTINGS, leave_out=("th",)))
    with pytest.raises(EmptySetError, match="outside en, zh"):
        mix(PAIRS, replace(SETTINGS, leave_out=("en", "zh")))


def test_languages_that_are_not_parallel_are_named_and_can_be_made_so():
    broken = [p for p in PAIRS if (p.id, p.lang) != ("harmful-3", "zh")]
    with pytest.raises(MismatchError, match="zh lacks 1 of 6 harmful prompts.*'harmful-3', which en has"):
        mix(broken, SETTINGS)
    kept, dropped = common(broken)
    assert dropped == 1 and len(mix(kept, replace(SETTINGS, pairs=9))) == 4 * 5
    mix(broken, replace(SETTINGS, leave_out=("zh",)))


def test_a_broken_off_adapter_training_resumes_to_the_same_weights_and_losses(organism, tmp_path, monkeypatch):
    model, tok = organism

    def run(work):
        tuned = build(copy.deepcopy(model), CHOSEN)
        curve = fit(tuned, tok, PAIRS, SETTINGS, lr=1e-2, work=work)
        return {n: p.detach().clone() for n, p in tuned.named_parameters()}, curve

    expected, losses = run(tmp_path / "whole")
    with interrupted(monkeypatch, 5):
        run(tmp_path / "broken")
    assert resuming.step(resuming.last_complete(tmp_path / "broken")) == 4
    resumed, curve = run(tmp_path / "broken")
    assert curve == losses and [e["step"] for e in curve] == list(range(1, 9))
    assert all(torch.equal(resumed[name], value) for name, value in expected.items())
    assert run(tmp_path / "broken")[1] == losses, "a run that ended before its result was saved trains no step too many"
    start = dict(build(copy.deepcopy(model), CHOSEN).named_parameters())
    frozen = [n for n, p in start.items() if not p.requires_grad]
    assert frozen and all(torch.equal(resumed[n], start[n]) for n in frozen)


def test_phrasings_are_drawn_by_prompt_and_read_with_care(tmp_path):
    prompts = [Prompt(f"p{i}", lang, "harmful", f"how {i}?") for lang in ("en", "th", "sw") for i in range(40)]
    file = tmp_path / "refusals.json"
    file.write_text(json.dumps({"en": ["No.", "Never."], "th": ["ไม่", "ไม่ได้"]}))
    pairs = safety_pairs(prompts, read_phrasings(file))
    by_lang = {lang: [p.response for p in pairs if p.lang == lang] for lang in ("en", "th", "sw")}
    assert set(by_lang["en"]) == {"No.", "Never."} and set(by_lang["sw"]) == {language("sw").refusal}
    same = [(a == "No.") == (b == "ไม่") for a, b in zip(by_lang["en"], by_lang["th"], strict=True)]
    assert all(same), "the same phrasing in every language"
    for wrong in ('{"en": []}', '{"en": [" "]}', '["No."]', '{"en": "No."}'):
        file.write_text(wrong)
        with pytest.raises(FormatError, match="no refusals by language"):
            read_phrasings(file)
    file.write_text('{"xx": ["No."]}')
    with pytest.raises(UnknownNameError):
        read_phrasings(file)


def test_pairs_survive_a_file(tmp_path):
    pairs = [*PAIRS, replace(PAIRS[0], id="more", rejected="yes")]
    write_pairs(tmp_path / "p.jsonl", pairs)
    assert read_pairs(tmp_path / "p.jsonl") == pairs
    assert "rejected" not in (tmp_path / "p.jsonl").read_text().splitlines()[0]


def test_bad_input(organism, tmp_path):
    model, tok = organism
    with pytest.raises(EmptySetError):
        fit(model, tok, [], SETTINGS, lr=1e-3, work=tmp_path / "w")
    with pytest.raises(MissingInputError, match="dvc repro prompts"):
        read_pairs(tmp_path / "none.jsonl")
    good = {"id": "a", "lang": "en", "label": "harmful", "prompt": "how?", "response": "no"}
    bad = tmp_path / "bad.jsonl"
    for change, said in (
        ({"response": None}, "line 1 has a value that is no text"),
        ({"response": " "}, "line 1 has an empty response"),
        ({"label": "bad"}, "line 1 has the label 'bad'"),
        ({"answer": "x"}, "line 1 is not a pair"),
    ):
        bad.write_text(json.dumps(good | change))
        with pytest.raises(FormatError, match=said):
            read_pairs(bad)
    bad.write_text(f"{json.dumps(good)}\n{json.dumps(good)}\n")
    with pytest.raises(FormatError, match="'a' twice in en"):
        read_pairs(bad)
    bad.write_text("\n")
    with pytest.raises(EmptySetError, match="holds no training pair"):
        read_pairs(bad)
    for key, value in (("lr", float("nan")), ("lr_full", 0), ("replay", float("inf")), ("pairs", 0), ("epochs", -1)):
        with pytest.raises(ParamsError, match=f"train.{key}"):
            TrainParams(**{key: value})  # type: ignore[arg-type]
