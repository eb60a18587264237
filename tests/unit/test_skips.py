"""Every skip of the tests is listed in CONTRIBUTING.md with its reason, and nothing is expected to fail."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SKIPS = {"skip", "skipif", "importorskip"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of something that skips or expects a failure, with its name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
        if isinstance(node, ast.Call) and name in {*SKIPS, "xfail"}:
            yield name, node


def reason(name: str, call: ast.Call) -> str:
    given = next((k.value for k in call.keywords if k.arg == "reason"), call.args[0] if name == "skip" else None)
    assert isinstance(given, ast.Constant) and isinstance(given.value, str), "a skip says why, in plain words"
    return given.value


def test_every_skip_is_listed_with_its_reason():
    found = {
        (path.relative_to(ROOT).as_posix(), reason(name, call))
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name, call in calls(path)
        if name in SKIPS
    }
    lines = re.findall(
        r"^\| (`tests/.*) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    listed = {(file, why) for where, why in lines for file in re.findall(r"`(tests/[^`]+)`", where)}
    assert found == listed


def test_nothing_is_expected_to_fail():
    for path in (ROOT / "tests").rglob("*.py"):
        assert not [name for name, _ in calls(path) if name == "xfail"], path
