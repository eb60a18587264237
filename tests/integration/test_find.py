"""`ssn find`: one load, every set, the same sets as the steps one by one; a longer list of languages scores only the new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from test_templates_in_pipeline import LLAMA3, prepare

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.models import loading


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in `weights`, and prompts of three languages."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, LLAMA3, {}, None)
    for label in ("harmful", "harmless"):
        rows = [
            {
                "id": f"{label}{i}",
                "lang": lang,
                "label": label,
                "prompt": f"{lang} how {label} the {lang * i} bread {i}",
            }
            for lang in ("en", "zh", "th")
            for i in range(8)
        ]
        Path(f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def ssn(*words: str) -> Result:
    options = "find --model weights --dtype float32 --harmful harmful.jsonl --harmless harmless.jsonl --probes 1 --p 30"
    return CliRunner().invoke(main, [*options.split(), *words])


def test_every_set_from_one_load(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load = loading.load

    def counted(spec: Any, **options: Any) -> Any:
        loads.append(spec.name)
        return load(spec, **options)

    monkeypatch.setattr(loading, "load", counted)
    done = ssn("--languages", "en,zh", "--out", "found", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert loads == ["weights"]
    names = {path.relative_to("found/sets").as_posix() for path in Path("found/sets").rglob("*.json")}
    assert {"ss.json", "private.json", "contrast.json", "random_0.json", "ms/en.json", "ms/zh.json"} <= names
    ss = store.load_neurons(Path("found/sets/ss.json"))
    assert len(ss.neurons) == found["named"]["ss"] > 0
    assert ss.provenance["prompts"]["harmful"] == "harmful.jsonl" and ss.provenance["prompts"]["heldout"] == 0.25
    assert str(project) not in Path("found/sets/ss.json").read_text()
    again = ssn("--languages", "en,zh,th", "--out", "found", "--json")
    assert again.exit_code == 0, again.stderr
    assert loads == ["weights"] * 2 and len(list(Path("found/.kept").iterdir())) == 3
    ssn("--languages", "en,zh,th", "--out", "found")
    assert loads == ["weights"] * 2, "nothing is left to score"


def test_the_sets_are_those_of_the_single_steps(project: Path) -> None:
    assert ssn("--languages", "en,zh", "--out", "found").exit_code == 0
    files = {label: f"found/scores/en/{label}.safetensors" for label in ("harmful", "harmless")}
    words = f"select --harmful {files['harmful']} --harmless {files['harmless']} --p 30 --out ms_en.json"
    done = CliRunner().invoke(main, words.split())
    assert done.exit_code == 0, done.stderr
    assert store.load_neurons(Path("ms_en.json")).neurons == store.load_neurons(Path("found/sets/ms/en.json")).neurons


def test_what_to_do_next_is_said(project: Path) -> None:
    done = ssn("--languages", "en,zh", "--out", "found")
    assert "ssn harden --model weights --neurons found/sets/ss.json --languages en,zh --out hardened" in done.stdout
    assert "split-half Jaccard" in done.stdout and max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--languages", "en"], "second language"),
        (["--languages", "zh,th"], "hr=en is not among"),
        (["--languages", "en,sw"], "no harmful prompts in sw"),
        (["--languages", "en,xx"], "xx"),
        (["--languages", "en,zh", "--p", "0"], "p"),
    ],
)
def test_mistakes_are_one_sentence(project: Path, words: list[str], said: str) -> None:
    done = ssn(*words, "--out", "found")
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not Path("found/sets").exists()
