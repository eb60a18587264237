"""kill -9 at any moment, then the same command again: the bytes of a run that was not disturbed."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from models_on_disk import llama
from readers import ROOT

from ssn_eval.cli import health, main
from ssn_eval.stages import dvclock, repetitions

sys.path.insert(0, str(ROOT / "tests" / "pipeline"))
from project import copy_of_project, dvc, start
from test_dvc import SMALL

KILLS = 20
SEED = 20260201


def kill(process: subprocess.Popen[str]) -> None:
    """The process and all of its children, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def contents(*tops: Path) -> dict[str, bytes]:
    return {
        p.relative_to(top.parent).as_posix(): p.read_bytes()
        for top in tops
        for p in sorted(top.rglob("*"))
        if p.is_file()
    }


def prompt_file(path: Path) -> Path:
    rows = [
        {"id": str(i), "lang": "th", "label": "harmful", "prompt": f"how {'very ' * (i % 7)}{i}"} for i in range(64)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


IDENTIFY = ("identify", "--model", "model", "--prompts", "p.jsonl", "--lang", "th", "--method", "exact", "--batch-size", "2", "--out")  # fmt: skip


def identify(folder: Path, out: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "ssn_eval.cli", *IDENTIFY, out],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread in this process too, as the started ones do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_identification(tmp_path, monkeypatch):
    """Killed as soon as it has sums to lose, twice, and once while it loads."""
    llama(tmp_path / "model")
    prompt_file(tmp_path / "p.jsonl")
    monkeypatch.chdir(tmp_path)
    whole = CliRunner().invoke(main, [*IDENTIFY, "whole.safetensors"])
    assert whole.exit_code == 0, whole.output
    sums = tmp_path / ".out.safetensors.work" / "0-of-1.safetensors"
    process = identify(tmp_path, "out.safetensors")
    time.sleep(1)
    kill(process)
    last = b""
    for _ in range(2):
        process = identify(tmp_path, "out.safetensors")
        while process.poll() is None and not (sums.is_file() and sums.read_bytes() != last):
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it could be killed: give it more prompts"
        kill(process)
        last = sums.read_bytes()
        assert not (tmp_path / "out.safetensors").exists()
    process = identify(tmp_path, "out.safetensors")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "out.safetensors", "p.jsonl", "whole.safetensors"]


def test_a_repetition_goes_on_where_a_kill_cut_off_dvcs_lock_file(tmp_path):
    project = tmp_path / "project"
    for name in ("ssn_eval", "tasks", "data", ".dvc/cache"):
        (project / name).mkdir(parents=True)
    (project / ".dvcignore").touch()
    shutil.copy(ROOT / "params.yaml", project)
    command = f"echo ran >> {tmp_path / 'runs.txt'} && echo hi > a.txt"
    (project / "dvc.yaml").write_text(
        json.dumps({"stages": {"one": {"cmd": command, "deps": ["params.yaml"], "outs": ["a.txt"]}}})
    )
    said: list[str] = []
    folder = repetitions.run(project, tmp_path / "claims", [3, 4], say=said.append)[3]
    assert said[0] == "seed 3, 1 of 2" and re.fullmatch(r"seed 4, 2 of 2, some \d+ min left", said[1])
    whole = (folder / dvclock.NAME).read_bytes()
    for length in (0, 10):
        (folder / dvclock.NAME).write_bytes(whole[:length])
        assert dvclock.is_damaged(folder)
        repetitions.run(project, tmp_path / "claims", [3])
        assert (folder / dvclock.NAME).read_bytes() == whole and not dvclock.is_damaged(folder)
    assert (tmp_path / "runs.txt").read_text() == "ran\nran\n", "once a seed: what had finished comes from the cache"
    # a beginning that is a lock file too, and names another output: that stage runs again
    (folder / dvclock.NAME).write_bytes(whole[:-20])
    repetitions.run(project, tmp_path / "claims", [3])
    assert (folder / dvclock.NAME).read_bytes() == whole


def mend_the_lock(folder: Path) -> None:
    """What `ssn doctor` says of the one file that DVC itself writes in place, when the kill met DVC in the middle of that."""
    if dvclock.is_damaged(folder):
        assert (health.dvc(folder).mend or "").startswith(f"delete {dvclock.NAME}, then dvc repro")
        (folder / dvclock.NAME).unlink()


@pytest.mark.slow
def test_the_pipeline_at_twenty_random_moments(tmp_path):
    whole = copy_of_project(tmp_path / "whole", SMALL)
    begun = time.monotonic()
    dvc(whole, "repro")
    length = time.monotonic() - begun
    killed, moment = copy_of_project(tmp_path / "killed", SMALL), random.Random(SEED)
    done = 0
    while done < KILLS:
        process = start(killed, "repro")
        try:
            said, _ = process.communicate(timeout=moment.uniform(0.5, length / 4))
        except subprocess.TimeoutExpired:
            kill(process)
            mend_the_lock(killed)
            done += 1
            continue
        # it came to its end: begin again with nothing, so that every kill has something to disturb
        assert process.returncode == 0, said[-3000:]
        killed = copy_of_project(tmp_path / f"killed-{done}", SMALL)
    dvc(killed, "repro")
    tops = ("artifacts", "results", "report")
    expected, found = (contents(*(folder / top for top in tops)) for folder in (whole, killed))
    assert set(found) == set(expected), set(found) ^ set(expected)
    assert [name for name in expected if expected[name] != found[name]] == []
    assert "up to date" in dvc(killed, "repro")
