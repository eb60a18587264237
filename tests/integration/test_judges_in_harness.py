"""Guard and API judges inside lm_eval: a run from generation to numbers, with who judged and what it cost in the results."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_server import serving
from tiny_guards import save

from ssn_eval.core.errors import ParamsError, SsnError
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness.evaluate import evaluate, heldout_tasks
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.judges.judged import Judged
from ssn_eval.prompts.prompt import Prompt

pytestmark = pytest.mark.usefixtures("own_tasks_only")
LANGS = ("en", "sw")
PROMPTS = [
    Prompt(f"{label}{n}", lang, label, f"{lang} {label} {n}?")  # type: ignore[arg-type]
    for lang in LANGS
    for label in ("harmful", "harmless")
    for n in range(3)
]


def settings(judge: str) -> EvaluateParams:
    return EvaluateParams(judge=judge, limit=None, max_new_tokens=5, batch_size=4, capability=None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluated model that always answers the same: its own weights say so."""
    return save(tmp_path_factory.mktemp("evaluated") / "model", answer="take a pin", after="?")


def run(model: Path, judge: str) -> dict[str, Any]:
    from lm_eval.evaluator import simple_evaluate

    lm = SsnHFLM(str(model), device="cpu", batch_size=4)
    tasks: list[Any] = heldout_tasks(PROMPTS, LANGS, settings(judge))
    results: Any = simple_evaluate(model=lm, tasks=tasks, log_samples=True, bootstrap_iters=0, verbosity="ERROR")
    return json.loads(json.dumps(results, default=str))


def test_a_guard_judges_a_whole_run(model: Path, tmp_path: Path) -> None:
    said = "\n\nunsafe\nS2"
    spec = f"llamaguard:{save(tmp_path / 'guard', answer=said, after='>')}"
    results = run(model, spec)
    name = "ssn_heldout_harmful_sw"
    samples = results["samples"][name]
    assert len(samples) == 3 and samples[0]["resps"] == [["take a pin"]]
    judged = Judged.from_text(samples[0]["filtered_resps"][0])
    (verdict,) = judged.verdicts
    assert (verdict.label, verdict.raw, verdict.categories) == ("unsafe", said, ("S2",))
    assert verdict.notes == ("sw is not a language of llamaguard",)
    assert judged.says == ("harmful",) and judged.judge["name"] == "llamaguard"
    metrics = results["results"][name]
    assert metrics["asr,none"] == 1 and "refusal_rate,none" not in metrics
    recorded = results["configs"][name]["metadata"]["judged_by"]
    assert recorded == dict(judged.judge) and recorded["model"] == "guard"


def test_thoughts_are_judged_apart_where_asked(tmp_path: Path) -> None:
    thinker = save(tmp_path / "thinker", answer="<think>Take a pin.</think>I can't help with that.", after="?")
    lm = SsnHFLM(str(thinker), device="cpu", batch_size=4)
    plain = replace(settings("refusal"), ability=0)
    found, without = (evaluate(lm, PROMPTS, LANGS, replace(plain, thoughts=asked)) for asked in (True, False))
    counts = found.counts["by_lang"]["sw"]
    assert counts["refusal"] == counts["leak"] == {"successes": 3, "total": 3}
    assert counts["escape"] == {"successes": 0, "total": 3}
    assert not {"leak", "escape"} & without.counts["by_lang"]["sw"].keys()
    assert {k: v for k, v in counts.items() if k not in ("leak", "escape")} == without.counts["by_lang"]["sw"]
    assert found.replies[0]["of_thought"] == {"refusal": False, "harmful": None, "invalid": False}
    assert "of_thought" not in without.replies[0]


def test_an_api_judges_a_whole_run_and_its_cost_is_in_the_results(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSN_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("SSN_JUDGE_PRICE", "1,1")
    with serving() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        server.answers = {"harmful 1": "invalid", "harmful 2": "no idea", "take a pin": "unsafe"}
        results = run(model, "api:m")
    name = "ssn_heldout_harmful_en"
    metrics = results["results"][name]
    assert (metrics["asr,none"], metrics["invalid_rate,none"]) == (0.5, 0.5), "one unsafe, one invalid, one unscored"
    assert metrics["unscored_rate,none"] == pytest.approx(1 / 3)
    usage = results["configs"][name]["metadata"]["judge_usage"]
    assert usage == {
        "asked": 3,
        "cached": 0,
        "failed": 1,
        "prompt_tokens": 300,
        "completion_tokens": 6,
        "cost": pytest.approx(306e-6),
    }


def test_an_endpoint_that_is_down_ends_the_run_before_anything_is_generated(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setattr(SsnHFLM, "generate_until", lambda *_: pytest.fail("generated"))
    with pytest.raises(SsnError) as ended:
        run(model, "api:m")
    assert getattr(ended.value, "code", None) == 2
    assert "The endpoint 127.0.0.1 does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("judge", ["llamaguard", "harmbench", "api:some-model"])
def test_the_pipeline_refuses_a_judge_that_tells_no_refusal(judge: str) -> None:
    """Its result files are counts of refusals; the sentence comes before anything is generated."""
    with pytest.raises(ParamsError, match="reports harm and not refusal"):
        evaluate(None, [], ["en"], EvaluateParams(judge=judge))  # type: ignore[arg-type]
