"""What the page shows beyond numbers of results: samples, provenance, claims, frontier, accuracy, and runs side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import results_made
import yaml
from click.testing import CliRunner
from results_made import LANGS, SELECT, write

from ssn_eval.cli import main
from ssn_eval.core import params
from ssn_eval.core.errors import FormatError, MismatchError, MissingInputError
from ssn_eval.core.setnames import SetName
from ssn_eval.core.sweep import FrontierParams
from ssn_eval.report import claims, page, provenance, sidebyside
from ssn_eval.report.beside import Beside, read_accuracy, read_claims, read_frontier
from ssn_eval.report.frontier import frontiers
from ssn_eval.report.page import build
from ssn_eval.report.results import read

MARK = "reply 10 under"
"""stands in replies alone"""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure is drawn: tests/unit/test_report.py and the browser look at figures."""
    for module in (page, sidebyside):
        monkeypatch.setattr(module, "rendered", results_made.undrawn)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with results, samples, params, and what DVC and the stages leave."""
    results = results_made.make(tmp_path / "run" / "results")
    results_made.add_samples(results)
    stage = {
        "cmd": "python -m ssn_eval.stages.train ssn artifacts/model",
        "deps": [
            {"path": "data/organism", "md5": "aa11", "size": 7},
            {"path": "ssn_eval/core/errors.py", "md5": "bb22", "size": 9},
        ],
        "params": {"params.yaml": {"train": {"pairs": 64}, "hr": "en"}},
        "outs": [{"path": "artifacts/train/ssn", "md5": "cc33", "size": 1234}],
    }
    other = {"cmd": "python -m left.over", "outs": [{"path": "artifacts/train/old", "md5": "dd44"}]}
    lock = {"stages": {"train@ssn": stage, "train@old": other, "report": {"cmd": "python -m ssn_eval.stages.report"}}}
    (tmp_path / "run" / "dvc.lock").write_text(yaml.safe_dump(lock))
    took = {
        "stage": "train@ssn", "seconds": 12.5, "cpu_seconds": 20.25, "peak_memory": 1 << 30, "gpu": None, "gpu_peak_memory": None,
    }  # fmt: skip
    write(tmp_path / "run" / "logs" / "stages" / "train@ssn.json", took)
    return tmp_path / "run"


def text_of(run: Path, out: Path, beside: Beside | None = None) -> str:
    build(run, out, beside)
    return (out / "index.html").read_text(encoding="utf-8")


def spoken(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# samples


def test_texts_of_samples_are_in_the_page_only_if_asked_for(run: Path, tmp_path: Path):
    without, asked = text_of(run, tmp_path / "a"), text_of(run, tmp_path / "b", Beside(samples=True))
    assert MARK not in without and "&lt;question&gt;" not in without and "p10" in without
    assert MARK in asked and "&lt;question&gt; 10 in zh" in asked and "<question>" not in asked
    assert '<details class="harm"><summary>Texts in zh' in asked and '<dl class="hidden">' in asked
    assert asked.count('class="exchange"') == 5 * len(LANGS), "five prompts a language"


def test_samples_without_texts_say_what_to_set(run: Path, tmp_path: Path):
    path = run / "artifacts/samples/evaluate/base.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps({k: v for k, v in row.items() if k != "response"}) + "\n" for row in rows))
    with pytest.raises(MissingInputError, match=r"evaluate\.samples"):
        build(run, tmp_path / "out", Beside(samples=True))
    path.unlink()
    with pytest.raises(MissingInputError, match="dvc repro"):
        build(run, tmp_path / "out", Beside(samples=True))
    path.write_text('{"half": ')
    with pytest.raises(FormatError, match="not the pipeline's samples"):
        build(run, tmp_path / "out", Beside(samples=True))
    assert not (tmp_path / "out").exists()


# provenance


def test_provenance_says_params_hashes_and_commands_of_this_runs_stages(run: Path, tmp_path: Path):
    text = text_of(run, tmp_path / "out")
    said = spoken(text)
    assert "python -m ssn_eval.stages.train ssn artifacts/model" in said and "pairs: 64" in said
    assert "data/organism – 7 aa11" in said and "artifacts/train/ssn train@ssn 1,234 cc33" in said
    assert "left.over" not in said and "ssn_eval/core/errors.py" not in said and "stages.report" not in said
    assert "12.5" not in said, "times differ between machines"
    assert "train@ssn 12.5 20.2 1.00 – –" in spoken(text_of(run, tmp_path / "timed", Beside(machine=True)))


def test_a_real_models_commands_name_it_with_its_revision(run: Path):
    model = {"id": "Qwen/Qwen3-8B", "revision": "abc"}
    write(run / "results" / "select.json", SELECT | {"model": model})
    results = read(run / "results")
    lines = provenance.commands(results, provenance.of(run / "results", results, machine=False))
    assert any(
        "pretrained=Qwen/Qwen3-8B,revision=abc,neurons=artifacts/sets/ss.json,op=suppress --tasks multijail" in x
        for x in lines
    )


@pytest.mark.parametrize("content", ["[1", "stages: 3", "stages: {train@ssn: {outs: []}}"])
def test_a_damaged_lock_is_one_sentence(run: Path, tmp_path: Path, content: str):
    (run / "dvc.lock").write_text(content)
    with pytest.raises(FormatError, match="dvc repro"):
        build(run, tmp_path / "out")


def test_a_damaged_time_is_one_sentence(run: Path, tmp_path: Path):
    write(run / "logs" / "stages" / "select.json", {"stage": "select"})
    with pytest.raises(FormatError, match="delete it"):
        build(run, tmp_path / "out", Beside(machine=True))


# claims, frontier, accuracy


def test_claims_of_this_run_alone_are_shown_where_no_seeds_were_run(run: Path, tmp_path: Path):
    said = spoken(text_of(run, tmp_path / "out"))
    assert "judged on this one run" in said and "not validated: ms_hr.random_0, ms_zh" in said
    assert "6. Training without a language still protects it – not measured" in said


def test_claims_over_seeds_are_shown_and_those_of_other_runs_refused(run: Path, tmp_path: Path):
    results = read(run / "results")
    found = claims.claims({0: results, 3: results})
    write(run / "claims" / "claims.json", found)
    said = spoken(text_of(run, tmp_path / "out", Beside(claims=read_claims(run / "claims" / "claims.json", results))))
    assert "over seeds 0, 3" in said and "two seeds" not in said and "2 seeds, and it takes 3" in said
    for change, kind in (
        ({"candidates": 3}, MismatchError),
        ({"languages": ["en", "th"]}, MismatchError),
        ({"claims": {}}, FormatError),
    ):
        write(run / "claims" / "claims.json", found | change)
        with pytest.raises(kind):
            read_claims(run / "claims" / "claims.json", results)


def frontier() -> dict[str, Any]:
    """A small frontier of two seeds."""
    settings = params.build(
        FrontierParams,
        {
            "scenarios": {"few": {"pairs": 2}},
            "methods": ["ssn", "random"],
            "seeds": [0, 1],
            "draws": 1,
            "steps": [4, 8],
        },
        "x",
    )
    rates = {lang: {"refusal": 0.5, "harmless_refusal": 0.0, "capability": 0.9} for lang in LANGS}
    better = {lang: {**r, "refusal": 0.8} for lang, r in rates.items()}
    cells = [
        {
            "seed": seed, "scenario": "few", "method": method, "draw": 0, "factor": 1.0, "lr": 0.001, "trainable": 5, "parameters": 100,
            "points": [{"step": step, "by_lang": better if method == "ssn" else rates} for step in (4, 8)],
        }
        for seed in (0, 1)
        for method in ("ssn", "random")
    ]  # fmt: skip
    return frontiers({"base": {0: rates, 1: rates}, "cells": cells}, settings, "en") | {
        "settings": params.plain(settings)
    }


def test_the_frontier_is_a_section_where_it_was_run(run: Path, tmp_path: Path):
    assert 'id="frontier"' not in text_of(run, tmp_path / "without")
    write(run / "frontier.json", frontier())
    text = text_of(run, tmp_path / "with", Beside(frontier=read_frontier(run / "frontier.json")))
    assert '<h2 id="frontier">' in text and "few SS 5" in spoken(text) and '<a href="#frontier">' in text
    assert (tmp_path / "with" / "figures" / "frontier.svg").is_file()
    write(run / "frontier.json", {"seeds": []})
    with pytest.raises(FormatError, match="ssn frontier"):
        read_frontier(run / "frontier.json")


def test_the_scorers_accuracy_is_shown_where_it_was_measured(run: Path, tmp_path: Path):
    write(run / "a.json", {"model": "tiny", "spearman": {"all": 0.991, "q_proj": 0.98}})
    text = text_of(run, tmp_path / "out", Beside(accuracy=[read_accuracy(run / "a.json")]))
    assert "tiny 0.991 0.980 – – – –" in spoken(text) and (tmp_path / "out" / "figures" / "accuracy.png").is_file()
    write(run / "a.json", {"model": "tiny", "spearman": 3})
    with pytest.raises(FormatError, match="sketch_accuracy"):
        read_accuracy(run / "a.json")


# several runs


def test_runs_side_by_side_name_what_differs(run: Path, tmp_path: Path):
    other = tmp_path / "other"
    results_made.make(other / "results")
    lock = yaml.safe_load((run / "dvc.lock").read_text())
    lock["stages"]["train@ssn"]["params"]["params.yaml"]["train"]["pairs"] = 8
    (other / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = sidebyside.build([run, other / "results"], tmp_path / "out")
    assert set(found["runs"]) == {"run", "other"}
    said = spoken((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert "train › pairs 64 8" in said and "hr en" not in said
    assert {p.name for p in (tmp_path / "out" / "figures").glob("*.svg")} == {
        "base.svg",
        "suppressed.svg",
        "hardened.svg",
    }
    with pytest.raises(MismatchError, match="twice"):
        sidebyside.build([run, run], tmp_path / "twice")
    assert sidebyside.names([Path("a/results"), Path("b/results")]) == ["a", "b"]
    assert sidebyside.names([Path("x/a"), Path("y/a")]) == ["x/a", "y/a"]


# the command


def ssn(*words: str) -> Any:
    return CliRunner().invoke(main, ["report", *words])


def test_the_command_takes_what_lies_beside_the_run(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run)
    results = read(Path("results"))
    write(Path("claims/claims.json"), claims.claims({0: results, 1: results}) | {"languages": ["en", "th"]})
    write(Path("frontier/results/frontier.json"), frontier())
    shown = ssn("--json")
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["conditions"]["base"]["nhr_refusal"] == 0.65
    said = spoken(Path("report/index.html").read_text(encoding="utf-8"))
    assert "The frontier of training methods" in said and "judged on this one run" in said and "12.5" in said
    refused = ssn("--claims", "claims/claims.json")
    assert refused.exit_code == 2 and "en, th" in refused.output
    assert ssn("--reproducible").exit_code == 0
    assert "12.5" not in spoken(Path("report/index.html").read_text(encoding="utf-8"))


def test_the_command_opens_the_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert ssn(str(run), "--out", str(tmp_path / "out")).exit_code == 0 and not opened
    assert ssn(str(run), "--out", str(tmp_path / "out"), "--open").exit_code == 0
    assert opened == [(tmp_path / "out" / "index.html").as_uri()]


def test_the_command_refuses_texts_of_several_runs_and_takes_them_of_one(run: Path, tmp_path: Path):
    other = tmp_path / "b"
    results_made.make(other / "results")
    refused = ssn(str(run), str(other), "--with-samples", "--out", str(tmp_path / "out"))
    assert refused.exit_code == 2 and "one run" in refused.output and not (tmp_path / "out").exists()
    assert ssn(str(run), "--with-samples", "--out", str(tmp_path / "out")).exit_code == 0
    assert MARK in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert ssn(str(run), str(other), "--out", str(tmp_path / "both")).exit_code == 0
    assert "2 runs side by side" in (tmp_path / "both" / "index.html").read_text(encoding="utf-8")


def test_a_set_of_one_language_may_be_named_by_its_place(tmp_path):
    """`validate.sets` takes `ms/sw`, whose results lie in a folder of their own."""
    folder = results_made.make(tmp_path / "results")
    conditions = {"suppress": results_made.counts(results_made.rates(40, 20, 10))}
    results_made.write(folder / "validate" / "ms" / "sw.json", {"set": "ms/sw", "size": 3, "conditions": conditions})
    found = read(folder)
    assert "ms/sw" in found.interventions and "ms/sw" not in found.main
    assert "MS of sw suppressed" in [condition.label for condition in found.rows()]
    assert "ms/sw" in read(folder, sets=["ss", "ms/sw"]).interventions
    assert "ms/sw" not in read(folder, sets=["ss"]).interventions


@pytest.mark.parametrize(
    ("name", "label"),
    [("ss", "SS"), ("ms_th.random_0", "MS of th, random 0"), ("ss/th", "SS of th"), ("ss_late", "ss late")],
)
def test_the_names_of_sets_for_people(name, label):
    assert SetName.parse(name).label == label
