"""Safetensors files with one JSON header that holds format, model and provenance. No pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.core.origin import ModelRef

LARGEST_HEADER = 32 << 20
"""bytes; enough for 200,000 sites, experts included"""


def refuse_other_ending(path: Path, what: str) -> None:
    """Check the name of a file before any work is done.

    Raises:
        ParamsError: the ending is not .safetensors, or it is the name of a folder.
    """
    if path.suffix != ".safetensors":
        raise ParamsError(f"{what} is written as .safetensors, but {path} has another ending; rename it.")
    files.refuse_folder(path)


def write_tensors(
    path: Path,
    tensors: Mapping[str, Any],
    kind: str,
    model: ModelRef,
    provenance: Mapping[str, Any],
    framework: str = "numpy",
) -> None:
    """Write a file for `read_tensors`, completely or not at all.

    One header entry holds everything, because safetensors writes several entries in random order and equal inputs must give
    equal bytes.

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
    """Check the size of a safetensors header before it is parsed.

    Raises:
        FormatError: the header is larger than `LARGEST_HEADER`.
    """
    with path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
    if size > LARGEST_HEADER:
        raise FormatError(
            f"{path} is no safetensors file of ours: it claims a header of {size} bytes, and the limit is {LARGEST_HEADER}."
        )


def read_tensors(
    path: Path, kind: str, framework: str = "numpy", *, or_kind: str | None = None
) -> tuple[dict[str, Any], ModelRef, Mapping[str, Any]]:
    """The tensors, the model and the provenance of a safetensors file.

    Args:
        path: a safetensors file.
        kind: the format that the header must name.
        framework: the type of the tensors: `numpy`, or `pt` (torch), which also supports bfloat16.
        or_kind: another format that is read as well.

    Raises:
        MissingInputError: no such file.
        FormatError: the file is damaged or has another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingInputError(f"No file at {path}; expected {kind} in safetensors.")
    refuse_huge_header(path)
    try:
        with safe_open(path, framework=framework) as handle:
            header = json.loads((handle.metadata() or {}).get("ssn", "{}"))
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        if not isinstance(header, Mapping) or header.get("format") not in (kind, or_kind or kind):
            other_kind = header.get("format") if isinstance(header, Mapping) else header
            raise FormatError(f"{path} is not a file of {kind}: its header says {str(other_kind)[:60]!r}.")
        model, provenance = header["model"], header["provenance"]
        if not isinstance(provenance, Mapping):
            raise FormatError(f"{path} has no valid provenance: `provenance` is not a JSON object.")
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path} is damaged or no safetensors file of {kind}: {error}.") from error
    return tensors, ModelRef.from_json(model), provenance
