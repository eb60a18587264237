"""The pipeline: its deps are the stages' real imports, and a small one runs, survives kill -9, and then has nothing to do."""

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

sys.path.insert(0, str(Path(__file__).parent))
from closure import ROOT, listed  # noqa: E402

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SMALL = {
    "languages": ["en", "zh"],
    "organism": {"seed": 0, "steps": 12, "warmup_steps": 1, "checkpoint_every": 2},
    "score": {"prompts": 4, "probes": 2},
    "select": {"p": 30.0, "random_seeds": [0], "sensitivity": [30]},
    "validate": {"sets": ["ss", "random_0"], "ops": ["suppress"]},
    "train": {"methods": ["ssn", "full"], "steps": 4, "batch_size": 4, "pairs": 4},
    "evaluate": {"limit": 4, "max_new_tokens": 4, "capability": "organism_capability"},
}


@pytest.mark.parametrize("name", sorted(STAGES))
def test_deps_are_the_import_closure(name):
    """DVC does not see edits to imported modules unless they are listed."""
    stage = STAGES[name].get("do", STAGES[name])
    module = stage["cmd"].split("ssn_eval.stages.")[1].split()[0]
    ours = {d for d in stage["deps"] if d.startswith("ssn_eval")}
    assert ours == set(listed(module)), f"run python tests/pipeline/closure.py {module}"


def small_pipeline(folder: Path) -> Path:
    for name in ("dvc.yaml", "tasks", "ssn_eval", "data", ".dvcignore", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source,
                folder / name,
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", "PolyRefuse", "*.csv", "*.jsonl"),
            )
        else:
            shutil.copy(source, folder / name)
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, change in SMALL.items():
        settings[section] = settings[section] | change if isinstance(change, dict) else change
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def repro(folder: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "dvc", "repro"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(folder: Path) -> str:
    process = repro(folder)
    said, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, said[-3000:]
    return said


def test_kill_9_then_repro_gives_the_same_results_and_then_nothing_is_left_to_do(tmp_path):
    undisturbed, killed = (small_pipeline(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir())
    finished(undisturbed)
    resumable = "artifacts/.work-organism/checkpoint-2/trainer_state.json"
    for awaited in (resumable, "artifacts/prompts.jsonl", "artifacts/sets"):
        process = repro(killed)
        while process.poll() is None and not (killed / awaited).exists():
            time.sleep(0.05)
        if awaited != resumable:
            time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished(killed)
    for name in (
        "report/metrics.json",
        "results/select.json",
        "results/evaluate/ssn.json",
        "artifacts/train/ssn/adapter_model.safetensors",
    ):
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes(), name
    metrics = json.loads((killed / "report" / "metrics.json").read_text())
    assert {"base", "suppress ss", "train ssn", "train full"} <= set(metrics["conditions"])
    started = time.monotonic()
    assert "up to date" in finished(killed)
    assert time.monotonic() - started < 10
    assert not list(killed.rglob("*.tmp"))


def test_a_stage_before_its_inputs_says_what_to_run(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    command = [
        sys.executable,
        "-m",
        "ssn_eval.stages.select",
        "artifacts/scores",
        "artifacts/sets",
        "results/select.json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "dvc repro score@en" in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]
