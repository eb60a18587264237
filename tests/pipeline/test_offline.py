"""A fresh `git clone` on a machine without a network: DVC asks nothing of it, for the organism and for own prompts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from models_on_disk import llama

sys.path.insert(0, str(Path(__file__).parent))
from project import copy_of_project
from test_dvc import SMALL, commit

UNREACHABLE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
"""no server listens there"""
LANGS = ("en", "zh")


@pytest.fixture(scope="module")
def isolation() -> list[str]:
    """The words that start a command without any network interface; none where this system does not allow that."""
    words = ["unshare", "--map-root-user", "--net"]
    if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
        return words
    return []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project, with a tiny model among its models and prompts of its own."""
    top = tmp_path_factory.mktemp("offline")
    source = copy_of_project(top / "source", SMALL)
    llama(top / "model")
    settings = yaml.safe_load((source / "params.yaml").read_text())
    settings["models"]["tiny"] = {"pretrained": str(top / "model")}
    (source / "params.yaml").write_text(yaml.safe_dump(settings))
    rows = [
        {"id": f"{label}{i}", "lang": lang, "label": label, "prompt": f"{lang} {label} {i}"}
        for lang in LANGS
        for label in ("harmful", "harmless")
        for i in range(8)
    ]
    (source / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commit(source)
    subprocess.run(["git", "clone", "-q", str(source), str(top / "clone")], check=True)
    return top / "clone"


def run(isolation: list[str], folder: Path, *words: str) -> str:
    """Run `dvc <words>` in the folder without a network, and return its output."""
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("SSN_DATA_DIR", "NO_PROXY", "no_proxy")},
        **UNREACHABLE,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.org",
    }
    log = folder.parent / "output.txt"  # a file, since the queue's worker would keep a pipe open
    with log.open("w") as output:
        done = subprocess.run(
            [*isolation, sys.executable, "-m", "dvc", *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
    assert done.returncode == 0, log.read_text()[-3000:]
    return log.read_text()


def test_a_clone_knows_its_state_without_a_network(isolation, clone):
    assert "organism" in run(isolation, clone, "status")
    assert "No changes" in run(isolation, clone, "data", "status")
    assert "ssn_eval.stages.organism" in run(isolation, clone, "repro", "--dry", "organism")


def test_own_prompts_run_in_an_experiment_and_in_the_queue_without_a_network(isolation, clone):
    """A stage that ran is not run again by the queue. The prompt file is tracked by git, so the queue's copy has it."""
    own = [f"prompts.{label}=own.jsonl" for label in ("harmful", "harmless")]
    settings = [word for s in ("model=tiny", "train.replay=0", *own) for word in ("-S", s)]
    run(isolation, clone, "exp", "run", *settings, "prompts")
    prompts = [json.loads(line) for line in (clone / "artifacts/prompts.jsonl").read_text().splitlines()]
    assert {p["lang"] for p in prompts} == set(LANGS) and len(prompts) == 2 * 2 * 8
    run(isolation, clone, "exp", "run", "--queue", "-n", "queued", *settings, "-S", "prompts.seed=1", "prompts")
    run(isolation, clone, "queue", "start")
    deadline = time.monotonic() + 300
    while not any(state in (shown := run(isolation, clone, "queue", "status")) for state in ("Success", "Failed")):
        assert time.monotonic() < deadline, shown
        time.sleep(1)
    run(isolation, clone, "queue", "stop")
    assert "Success" in shown and "Failed" not in shown
    assert "queued" in run(isolation, clone, "exp", "list")


def test_the_organism_is_trained_without_a_network(isolation, clone):
    run(isolation, clone, "exp", "run", "--single-item", "-S", "model=organism", "organism")
    assert (clone / "artifacts/model/weights/model.safetensors").is_file()
    assert "up to date" in run(isolation, clone, "repro", "--single-item", "organism")
