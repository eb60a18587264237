"""The agreement table as texts: of every way of choosing neurons its size, its stability, and its overlap with each of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssn_eval.report.grid import Grid

EXPLANATION = "Jaccard index, and in brackets the one that chance would give"


def grid(table: Mapping[str, Any], what: str) -> Grid:
    """The table; without rows if there are fewer than two to compare.

    Args:
        table: as `identification.agreement.agreement` makes it.
        what: the beginning of the caption.
    """
    rows, pairs = table["rows"], table["pairs"]
    cells = {(p["first"], p["second"]): both(p) for p in pairs} | {(p["second"], p["first"]): both(p) for p in pairs}
    names = [row["name"] for row in rows]
    lines = [
        [
            row["name"],
            f"{row['size']:,}",
            both(row["stability"]),
            *(cells.get((row["name"], other), "–") for other in names),
        ]
        for row in rows
    ]
    header = ["chosen by", "neurons", "two halves of the prompts", *names]
    return Grid(f"{what}: {EXPLANATION}", header, lines if len(rows) > 1 else [])


def both(one: Mapping[str, Any] | None) -> str:
    """An index and what chance would give; a dash if it was not measured."""
    return "–" if one is None or one.get("jaccard") is None else f"{one['jaccard']:.2f} ({one['chance']:.2f})"
