"""Make a working copy of the pipeline with other params, and run DVC in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ssn_eval.core import arithmetic

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", "frontier", "tasks", "ssn_eval", "data", ".dvcignore", "pyproject.toml")
SKIPPED = shutil.ignore_patterns("__pycache__", "PolyRefuse", "*.csv", "*.jsonl")

MACHINES: tuple[Mapping[str, str], ...] = (
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AUTO", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
)
"""Instructions that two other machines would choose, as environment variables; without AVX2 they are not fixed, and nothing is set."""
if not arithmetic.has_avx2():
    MACHINES = ({}, {})


def contents(path: Path) -> bytes | dict[str, bytes]:
    """The bytes of a file, or of every file below a folder."""
    if path.is_file():
        return path.read_bytes()
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def copy_of_project(folder: Path, change: Mapping[str, Any]) -> Path:
    """Copy the project into `folder` with git and DVC; `change` updates the sections of `params.yaml`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=SKIPPED)
        else:
            shutil.copy(source, folder / name)
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, values in change.items():
        settings[section] = settings[section] | values if isinstance(values, dict) else values
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")  # no analytics, no look for a newer DVC
    return folder


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Start `dvc <words>` in the folder, in its own process group; its stdout also gets its stderr."""
    variables = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        env={**os.environ, **variables, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def dvc(folder: Path, *words: str, **environment: str) -> str:
    """Run `dvc <words>` to its end and return its output."""
    process = start(folder, *words, **environment)
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, output[-3000:]
    return output
