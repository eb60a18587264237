"""A working copy of the pipeline with other params, and DVC run in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("dvc.yaml", "frontier", "tasks", "ssn_eval", "data", ".dvcignore", "pyproject.toml")
SKIPPED = shutil.ignore_patterns("__pycache__", "PolyRefuse", "*.csv", "*.jsonl")


def copy_of_project(folder: Path, change: Mapping[str, Any]) -> Path:
    """The project in `folder`, with git and DVC, and `params.yaml` changed section by section."""
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
    """`dvc <words>` in the folder, its own process group, everything it says on one pipe."""
    mine = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", *words],
        cwd=folder,
        env={**os.environ, **mine, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def dvc(folder: Path, *words: str, **environment: str) -> str:
    """Run `dvc <words>` to its end and return what it said."""
    process = start(folder, *words, **environment)
    said, _ = process.communicate(timeout=1800)
    assert process.returncode == 0, said[-3000:]
    return said
