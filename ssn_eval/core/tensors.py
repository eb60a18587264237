"""Safetensors files with one JSON header: who wrote them, for which model, how. Never a pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.core.origin import ModelRef

LARGEST_HEADER = 32 << 20
"""bytes; 200,000 sites, experts included, stay below it"""


def refuse_other_ending(path: Path, what: str) -> None:
    """Stop before work is done for a file of that name.

    Raises:
        ParamsError: the ending is not .safetensors.
    """
    if path.suffix != ".safetensors":
        raise ParamsError(f"{what} is written as .safetensors; {path} has another ending.")


def write_tensors(
    path: Path,
    tensors: Mapping[str, Any],
    kind: str,
    model: ModelRef,
    provenance: Mapping[str, Any],
    framework: str = "numpy",
) -> None:
    """Write what `read_tensors` reads, whole or not at all.

    One header entry holds everything: safetensors writes several in random order, and equal inputs must give equal bytes.

    Raises:
        ParamsError: the ending is not .safetensors.
    """
    from importlib import import_module

    refuse_other_ending(path, kind)
    value = {"format": kind, "model": model.to_json(), "provenance": dict(provenance)}
    header = {"ssn": json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)}
    encode = import_module({"numpy": "safetensors.numpy", "pt": "safetensors.torch"}[framework]).save
    with files.atomic(path) as temporary:
        temporary.write_bytes(encode(dict(tensors), header))


def refuse_huge_header(path: Path) -> None:
    """Stop before a safetensors header is parsed that is larger than any of ours.

    Raises:
        FormatError: says how large it claims to be.
    """
    with path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
    if size > LARGEST_HEADER:
        raise FormatError(
            f"{path} is no safetensors file of ours: it claims a header of {size} bytes, and ours have {LARGEST_HEADER} at most."
        )


def read_tensors(path: Path, kind: str, framework: str = "numpy") -> tuple[dict[str, Any], ModelRef, Mapping[str, Any]]:
    """The tensors of a file that has our header, its model and its provenance.

    Args:
        path: a safetensors file.
        kind: the format that its header must name.
        framework: whose tensors: `numpy`, or `pt`, which also knows bfloat16.

    Raises:
        MissingInputError: no such file.
        FormatError: damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingInputError(f"No file at {path}; expected {kind} in safetensors.")
    refuse_huge_header(path)
    try:
        with safe_open(path, framework=framework) as handle:
            told = json.loads((handle.metadata() or {}).get("ssn", "{}"))
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        if not isinstance(told, Mapping) or told.get("format") != kind:
            said = told.get("format") if isinstance(told, Mapping) else told
            raise FormatError(f"{path} is not a file of {kind}: its header says {str(said)[:60]!r}.")
        model, provenance = told["model"], told["provenance"]
        if not isinstance(provenance, Mapping):
            raise FormatError(f"{path} does not say how it was made: `provenance` is no object.")
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path} is damaged or no safetensors file of {kind}: {error}.") from error
    return tensors, ModelRef.from_json(model), provenance
