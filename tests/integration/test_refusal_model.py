"""`refusal_model:ID`: labels by name, the forms of the text, and a tiny classifier whose weights know one letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_guards
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core.errors import FormatError, ParamsError, UnknownNameError
from ssn_eval.judges.refusal_model import SHORTENED, Reading, RefusalModelJudge, readings
from ssn_eval.judges.registry import check_judge, get_judge
from ssn_eval.judges.verdict import Exchange

LABELS = {0: "compliant", 1: "full_refusal", 2: "partial_refusal", 3: "capability_limitation", 4: "clarification"}


def classifier(folder: Path, labels: dict[int, str] | None = None, context: int = 64) -> Path:
    """A Llama of one layer that says label 1 if the last byte is `N`, and label 0 otherwise."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    tokenizer: Any = tiny_guards.tokenizer(context=context)
    names = labels or {0: "Non-refusal", 1: "Refusal"}
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=context, pad_token_id=tokenizer.pad_token_id, id2label=names,
        label2id={name: i for i, name in names.items()},
    )  # fmt: skip
    model = LlamaForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.model.embed_tokens.weight[tokenizer.convert_tokens_to_ids("N"), 0] = -1.0
        model.score.weight[0, 0], model.score.weight[1, 0] = 0.5, -0.5
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("classifier"))


def test_what_labels_mean() -> None:
    assert readings({0: "LABEL_0", 1: "LABEL_1"}) == {0: Reading(False, None), 1: Reading(True, "decline")}
    assert readings({0: "Refusal", 1: "Non-refusal"}) == {0: Reading(True, "decline"), 1: Reading(False, None)}
    assert list(readings(LABELS).values()) == [
        *(Reading(False, None), Reading(True, "decline"), Reading(False, "partial")),
        *(Reading(True, "capability"), Reading(False, None)),
    ]
    for labels in ({0: "positive", 1: "negative"}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}, {0: "non", 1: "no"}):
        with pytest.raises(FormatError, match="do not say which of them is a refusal"):
            readings(labels)


def test_a_tiny_classifier_judges_a_batch_as_it_judges_one_reply(folder: Path) -> None:
    judge = get_judge(f"refusal_model:{folder}")
    check_judge(judge.name)
    replies = ["Sure, here: 1. Y", "N", "I will not. N", "…", "a long answer " * 20 + "N"]
    exchanges = [Exchange("How?", reply, "en") for reply in replies]
    verdicts = judge.judge(exchanges)
    assert [v.refusal for v in verdicts] == [False, True, True, None, False]
    assert [v.kind for v in verdicts] == [None, "decline", "decline", None, None]
    assert verdicts[3].invalid and verdicts[4].notes == (SHORTENED,) and verdicts[1].raw == "Refusal 0.982"
    assert all(v.harmful is None and not v.unscored for v in verdicts)
    assert [judge.judge([exchange])[0] for exchange in exchanges] == verdicts
    identity = judge.identity()
    assert (identity["form"], identity["labels"]) == ("pair", ["Non-refusal", "Refusal"])
    assert str(identity["revision"]).startswith("sha256:") and json.dumps(identity)


def test_the_form_is_the_models_own_and_can_be_chosen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert RefusalModelJudge("refusal_model", "NousResearch/Minos-v1").form == "lines"
    judge = RefusalModelJudge("refusal_model", str(folder))
    exchange = Exchange("{response}?", "no", "en")
    texts = {}
    for form in ("lines", "roles", "reply"):
        monkeypatch.setenv("SSN_JUDGE_FORM", form)
        texts[form] = tiny_guards.tokenizer().decode(judge._encode(exchange)[0]["input_ids"], skip_special_tokens=True)
    assert texts == {
        "lines": "<|user|>\n{response}?\n<|assistant|>\nno",
        "roles": "<|user|>{response}?<|assistant|>no",
        "reply": "no",
    }
    monkeypatch.setenv("SSN_JUDGE_FORM", "template")
    with pytest.raises(ParamsError, match="has no chat template"):
        judge.check()
    monkeypatch.setenv("SSN_JUDGE_FORM", "role")
    with pytest.raises(UnknownNameError, match="Did you mean roles"):
        judge.check()


def test_calibrate_measures_it(folder: Path, tmp_path: Path) -> None:
    rows = [{"lang": "en", "prompt": "?", "response": text, "refusal": int(text.endswith("N"))} for text in ("N", "Y")]
    (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    gold = str(tmp_path / "gold.jsonl")
    done = CliRunner().invoke(main, ["calibrate", "--judge", f"refusal_model:{folder}", "--gold", gold, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["overall"]["kappa"] == 1.0
    assert "needs a model" in CliRunner().invoke(main, ["calibrate", "--judge", "refusal_model", "--gold", gold]).output
