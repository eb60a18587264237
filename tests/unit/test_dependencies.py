"""What the package imports is declared, what is declared has a floor, and every source is Python 3.10."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata

import pytest
from lowest import floors

NAMES = {"sklearn": "scikit-learn", "yaml": "pyyaml", "vl_convert": "vl-convert-python"}
"""module → distribution, where they differ by more than _ and -"""
BUILD_ONLY = {"hatchling"}


def requirement_names(text: str, table: str) -> set[str]:
    found = re.search(rf"^{table} = \[(.*?)^\]|^{table} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert found, table
    return {name.lower() for name in re.findall(r'"([A-Za-z0-9_-]+)', found[1] or found[2])}


def imported(root) -> dict[str, str]:
    names = {}
    for path in sorted((root / "ssn_eval").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules = [node.module]
            names |= {m.split(".")[0]: path.name for m in modules}
    return {n: p for n, p in names.items() if n not in sys.stdlib_module_names and n != "ssn_eval"}


def test_every_import_is_declared(root):
    text = (root / "pyproject.toml").read_text()
    core = requirement_names(text, "dependencies")
    optional = set.union(
        *(
            requirement_names(text, extra)
            for extra in re.findall(
                r"^(\w+) = \[\"?",
                text.split("[project.optional-dependencies]")[1].split("[project.scripts]")[0],
                re.MULTILINE,
            )
        )
    )
    for module, where in imported(root).items():
        name = NAMES.get(module, module.replace("_", "-")).lower()
        assert name in core | optional | BUILD_ONLY, f"{where} imports {module}, which pyproject.toml does not name"
    assert {"torch", "click", "lm-eval", "pyarrow"} <= core
    assert not {"openai", "vllm", "trl", "sphinx", "pytest"} & core, "the core install stays lean"


def test_the_extras_are_there(root):
    text = (root / "pyproject.toml").read_text()
    extras = text.split("[project.optional-dependencies]")[1].split("\n[")[0]
    for extra in ("guards", "baselines", "vllm", "docs", "dev"):
        if extra == "baselines" and "baselines" not in extras:
            pytest.skip("the training methods bring their extra")
        assert re.search(rf"^{extra} = \[", extras, re.MULTILINE), extra


def test_floors_lie_below_what_is_installed(root):
    from packaging.version import Version

    found = dict(floors((root / "pyproject.toml").read_text()))
    assert len(found) > 20 and "torch" not in found
    for name, floor in found.items():
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        assert Version(floor) <= Version(there), name


def test_every_source_is_python_3_10(root):
    for top in ("ssn_eval", "tests", "benchmarks"):
        for path in (root / top).rglob("*.py"):
            ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 10))


def test_declared_pythons(root):
    text = (root / "pyproject.toml").read_text()
    declared = re.findall(r"Python :: (3\.\d+)", text)
    assert declared == ["3.10", "3.11", "3.12", "3.13"] and 'requires-python = ">=3.10"' in text
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in declared
    makefile = (root / "Makefile").read_text()
    assert all(f"python{version}" in makefile for version in declared)
