"""A model from what the command line says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ssn_eval.errors import FormatError, ParamsError

if TYPE_CHECKING:
    from ssn_eval.models import Loaded, ModelSpec

DTYPES = ("auto", "float32", "bfloat16", "float16")


def spec(model: str, revision: str | None, gguf_file: str | None, dtype: str = "auto") -> ModelSpec:
    """`package:NAME` is a package that carries a model; anything else a hub id or a folder."""
    from ssn_eval.models import ModelSpec

    package = model.removeprefix("package:") if model.startswith("package:") else None
    return ModelSpec("" if package else model, revision, gguf_file, package, dtype)


def load(spec: ModelSpec, device: str | None, trust_remote_code: bool, device_map: str | None = None) -> Loaded:
    """Load a model; what transformers says of a bad device or a broken model becomes one sentence.

    Raises:
        ParamsError: torch has no such device.
        MissingInputError, FormatError: the model is not there, or cannot be read.
    """
    import torch
    from safetensors import SafetensorError

    from ssn_eval import models

    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParamsError(f"torch cannot use the device {device!r}: {_first_line(error)}") from error
    try:
        return models.load(spec, device=device, device_map=device_map, trust_remote_code=trust_remote_code)
    except (ValueError, SafetensorError) as error:
        raise FormatError(
            f"{spec.pretrained or spec.package} cannot be read as a model: {_first_line(error)}"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
