"""The package as a wheel and in environments of its own, without an index and a network.

A `.pth` file lends an environment the packages of the one that runs the tests, but not its own editable install of this
project, whose `.pth` lines are not read from a lent folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed")
LENT = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
PROJECT = ("dvc.yaml", ".dvcignore", ".dvc/plots")
"""what `ssn init` makes a project of"""
CLONED = ("pyproject.toml", "README.md", "LICENSE", "ssn_eval", "tasks", "data/organism", *PROJECT)


@dataclass(frozen=True)
class Environment:
    """A virtual environment with this project installed."""

    folder: Path
    python: Path
    site: Path

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment from a folder that has nothing to do with the project."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSN_"))}
        clean |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "OMP_NUM_THREADS": "1", **env}
        return subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True, timeout=300)

    def pip(self, *arguments: str) -> None:
        """Run the pip of the environment, which is the lent one."""
        done = self.run(str(self.python), "-m", "pip", "-q", "--disable-pip-version-check", *arguments)
        assert done.returncode == 0, done.stderr

    def files(self) -> set[str]:
        """Every file of the environment, but for compiled ones."""
        paths = (p for p in self.folder.rglob("*") if p.is_file() or p.is_symlink())
        return {p.relative_to(self.folder).as_posix() for p in paths if "__pycache__" not in p.parts}


def fresh(folder: Path) -> Environment:
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    (site / "zz_lent.pth").write_text("".join(f"{path}\n" for path in dict.fromkeys(LENT)), encoding="utf-8")
    return Environment(folder, python, site)


def clone(copy: Path) -> Path:
    """Copy the project's tree as a clone would give it."""
    for name in CLONED:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


def build(folder: Path) -> Path:
    """Build the wheel in a folder, by way of the source archive."""
    source = clone(folder / "source")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run([*command, "-t", "sdist"], cwd=source, check=True, capture_output=True)
    shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder, filter="data")
    unpacked = next(p for p in folder.iterdir() if p.is_dir() and p != source)
    subprocess.run([*command, "-t", "wheel"], cwd=unpacked, check=True, capture_output=True)
    return next(folder.glob("*.whl"))
