"""The optimisers of training, and the precision that it computes in, as arguments of the Trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.settings import TrainParams

NAMES: Mapping[str, str | None] = {"adamw": None, "adafactor": "adafactor", "adamw_8bit": "adamw_bnb_8bit"}
"""ours → that of transformers; None: its own default, which is AdamW"""


def refuse_missing(optimizer: str) -> None:
    """Stop if an optimiser's package is not installed.

    Raises:
        MissingInputError: it says what to install.
    """
    import importlib.util

    if optimizer == "adamw_8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise MissingInputError(
            "The optimiser adamw_8bit needs bitsandbytes, which is not installed; pip install bitsandbytes, or use adafactor."
        )


def arguments(settings: TrainParams, model: Any) -> dict[str, Any]:
    """Keywords of `TrainingArguments`; none for the defaults.

    Raises:
        ParamsError: the device cannot compute in bfloat16.
    """
    import torch

    optimizer = NAMES[settings.optimizer]
    chosen: dict[str, Any] = {"optim": optimizer} if optimizer else {}
    if settings.autocast:
        if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
            raise ParamsError("This GPU cannot compute in bfloat16; set train.autocast to false.")
        chosen |= {"bf16": True} | (
            {"use_cpu": True} if model.device.type == "cpu" and not torch.cuda.is_available() else {}
        )
    return chosen
