"""`ssn init`, then `dvc repro`, with nothing but the wheel: a report, and after an upgrade only what it changed runs again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import wheels
import yaml
from models_on_disk import llama

from ssn_eval.organism import lexicon, questions
from ssn_eval.prompts.prompt import LABELS

LANGS = ("en", "th")
SMALL = {
    "score": {"prompts": 2, "probes": 1},
    "validate": {"sets": ["ss"], "ops": ["suppress"]},
    "train": {"methods": ["ssn"], "epochs": 1, "pairs": 4, "batch_size": 4},
    "evaluate": {"limit": 2, "max_new_tokens": 4},
    "prompts": {"replay_tokens": 4},
}
"""settings of a quick run; everything else is as `ssn init` wrote it"""


STAGES = ["code", "organism", "prompts", "score", "select", "validate", "evaluate", "report"]
TOLD = re.compile(r"\d+ of 9, (\S+): .+ \(\d+ s.*\)$")
"""the line of a stage"""


def told(lines: list[str]) -> list[str]:
    """The stages that said what they did, in order."""
    return [found[1] for line in lines if (found := TOLD.match(line))]


def benchmarks(folder: Path) -> Path:
    """MultiJail and PolyRefuse in the project's own form, with questions that the tiny model's tokenizer knows."""
    folder.mkdir()
    words = lexicon.load()
    for name, label in zip(("multijail", "polyrefuse"), LABELS, strict=True):
        rows = [
            {"id": item.id, "lang": lang, "label": label, "prompt": item.prompt}
            for lang in LANGS
            for item in questions.items(words, lang, label, "heldout")[:16]
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def environment(
    once: Callable[[str, Callable[[Path], object]], Path], tmp_path_factory: pytest.TempPathFactory
) -> wheels.Environment:
    """An environment that has the wheel; its folder holds a tiny model and the benchmarks."""
    made = wheels.fresh(tmp_path_factory.mktemp("project") / "env")
    made.pip("install", *wheels.OFFLINE, str(next(once("wheel", wheels.build).glob("*.whl"))))
    llama(made.folder / "model", hidden=256)  # wide enough for 3 per cent of a layer to be some neurons
    benchmarks(made.folder / "benchmarks")
    return made


def run(environment: wheels.Environment, *words: str, folder: str = "p") -> str:
    """Run a program of the environment in the project; its output."""
    path = {
        "PATH": f"{environment.python.parent}:/usr/bin:/bin",
        "SSN_DATA_DIR": str(environment.folder / "benchmarks"),
    }
    top = wheels.Environment(environment.folder / folder, environment.python, environment.site)
    done = top.run(str(environment.python), "-m", *words, DVC_NO_ANALYTICS="1", **path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout if "--json" in words else done.stdout + done.stderr


def changed(environment: wheels.Environment) -> set[str]:
    """The stages that DVC would run, without the one that always runs."""
    run(environment, "dvc", "repro", "code")
    return set(json.loads(run(environment, "dvc", "status", "--json"))) - {"code"}


def test_from_a_wheel_to_a_report(environment: wheels.Environment) -> None:
    words = ("init", "p", "--model", "model", "--languages", ",".join(LANGS))
    run(environment, "ssn_eval.cli", *words, folder=".")
    project = environment.folder / "p"
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        settings[section] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    lines = run(environment, "dvc", "repro", "-q").splitlines()
    assert told(lines) == [*STAGES[:6], "train@ssn", *STAGES[6:]]
    assert not [line for line in lines if "%|" in line or "--metadata" in line or line.startswith("fatal:")]
    assert (project / "report/index.html").stat().st_size > 10_000
    metrics = json.loads((project / "report/metrics.json").read_text(encoding="utf-8"))
    assert {"base", "suppress ss", "train ssn"} <= set(metrics["conditions"])
    assert not changed(environment)

    package = environment.site / "ssn_eval"
    for part in ("report/page.py", "stages/select.py", "stages/frontier/sweep.py"):  # no stage uses the last one
        with (package / part).open("a", encoding="utf-8") as module:
            module.write("# another version\n")
    assert changed(environment) == {"report", "select"}
    assert told(run(environment, "dvc", "repro", "-q").splitlines()) == ["code", "select", "report"]
    run(environment, "dvc", "plots", "show", "--out", "plots")
    assert "Refusal of harmful" in (project / "plots/index.html").read_text(encoding="utf-8")
    assert "suppress ss" in run(environment, "dvc", "metrics", "show")
    run(environment, "ssn_eval.cli", "report", "--out", "again")
    assert (project / "again/index.html").is_file()
