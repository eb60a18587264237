"""`ssn.json` beside weights: the model that they were made from, and how they were made.

This project writes one with every adapter, baked model, merged model and fine-tuned checkpoint. `base` is the model that
the weights were made from. `ancestors` are the models that the base was made from.
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
    """The format of the weights in a folder, such as `ssn-adapter/1`; empty if the folder has no `ssn.json`.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    return str(_read(folder).get("format", ""))


def bases(folder: Path) -> list[ModelRef]:
    """The models that the weights in a folder were made from, the nearest first; empty if the folder has no `ssn.json`.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    record = _read(folder)
    if not record:
        return []
    nearest = record.get("base", record.get("model", {}))  # the first version of adapters calls it `model`
    return [ModelRef.from_json(ref) for ref in (nearest, *record.get("ancestors", []))]


def provenance(folder: Path) -> dict[str, Any]:
    """How the weights in a folder were made; empty if the folder has no `ssn.json`.

    Raises:
        FormatError: `ssn.json` is damaged.
    """
    return dict(_read(folder).get("provenance", {}))


def refuse_other(origin: ModelRef, live: ModelRef, ancestors: Sequence[ModelRef], what: str) -> None:
    """Stop if `what` was made on a model that is neither the live model nor one that the live model was made from.

    Raises:
        MismatchError: type, shape or weights differ.
    """
    for ref in ancestors:
        try:
            origin.refuse_other(ref, what)
        except MismatchError:
            continue
        return
    origin.refuse_other(live, what)


def _read(folder: Path) -> Mapping[str, Any]:
    if not (folder / FILE).is_file():
        return {}
    record = files.read_json(folder / FILE, "a record of how weights were made")
    types = {"ancestors": list, "provenance": dict}
    if not isinstance(record, Mapping) or not all(isinstance(record.get(k, t()), t) for k, t in types.items()):
        raise FormatError(f"{folder / FILE} is damaged: it is not a record of how weights were made.")
    return record
