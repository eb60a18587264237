"""A model, or its identity alone, from what the command line says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ssn_eval.core.errors import FormatError, ParamsError

if TYPE_CHECKING:
    from ssn_eval.models import Loaded, ModelSpec

REVISION = click.option("--revision", help="Hub revision.")
GGUF_FILE = click.option("--gguf-file", help="A GGUF file inside the model's folder or package.")
DTYPE = click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Of the weights.",
)
DEVICE = click.option("--device", help="cpu, cuda, …; the best one by default.")
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that the model's repository brings."
)


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
    from safetensors import SafetensorError

    from ssn_eval import models

    check_device(device)
    try:
        return models.load(spec, device=device, device_map=device_map, trust_remote_code=trust_remote_code)
    except (ValueError, SafetensorError) as error:
        raise FormatError(
            f"{spec.pretrained or spec.package} cannot be read as a model: {_first_line(error)}"
        ) from error


def check_device(device: str | None) -> None:
    """Stop where torch has no such device.

    Raises:
        ParamsError: says what torch says.
    """
    import torch

    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParamsError(f"torch cannot use the device {device!r}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]
