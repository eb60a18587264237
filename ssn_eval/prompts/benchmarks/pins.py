"""The sources of all benchmarks: host, repository, commit, licence, and every file with its size and sha256.

The table is `sources.json` beside this module. A file without a sha256 there was never seen by this project's authors; it
is checked against the list of files that the host gives for the pinned commit (`fetching.py`).
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

TABLE = "sources.json"


@dataclass(frozen=True)
class Checksum:
    """The content that a file must have."""

    kind: Literal["sha256", "git"]
    """`sha256` of the bytes, or the id that git gives to a file of these bytes (sha1)"""
    digest: str
    """in hex"""
    size: int
    """bytes"""

    def of(self, path: Path) -> str:
        """The digest of a file, of this kind."""
        data = path.read_bytes()
        if self.kind == "sha256":
            return hashlib.sha256(data).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()

    def fits(self, path: Path) -> bool:
        """Whether a file has this content."""
        return path.stat().st_size == self.size and self.of(path) == self.digest

    def __str__(self) -> str:
        """Kind and digest, as messages and lists show them."""
        return f"{'git blob' if self.kind == 'git' else self.kind} {self.digest}"


@dataclass(frozen=True)
class Pin:
    """One benchmark's place on the network."""

    host: Literal["hub", "github"]
    repo: str
    """`owner/name` of the data set (hub) or repository (GitHub)"""
    revision: str
    """the commit, 40 hex digits"""
    licence: str
    size: str
    """how many prompts there are, in words"""
    files: Mapping[str, Checksum | None]
    """path in the repository → its content; None if this project does not know it"""


@functools.cache
def pins() -> Mapping[str, Pin]:
    """Benchmark → its pin, in the order of the table."""
    table = json.loads(resources.files("ssn_eval.prompts.benchmarks").joinpath(TABLE).read_text(encoding="utf-8"))
    return {name: _pin(row) for name, row in table.items()}


def _pin(row: Mapping[str, Any]) -> Pin:
    files = {
        path: Checksum("sha256", content["sha256"], content["bytes"]) if content else None
        for path, content in row["files"].items()
    }
    return Pin(**{**row, "files": files})
