"""`from ssn_eval import …`: importing stays cheap, the page documents every name, and its example runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssn_eval
from ssn_eval.core.languages import language
from ssn_eval.organism import lexicon as lexicons
from ssn_eval.organism import tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.prompt import Prompt

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/python.md"


def test_importing_the_package_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import ssn_eval; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(  # -S: without the start-up shim, which has imported it already
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['ssn_eval']"


@pytest.mark.parametrize("name", ssn_eval.__all__)
def test_every_name_is_there_and_on_the_page(name):
    assert getattr(ssn_eval, name).__module__.startswith("ssn_eval.")
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="identfy"):
        _ = ssn_eval.identfy  # type: ignore[attr-defined]


def test_the_example_of_the_page_runs(tmp_path, monkeypatch, capsys):
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    tok = tokenizer.build(lexicons.load())
    folder = tmp_path / "artifacts/model/weights"
    build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).save_pretrained(folder)
    tok.save_pretrained(folder)
    rows = [
        Prompt(f"{label} {split} {n}", lang, label, f"{language(lang).refusal} {label} {n}", split=split)
        for lang in ("en", "sw")
        for label in ("harmful", "harmless")
        for split, count in (("train", 6), ("heldout", 3))
        for n in range(count)
    ]
    write_jsonl(tmp_path / "artifacts/prompts.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    exec(
        compile(found[1].replace("p=3)", "p=30)"), str(PAGE), "exec"), {}
    )  # the model is tiny: 3 % would share nothing
    assert re.fullmatch(r"(?:(?:SS|random) suppressed: \d of 3 refused\n){2}", capsys.readouterr().out)
