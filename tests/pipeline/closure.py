"""The modules of this project that a stage imports, directly or indirectly. Its `deps` in dvc.yaml must list them.

`python tests/pipeline/closure.py` writes them into dvc.yaml.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHOLE_PACKAGES = (
    *("core", "models", "report", "judges", "organism", "prompts", "identification", "interventions", "training"),
    *("harness", "exchange"),
)
FOLDERS = tuple(f"ssn_eval/{name}" for name in WHOLE_PACKAGES)
"""packages that are listed as whole folders, with their data files, if a stage imports one of their modules"""


def _module_file(name: str) -> Path | None:
    base = ROOT / name.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> set[str]:
    """The names of our modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {n for n in names if n.split(".")[0] == "ssn_eval"}


def closure(stage: str) -> set[str]:
    """The files of ours that `ssn_eval.stages.<stage>` imports, directly or indirectly, relative to the project; without empty files."""
    names, paths = [f"ssn_eval.stages.{stage}"], set()
    while names:
        path = _module_file(names.pop())
        if path and path not in paths:
            paths.add(path)
            names += _imports(path)
    return {p.relative_to(ROOT).as_posix() for p in paths if p.stat().st_size}


def listed(stage: str) -> list[str]:
    """The closure in the form of dvc.yaml: some packages are whole folders."""
    return sorted({next((f for f in FOLDERS if name.startswith(f + "/")), name) for name in closure(stage)})


def rewritten(pipeline: str) -> str:
    """The text of a dvc.yaml in which the deps of each stage list our modules that it imports now."""
    stage, lines = "", []
    for line in pipeline.splitlines():
        module = re.search(r"-m ssn_eval\.stages\.(\w+)", line)
        stage = module[1] if module else stage
        if line.lstrip().startswith("- ssn_eval/"):
            continue
        lines.append(line)
        if line.strip() == "deps:":
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            lines += [f"{indent}- {path}" for path in listed(stage)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    path = ROOT / "dvc.yaml"
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
