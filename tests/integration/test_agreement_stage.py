"""The optional stage `agreement` on a tiny model: rows of other scorers, a pathway, and what a training moved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_templates_in_pipeline import LLAMA3, prepare

from ssn_eval.core.errors import EmptySetError
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.pairs import Pair, read_pairs, write_pairs
from ssn_eval.stages import agreement, prompts, score, select, train
from ssn_eval.stages.common import UNTRAINED

ROWS = ("contrast@sketch", "effect_size@activation", "paper@attribution", "pathway", "model_diff:ssn")
INPUTS = Path("model"), Path("prompts.jsonl"), Path("pairs.jsonl"), Path("scores"), Path("train")


def test_rows_that_need_the_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = prepare(tmp_path, LLAMA3, {}, None)
    settings = replace(
        settings,
        score=replace(settings.score, position="mean"),
        train=replace(settings.train, replay=1.0, pairs=3),
        select=replace(settings.select, compare=("paper", "contrast")),
        agreement={"ms_hr": ROWS},
    )
    model, rows, pairs, scores, _ = INPUTS
    prompts.main(settings, model, rows, pairs)
    benign = [p for p in read_jsonl(rows) if (p.label, p.split) == ("harmless", "train")]
    answers = [Pair(p.id, p.lang, "harmless", p.prompt, f"here is the bread {p.id}") for p in benign]
    with pytest.raises(EmptySetError, match=r"train\.replay"):  # this model never ends an answer
        _ = agreement.Source(settings, model, rows, pairs, Path("train")).exchanges
    write_pairs(pairs, [*read_pairs(pairs), *answers])
    score.main(settings, model, rows, scores)
    select.main(settings, scores, Path("sets"), Path("select.json"))
    train.main(settings, Path("ssn"), model, pairs, Path("sets"), Path("train/ssn"), Path("train.json"))
    of_rules = json.loads(Path("select.json").read_text())["agreement"]["rows"]
    assert [row["name"] for row in of_rules] == ["paper", "contrast"]
    said = agreement.main(settings, Path("ms_hr"), *INPUTS, Path("results/agreement/ms_hr.json"))
    found = json.loads(Path("results/agreement/ms_hr.json").read_text())
    sizes = {row["name"]: row["size"] for row in found["rows"]}
    assert said.startswith("7 ways of choosing ms_hr") and list(sizes) == ["paper", "contrast", *ROWS]
    by_pair = {frozenset((p["first"], p["second"])): p for p in found["pairs"]}
    same = by_pair[frozenset(("contrast", "contrast@sketch"))]
    assert same["jaccard"] == 1 and same["shared"] == sizes["contrast"], "the same scorer on the same prompts"
    assert all(size > 0 for name, size in sizes.items() if name != "pathway"), sizes
    assert by_pair[frozenset(("paper", "pathway"))]["shared"] == sizes["pathway"] <= sizes["paper"]
    moved = by_pair[frozenset(("contrast@sketch", "model_diff:ssn"))]
    assert moved["jaccard"] < 1 and found["provenance"]["inputs"]["scores"]["sha256"]

    monkeypatch.setattr(loading, "load", lambda *_a, **_k: pytest.fail("every language is kept"))
    kept = replace(settings, agreement={"ms_hr": tuple(row for row in ROWS if row != "pathway")})
    agreement.main(kept, Path("ms_hr"), *INPUTS, Path("again.json"))

    (Path("train/ssn") / UNTRAINED).write_text("{}")
    with pytest.raises(EmptySetError, match="ssn trained nothing"):
        agreement.main(kept, Path("ms_hr"), *INPUTS, Path("again.json"))
