"""The organism is the same bytes, whatever instructions the environment asks torch for: weights, replies and scores of neurons."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssn_eval.core import arithmetic

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "languages": ["en", "zh"],
    "organism": {
        **{"steps": 6, "warmup_steps": 1, "batch_size": 16, "layers": 2, "hidden": 64, "heads": 4, "kv_heads": 2},
        "mlp": 96,
    },
    "prompts": {"replay_tokens": 8},
    "score": {"prompts": 8, "probes": 1},
    "train": {"pairs": 8},
}
STAGES = (
    ("organism", str(ROOT / "data/organism"), "artifacts/model", "results/organism.json"),
    ("prompts", "artifacts/model", "artifacts/prompts.jsonl", "artifacts/pairs.jsonl"),
    ("score", "artifacts/model", "artifacts/prompts.jsonl", "artifacts/scores"),
)
OTHER_MACHINES = (
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AUTO", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
)
"""What they would choose by themselves, as environment variables."""


def made(folder: Path, machine: dict[str, str]) -> dict[str, str]:
    """Run the first stages in `folder`; the hash of every file that they write."""
    folder.mkdir()
    (folder / "data").symlink_to(ROOT / "data")
    settings = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in SMALL.items():
        settings[section] = settings[section] | values if isinstance(values, dict) else values
    (folder / "params.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **machine}
    for stage, *paths in STAGES:
        command = [sys.executable, "-m", f"ssn_eval.stages.{stage}", *paths]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
    files = (p for top in ("artifacts", "results") for p in sorted((folder / top).rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.slow  # the kill test of tests/pipeline compares two such machines too
@pytest.mark.skipif(
    not arithmetic.has_avx2(), reason="the instructions are only fixed on an x86-64 processor with AVX2"
)
def test_two_machines_make_the_same_bytes(tmp_path):
    first, second = (made(tmp_path / str(n), machine) for n, machine in enumerate(OTHER_MACHINES))
    assert {"artifacts/model/weights/model.safetensors", "artifacts/pairs.jsonl"} <= set(first)
    assert any(name.startswith("artifacts/scores/en/") for name in first)
    assert first == second


def test_a_process_that_is_not_ours_goes_on(monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("it was started again"))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    arithmetic.pin()
    assert os.environ["OMP_NUM_THREADS"] == "7"
