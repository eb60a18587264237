"""Adapters as folders: the ordinary PEFT files, and `ssn.json`, which says on which model an adapter was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MismatchError, MissingInputError
from ssn_eval.core.origin import ModelRef
from ssn_eval.models import lineage
from ssn_eval.training.adapters.neuron_lora import quiet, without_wrappers

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

ADAPTER_CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"


def save_adapter(
    model: PeftModel,
    folder: Path,
    base: ModelRef,
    provenance: Mapping[str, Any],
    card: str | None = None,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Save a standard adapter folder with `ssn.json`, which says how it was trained; `card` replaces PEFT's README.

    `weights` are the model's, by name, where the model itself holds only a part of them.

    Equal adapters give equal bytes: PEFT keeps its targets in sets, so they are sorted here.
    """
    with files.atomic(folder) as temporary:
        model.peft_config["default"].base_model_name_or_path = base.id
        given: dict[str, Any] = {} if weights is None else {"state_dict": weights}
        model.save_pretrained(str(temporary), safe_serialization=True, **given)
        config_path = temporary / ADAPTER_CONFIG
        config = json.loads(config_path.read_text(encoding="utf-8"))
        for key in ("target_modules", "target_parameters"):
            config[key] = config.get(key) and sorted(config[key])
        files.write_json(config_path, config)
        (temporary / CARD).unlink(missing_ok=True)
        if card is not None:
            files.write_text(temporary / CARD, card)
        lineage.write(temporary, lineage.ADAPTER, base, provenance)


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds a full checkpoint; else it is an adapter."""
    return (folder / "config.json").is_file()


def is_weights(path: Path) -> bool:
    """Whether a path is a full checkpoint or a sparse delta (a file), which `ssn_hf` takes as `checkpoint=`; else it is an adapter."""
    return path.is_file() or is_checkpoint(path)


def refuse_other_base(folder: Path, live: ModelRef) -> None:
    """Stop if an adapter was not trained on this model.

    An adapter without our `ssn.json` (any PEFT adapter) is left to PEFT's own shape checks.

    Raises:
        MissingInputError: there is no adapter in the folder.
        MismatchError: the adapter belongs to another model.
    """
    if not (folder / ADAPTER_CONFIG).is_file():
        raise MissingInputError(f"No adapter in {folder}: it holds no {ADAPTER_CONFIG}.")
    for base in lineage.bases(folder)[:1]:
        base.refuse_other(live, f"The adapter {folder.name}")


def load_adapter(model: PreTrainedModel, folder: Path, live: ModelRef, *, other_weights: bool = False) -> PeftModel:
    """Put a saved adapter on its base model, or with `other_weights` on another model of the same shape.

    Raises:
        MissingInputError, MismatchError, FormatError: no adapter there, another base, or damaged files.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not other_weights:
        refuse_other_base(folder, live)
    if not (folder / WEIGHTS).is_file():
        raise MissingInputError(f"No adapter weights in {folder}: it holds no {WEIGHTS}; pickles are not read.")
    try:
        _refuse_missing_modules(model, folder, live)
        with quiet():
            return PeftModel.from_pretrained(model, str(folder))
    except SafetensorError as error:
        raise FormatError(f"The adapter in {folder} is damaged: {error}.") from error
    except (RuntimeError, ValueError, AttributeError) as error:
        first = str(error).strip().split("\n")[0]
        raise MismatchError(f"The adapter in {folder} does not fit {live.id}: {first}") from error


def _refuse_missing_modules(model: PreTrainedModel, folder: Path, live: ModelRef) -> None:
    """Stop if the model lacks modules of the adapter; PEFT would leave them out without a message."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as tensors:
        names = [name for name in tensors.keys() if ".lora_" in name]  # noqa: SIM118
    modules = {without_wrappers(name.removeprefix("base_model.model.").partition(".lora_")[0]) for name in names}
    missing = sorted(modules - {name for name, _ in model.named_modules()})
    if missing:
        raise MismatchError(
            f"The adapter in {folder} changes {missing[0]!r}, which {live.id} ({live.model_type}) does not have; "
            f"{len(missing)} of its {len(modules)} modules are missing. Use the model that it was trained on."
        )
