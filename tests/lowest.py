"""The floors of pyproject.toml as pins, for `make test-lowest`; `python tests/lowest.py > .lowest.txt`.

torch stays as constraints.txt has it: an old one is gigabytes for a test that hardly touches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TABLE = re.compile(r"^(dependencies|gguf|api|dev|baselines) = \[(.*?)\]\s*(?:#.*)?$", re.MULTILINE | re.DOTALL)
_FLOOR = re.compile(r'"([A-Za-z0-9_-]+)(?:\[[^\]]*\])?>=([0-9][0-9a-z.]*)')
_KEPT = ("torch",)
_TOOLS = (
    *("hatchling", "pytest", "ruff", "pyright", "pre-commit", "build", "hypothesis"),
    *("sphinx", "furo", "myst-parser", "sphinx-click", "nbclient", "ipykernel"),
)
"""what only developers use, for tests and documentation: any version may"""


def floors(text: str) -> Iterator[tuple[str, str]]:
    """`(package, floor)` of every requirement, tools left out."""
    for _, table in _TABLE.findall(text):
        for name, floor in _FLOOR.findall(table):
            if name not in (*_KEPT, *_TOOLS):
                yield name, floor


def main() -> None:
    """Print one pin a line."""
    pins = dict(floors((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    kept = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split() if line.startswith(_KEPT)]
    print("\n".join([*(f"{name}=={floor}" for name, floor in sorted(pins.items())), *kept]))


if __name__ == "__main__":
    main()
