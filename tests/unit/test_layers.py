"""A package of `ssn_eval` imports only from packages before it, and nothing lies outside a package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "ssn_eval"
ORDER = (
    *("core", "models", "report", "judges", "organism", "prompts", "identification", "interventions", "training"),
    *("harness", "exchange", "stages", "cli"),
)
KNOWS_LM_EVAL = ("harness", "stages", "cli")


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "tasks" not in p.relative_to(PACKAGE).parts[:1])


def imports(path: Path) -> list[str]:
    """Every module that a file imports, inside functions too."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def own_imports(path: Path) -> list[str]:
    return [name for name in imports(path) if name.split(".")[0] == "ssn_eval"]


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", ORDER)
def test_a_package_imports_only_from_packages_before_it(name: str):
    for path in (PACKAGE / name).rglob("*.py"):
        for imported in own_imports(path):
            other = imported.split(".")[1]
            if other in ORDER:
                assert ORDER.index(other) <= ORDER.index(name), f"{path.relative_to(ROOT)} imports {imported}"


def test_only_harness_stages_and_cli_import_lm_eval():
    for path in modules():
        if room(path) not in KNOWS_LM_EVAL:
            assert not [name for name in imports(path) if name.split(".")[0] == "lm_eval"], path.relative_to(ROOT)


def test_every_module_lies_in_a_package_of_the_order():
    assert [p.name for p in PACKAGE.glob("*.py")] == ["__init__.py"]
    assert {room(path) for path in modules()} == {*ORDER, "__init__"}


def test_the_page_of_packages_names_them_in_their_order():
    page = (ROOT / "docs" / "reference" / "modules.md").read_text(encoding="utf-8")
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == list(ORDER)
