"""Two runs at once in one place: the second one is told so at once, and the first is not disturbed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from models_on_disk import llama
from readers import ROOT

from ssn_eval.cli import main
from ssn_eval.core import lock
from ssn_eval.core.lock import BusyError, hold, path_of
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import resuming
from ssn_eval.prompts.pairs import Pair
from ssn_eval.stages import repetitions
from ssn_eval.training.fit import fit

HOLDER = """
import sys, time
from pathlib import Path
from ssn_eval.core.lock import hold
with hold(Path(sys.argv[1]), "test run"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def elsewhere():
    """Hold a place in another process until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(target: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(target)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout and process.stdout.readline() == "held\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_second_is_refused_at_once_and_told_who_is_first(tmp_path, elsewhere):
    target = tmp_path / "work"
    process = elsewhere(target)
    begun = time.monotonic()
    with (
        pytest.raises(
            BusyError, match=rf"work is in use by another identification \(process {process.pid} on .* since 2"
        ),
        hold(target, "identification"),
    ):
        pytest.fail("held twice")
    assert time.monotonic() - begun < 1


def test_kill_9_frees_it_and_the_end_leaves_nothing(tmp_path, elsewhere):
    target = tmp_path / "deep" / "work"
    process = elsewhere(target)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with hold(target, "run"):
        assert path_of(target).is_file()
        with pytest.raises(BusyError), hold(target, "run"):
            pass
    assert list((tmp_path / "deep").iterdir()) == []
    with pytest.raises(RuntimeError), hold(target, "run"):
        raise RuntimeError
    assert list((tmp_path / "deep").iterdir()) == []


def test_different_places_do_not_disturb_each_other(tmp_path):
    with hold(tmp_path / "a", "run"), hold(tmp_path / "b", "run"):
        assert {p.name for p in tmp_path.iterdir()} == {".a.lock", ".b.lock"}
    assert path_of(Path("artifacts/.work-th")).as_posix() == "artifacts/.work-th.lock", "which .dvcignore leaves out"


def test_a_lock_whose_holder_cannot_be_read_is_still_a_lock(tmp_path, elsewhere):
    elsewhere(tmp_path / "work")
    path_of(tmp_path / "work").write_text("{broken")
    with pytest.raises(BusyError, match="not known"), hold(tmp_path / "work", "run"):
        pass


def test_identify(tmp_path, elsewhere):
    llama(tmp_path / "model")
    rows = [{"id": str(i), "lang": "th", "label": "harmful", "prompt": f"how {i}"} for i in range(2)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "th.safetensors"
    words = ["identify", "--model", tmp_path / "model", "--prompts", tmp_path / "p.jsonl", "--lang", "th", "--out", out]
    process = elsewhere(tmp_path / ".th.safetensors.work")
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 2 and f"process {process.pid}" in done.stderr and not out.exists()
    beside = CliRunner(env={"RANK": "1"}).invoke(main, list(map(str, words)))
    assert beside.exit_code == 0, "under accelerate one process holds the lock for all of a run"
    process.kill()
    process.wait()
    assert CliRunner().invoke(main, list(map(str, words))).exit_code == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "p.jsonl", "th.safetensors"]


def test_training(tmp_path, elsewhere):
    elsewhere(tmp_path / ".work-ssn")
    (tmp_path / ".work-ssn" / "checkpoint-3").mkdir(parents=True)
    with pytest.raises(BusyError, match="training"), resuming.session(tmp_path / ".work-ssn", "x"):
        pass
    assert (tmp_path / ".work-ssn" / "checkpoint-3").is_dir(), "the other's checkpoints are not removed"
    model = llama(tmp_path / "model")
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(tmp_path / "model")
    pairs = [Pair("a", "th", "harmful", "how?", "no")]
    with pytest.raises(BusyError):
        fit(model, words, pairs, TrainParams(steps=1), lr=1e-3, work=tmp_path / ".work-ssn")


def test_the_organism(tmp_path, elsewhere):
    from ssn_eval.organism.lexicon import load
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import train

    elsewhere(tmp_path / ".work-organism")
    with pytest.raises(BusyError):
        train(load(), OrganismSettings(steps=1), tmp_path / "weights", tmp_path / ".work-organism")
    assert not (tmp_path / "weights").exists()


def test_claims(tmp_path, elsewhere):
    for name in repetitions.LINKED:
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "params.yaml", tmp_path)
    process = elsewhere(tmp_path / "claims")
    with pytest.raises(BusyError, match=str(process.pid)):
        repetitions.run(tmp_path, tmp_path / "claims", [0, 1])
    assert not (tmp_path / "claims").exists()


def test_dvc_itself_says_that_another_one_runs(tmp_path):
    stages = {"stages": {"slow": {"cmd": "sleep 20 && echo hi > a.txt", "outs": ["a.txt"]}}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(stages))

    def dvc(*words: str) -> list[str]:
        return [sys.executable, "-m", "dvc", *words]

    subprocess.run(dvc("init", "--no-scm", "-q"), cwd=tmp_path, check=True, capture_output=True)
    first = subprocess.Popen(
        dvc("repro"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        waited = time.monotonic()
        while not list(tmp_path.glob(".dvc/tmp/rwlock*")) and time.monotonic() - waited < 15:
            time.sleep(0.05)
        second = subprocess.run(dvc("repro"), cwd=tmp_path, capture_output=True, text=True, timeout=60)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert second.returncode != 0 and "Traceback" not in second.stderr
    assert "lock" in second.stderr.lower() or "busy" in second.stderr.lower(), second.stderr
    assert lock.path_of(tmp_path / "x").name == ".x.lock"
