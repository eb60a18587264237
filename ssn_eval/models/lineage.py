"""`ssn.json` beside weights: which model they were made from, and how.

Every adapter, baked or merged model and fine-tuned checkpoint that this project writes has one. `base` is the model that
the weights were made from, `ancestors` what that one was made from in its turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MismatchError
from ssn_eval.core.origin import ModelRef

FILE = "ssn.json"
ADAPTER, BAKED, MERGED, CHECKPOINT = "ssn-adapter/1", "ssn-baked/1", "ssn-merged/1", "ssn-checkpoint/1"


def write(
    folder: Path, kind: str, base: ModelRef, provenance: Mapping[str, Any], ancestors: Sequence[ModelRef] = ()
) -> None:
    """Write `ssn.json` into a folder."""
    value = {"format": kind, "base": base.to_json(), "ancestors": [ref.to_json() for ref in ancestors]}
    files.write_json(folder / FILE, {**value, "provenance": dict(provenance)})


def kind(folder: Path) -> str:
    """Which of the formats above the weights in a folder are; empty where nothing says so.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    return str(_read(folder).get("format", ""))


def bases(folder: Path) -> list[ModelRef]:
    """What the weights in a folder were made from, the nearest first; empty where nothing says so.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    told = _read(folder)
    if not told:
        return []
    nearest = told.get("base", told.get("model", {}))  # adapters of the first version said `model`
    return [ModelRef.from_json(ref) for ref in (nearest, *told.get("ancestors", []))]


def provenance(folder: Path) -> dict[str, Any]:
    """How the weights in a folder were made; empty where nothing says so.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    return dict(_read(folder).get("provenance", {}))


def refuse_other(mine: ModelRef, live: ModelRef, ancestors: Sequence[ModelRef], what: str) -> None:
    """Stop where `what`, made on one model, is about to be used on a model that is neither that one nor made from it.

    Raises:
        MismatchError: type, shape or weights differ.
    """
    for ref in ancestors:
        try:
            mine.refuse_other(ref, what)
        except MismatchError:
            continue
        return
    mine.refuse_other(live, what)


def _read(folder: Path) -> Mapping[str, Any]:
    if not (folder / FILE).is_file():
        return {}
    told = files.read_json(folder / FILE, "what says how weights were made")
    kinds = {"ancestors": list, "provenance": dict}
    if not isinstance(told, Mapping) or not all(isinstance(told.get(k, kind()), kind) for k, kind in kinds.items()):
        raise FormatError(f"{folder / FILE} does not say how weights were made; it is damaged.")
    return told
