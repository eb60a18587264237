"""What the documentation tells people to type: every command of its shell blocks and inline code, with the file it stands in."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
_BLOCK = re.compile(r"^```(sh|bash|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:ssn|dvc|make|lm_eval) [^`]+)`")
_ASSIGNMENT = re.compile(r"\w+=\S*")


class Typed(NamedTuple):
    """One command."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(path: Path, *kinds: str) -> Iterator[str]:
    """The fenced blocks of a page, of some languages."""
    for found in re.finditer(r"^```(\w+)\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        if found[1] in kinds:
            yield found[2]


def lines(block: str) -> Iterator[str]:
    """The commands of a shell block, continued lines joined."""
    for line in block.replace("\\\n", " ").splitlines():
        if line.strip():
            yield line.strip()


def of_page(path: Path) -> Iterator[Typed]:
    """Commands of shell blocks, and inline ones that begin with a program's name."""
    text = path.read_text(encoding="utf-8")
    shown = [line for block in blocks(path, "sh", "bash", "yaml") for line in lines(block)]
    for line in [*shown, *_INLINE.findall(text)]:
        yield from _typed(path.relative_to(ROOT).as_posix(), line)


def of_notebook() -> Iterator[Typed]:
    """The `!` lines of the notebook."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            for line in "".join(cell["source"]).splitlines():
                if line.strip().startswith("!"):
                    yield from _typed(NOTEBOOK.name, line.strip().removeprefix("!"))


def _typed(page: str, line: str) -> Iterator[Typed]:
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an apostrophe in a line that is no command
        return
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    if words[:1] == ["for"] or words[:1] == ["do"]:
        words = words[words.index("ssn") :] if "ssn" in words else []
    if words[:2] == ["accelerate", "launch"] and "-m" in words:
        words = words[words.index("-m") + 1 :]
        words[0] = {"ssn_eval.cli": "ssn"}.get(words[0], words[0])
    if words and words[0] in ("ssn", "lm_eval", "dvc", "make"):
        yield Typed(page, tuple(words))
