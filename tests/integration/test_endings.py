"""A run knows which replies ended by themselves and which the limit of tokens cut off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance

from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness import endings
from ssn_eval.harness.evaluate import Evaluation, evaluate
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.judges.judged import Judged
from ssn_eval.judges.verdict import Verdict
from ssn_eval.prompts.prompt import Prompt

TOKENS = 6
CONTEXTS = ["how are you", "where is the sea", "who made the bread"]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> SsnHFLM:
    """An untrained organism as `ssn_hf`."""
    from ssn_eval.organism import lexicon, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    folder = tmp_path_factory.mktemp("endings") / "model"
    tok = tokenizer.build(lexicon.load())
    torch.manual_seed(0)
    build_model(OrganismSettings(), tok).save_pretrained(folder)
    tok.save_pretrained(folder)
    return SsnHFLM(str(folder), batch_size=2, device="cpu", dtype="float32")


def asked(lm: SsnHFLM, until: list[str], repeats: int = 1) -> tuple[list[str], list[bool | None]]:
    settings = {"until": until, "max_gen_toks": TOKENS, "do_sample": False}
    requests = [
        Instance("generate_until", {}, (context, dict(settings)), i, metadata=("t", i, repeats))
        for i, context in enumerate(CONTEXTS)
    ]
    texts = lm.generate_until(requests, disable_tqdm=True)
    return texts, [endings.finished(request) for request in requests]


def own_tokens(lm: SsnHFLM, context: str) -> list[int]:
    """The tokens that the model alone writes after a context."""
    ids = torch.tensor([lm.tok_encode(context)])
    tokens = lm.model.generate(ids, max_new_tokens=TOKENS, do_sample=False, eos_token_id=None)[0, ids.shape[1] :]
    return tokens.tolist()


def test_a_text_is_finished_if_the_model_wrote_an_end_token(lm: SsnHFLM) -> None:
    assert asked(lm, [])[1] == [False, False, False]
    written = [own_tokens(lm, context) for context in CONTEXTS]
    # The first token that only the second text holds becomes an end token of the model.
    end = next(t for t in written[1] if t not in {*written[0], *written[2]})
    before: Any = lm.model.generation_config.eos_token_id
    lm.model.generation_config.eos_token_id = [before, end]
    try:
        assert asked(lm, [])[1] == [False, True, False]
    finally:
        lm.model.generation_config.eos_token_id = before


def test_a_text_is_finished_if_it_holds_a_stop_sequence(lm: SsnHFLM) -> None:
    texts, _ = asked(lm, [])
    stop = texts[0][-3:]
    expected = [stop in text for text in texts]
    shorter, flags = asked(lm, [stop])
    assert flags == expected and flags[0]
    assert stop not in shorter[0]


def test_several_texts_of_one_request_are_not_known(lm: SsnHFLM) -> None:
    assert asked(lm, [], repeats=2)[1] == [None, None, None]


def test_the_pipeline_counts_cut_off_replies(lm: SsnHFLM) -> None:
    prompts = [
        Prompt(id=f"{label}{i}", lang="en", label=label, prompt=f"{context} {label}")
        for label in ("harmful", "harmless")
        for i, context in enumerate(CONTEXTS)
    ]
    settings = EvaluateParams(batch_size=4, judge="refusal", capability=None, max_new_tokens=TOKENS, limit=None)
    found: Evaluation = evaluate(lm, prompts, ["en"], settings)
    assert found.counts["by_lang"]["en"]["cut_off"] == {"successes": 6, "total": 6}
    assert {row["finished"] for row in found.replies} == {False}


def test_the_record_of_a_reply_keeps_it() -> None:
    judged = Judged((Verdict(True, None, False, False, ""),), {"name": "t"}, ("refusal",), None, (False,))
    assert Judged.from_text(judged.to_text()) == judged
    old = json.loads(judged.to_text())
    del old["finished"]
    assert Judged.from_text(json.dumps(old)).finished is None


def test_a_judgement_of_a_run_keeps_it(tmp_path: Path) -> None:
    from runs_made import C, R, write

    from ssn_eval.harness import rejudging
    from ssn_eval.harness.runs import judged_replies, rates
    from ssn_eval.judges.registry import get_judge

    run = write(tmp_path / "run", {"en": [R, C]})
    (file,) = run.glob("samples_*.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row, end in zip(rows, (True, False), strict=True):
        judged = json.loads(row["filtered_resps"][0]) | {"finished": [end]}
        row["filtered_resps"] = [json.dumps(judged)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rejudging.rejudge(run, get_judge("refusal"), tmp_path / "again")
    for folder in (run, tmp_path / "again"):
        (found,) = rates.summarize(judged_replies.read(folder))
        assert found.overall["cut_off"].value == 0.5
