"""`ssn_vllm` equals `ssn_hf`: interventions in weights, adapters as LoRA or merged, several conditions in one process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_guards
import torch

from ssn_eval.core import cache
from ssn_eval.core.errors import SsnError
from ssn_eval.harness.served.model import SsnVLLM
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import NONE, SUPPRESS, Op
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange
from ssn_eval.training.adapters.folder import load_adapter
from with_vllm import small
from with_vllm.small import CHOSEN, ENGINE, PROMPTS

TOLERANCE = 2e-4
"""of a log probability in float32: vLLM and transformers add in another order"""
NEW = 24


@pytest.fixture(scope="module")
def folder(once) -> Path:
    return once("small", small.make)


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[SsnVLLM]:
    """The unchanged model's engine, which serves every condition of this file."""
    lm = SsnVLLM(str(folder / "model"), **ENGINE)
    yield lm
    lm.leave()


def served(lm: SsnVLLM) -> tuple[list[list[int]], list[dict[int, float]], list[list[int]]]:
    """The prompts' tokens; log probabilities of the likeliest first tokens; and the answers, by vLLM."""
    from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

    ids = [lm.tok_encode(prompt) for prompt in PROMPTS]
    asked = SamplingParams(temperature=0.0, max_tokens=NEW, logprobs=10)
    outputs = lm._model_generate(ids, True, [asked] * len(ids))
    first = [{token: found.logprob for token, found in output.outputs[0].logprobs[0].items()} for output in outputs]
    return ids, first, [list(output.outputs[0].token_ids) for output in outputs]


def assert_equal(lm: SsnVLLM, model: Any) -> list[list[int]]:
    """The engine and a model of transformers agree on every first token's probability and on every answer."""
    ids, first, answers = served(lm)
    expected = small.first_tokens(model, ids)
    for row, found in zip(expected, first, strict=True):
        tokens = list(found)
        assert torch.allclose(row[tokens], torch.tensor([found[t] for t in tokens]), atol=TOLERANCE)
        assert int(row.argmax()) in tokens
    assert answers == small.answers(model, ids, NEW)
    return answers


@pytest.mark.parametrize("op", [NONE, SUPPRESS, Op(2.0)], ids=str)
def test_baked_equals_hooked(base: SsnVLLM, folder: Path, op: Op) -> None:
    model = small.load(folder).model
    with intervene(model, CHOSEN, op), base.intervened(CHOSEN, op) as lm:
        changed = assert_equal(lm, model)
    assert not cache.entries(), "a condition of a shared engine leaves nothing behind"
    assert_equal(base, small.load(folder).model)
    assert (changed == served(base)[2]) == (op == NONE)


def test_an_adapter_by_lora_equals_a_merged_one(base: SsnVLLM, folder: Path) -> None:
    loaded = small.load(folder)
    tuned = load_adapter(loaded.model, folder / "adapter", loaded.ref)
    with base.trained(folder / "adapter") as lm:
        merged = assert_equal(lm, tuned)
        assert lm.condition() and lm.get_model_info()["ssn_eval"]["engine"]["weights"] == "cached"
    base.leave()
    lm = SsnVLLM(str(folder / "model"), adapter=str(folder / "adapter"), **ENGINE)
    try:
        assert lm.get_model_info()["ssn_eval"]["engine"]["weights"] == "lora"
        assert assert_equal(lm, tuned) == merged
    finally:
        lm.leave()
        cache.clear()  # the padded adapter


@pytest.mark.usefixtures("own_tasks_only")
def test_lm_eval_gives_the_verdicts_of_ssn_hf(folder: Path, base: SsnVLLM) -> None:
    """All verdicts and replies of a judged task, in float32; and the record of the run names the same condition."""
    from ssn_eval.core.settings import EvaluateParams
    from ssn_eval.harness.evaluate import evaluate
    from ssn_eval.harness.model import SsnHFLM
    from ssn_eval.prompts.prompt import Prompt

    base.leave()
    prompts = [
        Prompt(f"{label}{i}", "en", label, f"{text} please", "heldout")
        for label in ("harmful", "harmless")
        for i, text in enumerate(PROMPTS)
    ]
    settings = EvaluateParams(capability=None, max_new_tokens=NEW, samples=True)
    given = {"neurons": str(folder / "set.json"), "op": "suppress"}
    hf = SsnHFLM(str(folder / "model"), device="cpu", batch_size=1, **given)
    lm = SsnVLLM(str(folder / "model"), **given, **ENGINE)
    try:
        by_hf, by_vllm = (evaluate(model, prompts, ["en"], settings) for model in (hf, lm))
        assert by_hf.counts == by_vllm.counts and by_hf.replies == by_vllm.replies
        assert {row["finished"] for row in by_vllm.replies} <= {True, False}
        ours, theirs = lm.get_model_info()["ssn_eval"], hf.get_model_info()["ssn_eval"]
        assert ours.pop("engine")["weights"] == "cached" and ours == theirs
        assert [entry.kind for entry in cache.entries()] == ["ssn-baked/1"]
    finally:
        lm.leave()
        cache.clear()


def test_a_guard_takes_the_memory_that_the_engine_gives_back(
    base: SsnVLLM, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = tiny_guards.save(tmp_path / "guard", answer="yes", kind="mistral", after="]", multiple=128)
    monkeypatch.setenv("SSN_JUDGE_BACKEND", "vllm")
    monkeypatch.setenv("SSN_JUDGE_ENGINE", '{"enforce_eager": true, "max_num_seqs": 16}')
    before = served(base)[2]
    assert base.model is not None
    judge: Any = get_judge(f"harmbench:{guard}")
    verdicts = judge.judge([Exchange(text, "Sure: first, take", "en") for text in PROMPTS])
    assert base.model is None, "the evaluated engine has left"
    assert {v.harmful for v in verdicts} == {True} and not any(v.unscored for v in verdicts)
    assert judge.identity()["backend"] == "vllm"
    assert served(base)[2] == before and judge.runner._engine is None, "the guard has left in its turn"


def test_an_engine_that_cannot_start_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SsnError, match="engine failed while starting") as caught:
        SsnVLLM(str(folder / "model"), **{**ENGINE, "max_model_len": 10_000_000})
    assert isinstance(caught.value, SystemExit) and caught.value.code == 2
    assert "ssn_eval: vLLM's engine failed" in capsys.readouterr().err


KILLED = """
    import sys
    sys.path[:0] = {paths!r}
    import psutil
    from small import ENGINE
    from ssn_eval.harness.served.model import SsnVLLM

    if __name__ == "__main__":
        lm = SsnVLLM(sys.argv[1], **ENGINE)
        from lm_eval.api.instance import Instance
        asked = [Instance("generate_until", {{}}, ("a b c", {{"until": [], "max_gen_toks": 8, "do_sample": False}}), 0)]
        print("answered", len(lm.generate_until(asked)), flush=True)
        for child in psutil.Process().children(recursive=True):
            if "resource_tracker" not in " ".join(child.cmdline()):
                child.kill()
        lm.generate_until(asked)
        print("unreachable")
"""


def test_an_engine_that_dies_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    script.write_text(textwrap.dedent(KILLED).format(paths=paths))
    environment = {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "model")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=900,
    )
    assert "answered 1" in done.stdout and "unreachable" not in done.stdout, done.stderr[-3000:]
    sentence = "ssn_eval: vLLM's engine failed while answering (EngineDeadError"  # it may follow a progress bar
    assert done.returncode == 2 and done.stderr.count("ssn_eval: ") == 1 and sentence in done.stderr, done.stderr[
        -3000:
    ]
    assert "Traceback" not in done.stderr
