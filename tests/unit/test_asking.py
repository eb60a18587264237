"""Two runs are compared only if they asked alike: few-shot examples, system instruction, template, generation settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from runs_made import TIME, C, R, write

from ssn_eval.cli import main
from ssn_eval.core.errors import MismatchError
from ssn_eval.harness.runs import asking

TASK = "multijail_en"


def run(folder: Path, **changes: Any) -> Path:
    """A run of one task whose results file has the keys that lm_eval 0.4 writes."""
    template = {"chat_template": True, "args": {"enable_thinking": False}} | changes.pop("template", {})
    results = {
        "config": {"model": "ssn_hf", "model_args": {"pretrained": "m"}, "ssn_eval": {"template": template}},
        "configs": {
            TASK: {"generation_kwargs": {"max_gen_toks": 256, "do_sample": False} | changes.pop("generation", {})}
        },
        "n-shot": {TASK: changes.pop("shots", 0)},
        "system_instruction": changes.pop("system", None),
        "chat_template_sha": changes.pop("sha", "b195"),
    }
    assert not changes
    write(folder, {"en": [R, C, R]})
    (folder / f"results_{TIME}.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shots": 2}, "other few-shot examples (0 in"),
        ({"system": "Be safe."}, "other system instruction ('' in"),
        ({"template": {"system_prompt": "Be safe."}}, "'Be safe.' in"),
        ({"template": {"args": {"enable_thinking": True}}}, '{"enable_thinking": true}'),
        ({"sha": None}, "use of the chat template (true in"),
        ({"generation": {"max_gen_toks": 64}}, "other generation settings"),
    ],
)
def test_runs_that_asked_otherwise_are_refused_unless_told(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b", **changes)
    with pytest.raises(MismatchError, match="asked multijail_en with other") as refusal:
        asking.refuse_other(first, second)
    assert said in str(refusal.value)
    answer = CliRunner().invoke(main, ["diff", str(first), str(second)])
    assert answer.exit_code == 2 and "--other-settings" in answer.stderr
    assert CliRunner().invoke(main, ["diff", str(first), str(second), "--other-settings"]).exit_code == 0


def test_runs_that_asked_alike_are_compared(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    asking.refuse_other(first, run(tmp_path / "b"))
    asking.refuse_other(first, run(tmp_path / "c", sha="ffff", template={"args": {}}))  # another model's template
    unknown = write(tmp_path / "d", {"en": [R, C, R]})  # no results file: nothing is known
    asking.refuse_other(first, unknown)
