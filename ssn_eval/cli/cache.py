"""`ssn cache`: the weights of conditions that `ssn_vllm` wrote, and how to clear them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssn_eval.cli.group import Group
from ssn_eval.cli.output import JSON, emit, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ssn_eval.core.cache import Entry


@click.group(cls=Group)
def cache() -> None:
    """Weights that were written for vLLM: one folder for each model and condition.

    They lie in `weights` in SSN_CACHE_DIR, or in ssn_eval in the user's cache. A removed one is written again when it is needed.
    """


@cache.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List the cached weights, with their size and when a run last used them.

    Example: ssn cache list
    """
    from ssn_eval.core import cache as weights
    from ssn_eval.models.memory import gib

    entries = weights.entries()
    shown = table("", "name", "size", "last used")
    for entry in entries:
        shown.add_row(entry.name, gib(entry.bytes), weights.age(entry))
    value = {"folder": weights.folder().as_posix(), "entries": [_to_json(entry) for entry in entries]}
    emit(value, as_json, shown if entries else f"No weights in {weights.folder()}.")


@cache.command()
@click.argument("names", nargs=-1, metavar="[NAME…]")
@JSON
def clear(names: Sequence[str], as_json: bool) -> None:
    """Remove cached weights: those that are named, or all. Weights that a process writes now stay.

    Example: ssn cache clear
    """
    from ssn_eval.core import cache as weights
    from ssn_eval.models.memory import gib

    removed, kept = weights.clear(names)
    total = sum(entry.bytes for entry in removed)
    lines = [f"Removed {len(removed)} of the cached weights, {gib(total)}."]
    lines += [f"{entry.name} is in use and stays." for entry in kept]
    value = {"removed": [_to_json(entry) for entry in removed], "kept": [_to_json(entry) for entry in kept]}
    emit(value, as_json, "\n".join(lines))


def _to_json(entry: Entry) -> dict[str, object]:
    return {"name": entry.name, "bytes": entry.bytes, "used": round(entry.used), "kind": entry.kind}
