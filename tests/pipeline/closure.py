"""The modules of ours that a stage imports, directly or not: what its `deps` in dvc.yaml must list.

`python tests/pipeline/closure.py` writes them there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WHOLE = (
    *("core", "models", "report", "judges", "organism", "prompts", "identification", "interventions", "training"),
    *("harness", "exchange"),
)
FOLDERS = tuple(f"ssn_eval/{name}" for name in WHOLE)
"""packages that are listed whole, with their data files, as soon as one of their modules is needed"""


def _module_file(name: str) -> Path | None:
    base = ROOT / name.replace(".", "/")
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> set[str]:
    """Names of our modules that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {n for n in names if n.split(".")[0] == "ssn_eval"}


def closure(stage: str) -> set[str]:
    """Every file of ours that `ssn_eval.stages.<stage>` reaches by imports, relative to the project; empty files left out."""
    todo, seen = [f"ssn_eval.stages.{stage}"], set()
    while todo:
        path = _module_file(todo.pop())
        if path and path not in seen:
            seen.add(path)
            todo += _imports(path)
    return {p.relative_to(ROOT).as_posix() for p in seen if p.stat().st_size}


def listed(stage: str) -> list[str]:
    """The closure as dvc.yaml lists it: some packages as whole folders."""
    return sorted({next((f for f in FOLDERS if name.startswith(f + "/")), name) for name in closure(stage)})


def rewritten(pipeline: str) -> str:
    """The text of a dvc.yaml with our modules among each stage's deps as they are imported now."""
    stage, out = "", []
    for line in pipeline.splitlines():
        module = re.search(r"-m ssn_eval\.stages\.(\w+)", line)
        stage = module[1] if module else stage
        if line.lstrip().startswith("- ssn_eval/"):
            continue
        out.append(line)
        if line.strip() == "deps:":
            indent = " " * (len(line) - len(line.lstrip()) + 2)
            out += [f"{indent}- {path}" for path in listed(stage)]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    path = ROOT / "dvc.yaml"
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
