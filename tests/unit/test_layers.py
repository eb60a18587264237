"""The table of layers (docs/reference/modules.md) holds: a module imports only from lower layers, and the page names every module."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = (
    ("errors",),
    ("dvclock", "files", "languages", "lock", "memory", "methods", "neurons", "progress", "residency"),
    ("checkpoints", "hub", "presets", "prompts", "statistics", "store", "sweep"),
    (
        *("architectures", "cards", "deltas", "generation", "interchange", "judges", "lineage"),
        *("params", "reliability", "selection"),
    ),
    ("adapters", "calibration", "importance", "interventions", "models", "runs", "stability", "targets"),
    ("activations", "baking", "identification", "organism", "publishing", "training"),
    ("corpora", "frontier", "repetitions", "report"),
    ("harness",),
    ("stages",),
    ("cli",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(
        p for p in (ROOT / "ssn_eval").rglob("*.py") if "tasks" not in p.relative_to(ROOT / "ssn_eval").parts[:1]
    )


def unit(name: str) -> str:
    return name.split(".")[1]


def test_a_module_imports_only_from_its_own_or_lower_layers():
    for path in modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if len(parts) == 2 and parts[1] == "__init__":
            continue
        mine = parts[1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "ssn_eval" else [node.module]
            for name in names:
                if name.startswith("ssn_eval.") and unit(name) in LEVEL and unit(name) != mine:
                    assert LEVEL[unit(name)] < LEVEL[mine], f"{path.relative_to(ROOT)} imports {name}"


def test_only_harness_and_above_import_lm_eval():
    for path in modules():
        mine = path.relative_to(ROOT / "ssn_eval").parts[0].removesuffix(".py")
        if mine not in ("harness", "cli", "stages"):
            text = path.read_text(encoding="utf-8")
            assert "import lm_eval" not in text and "from lm_eval" not in text, path


def test_every_module_has_its_layer_and_its_line_on_the_page():
    page = (ROOT / "docs" / "reference" / "modules.md").read_text(encoding="utf-8")
    for path in modules():
        name = path.relative_to(ROOT / "ssn_eval").as_posix()
        if path.stat().st_size and path.name != "__init__.py":
            assert f"`{name}`" in page, f"docs/reference/modules.md has no line for {name}"
        assert name.split("/")[0].removesuffix(".py") in (*LEVEL, "__init__"), name


def test_package_init_is_empty():
    assert (ROOT / "ssn_eval" / "__init__.py").read_text() == ""
