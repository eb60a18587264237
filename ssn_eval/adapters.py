"""Neuron-LoRA: fine-tune chosen neurons only, as an ordinary PEFT LoRA adapter (METHOD.md, section 3).

A masked update that touches only the rows R of W is `ΔW = E_R · A`: a LoRA whose `lora_B` is the fixed one-hot `E_R`
(out × |R|) and whose `lora_A` (|R| × in, zero at start) is trained. For columns C, `lora_A` is the fixed one-hot and `lora_B`
(zero at start) is trained. With `rank_pattern` = `alpha_pattern` = |R| the scaling is exactly 1. So any tool that loads
LoRA loads these, and merging changes only the chosen rows and columns. Biases are not trained.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval import files
from ssn_eval.architectures import geometry, is_transposed, resolve
from ssn_eval.errors import ArchitectureError, EmptySetError, FormatError, MismatchError, MissingInputError
from ssn_eval.neurons import NeuronSet
from ssn_eval.store import ModelRef

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

PROVENANCE = "ssn.json"


def build(model: PreTrainedModel, neurons: NeuronSet) -> PeftModel:
    """Wrap a model so that exactly the weights of `neurons` can be trained; its outputs are unchanged at first.

    Raises:
        EmptySetError: the set is empty.
        MismatchError: a neuron lies outside the model.
        ArchitectureError: the model's sites are not known, or a neuron belongs to a routed expert.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    if not neurons:
        raise EmptySetError("No adapter for an empty neuron set; use a larger p.")
    geometry(model).check(neurons)
    rows, columns = _by_weight(model, neurons)
    ranks = {name: len(indices) for name, indices in (rows | columns).items()}
    bare = dict(model.named_modules())
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=1,
        lora_alpha=1,
        target_modules=sorted(ranks),
        rank_pattern=ranks,
        alpha_pattern=ranks,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=all(is_transposed(bare[name]) for name in ranks),
    )
    wrapped = get_peft_model(model, config)
    base: Any = wrapped.base_model.model
    modules: dict[str, Any] = dict(base.named_modules())
    with torch.no_grad():
        for name, indices in (rows | columns).items():
            lora_a, lora_b = modules[name].lora_A["default"].weight, modules[name].lora_B["default"].weight
            fixed, trained = (lora_b, lora_a) if name in rows else (lora_a.T, lora_b)
            fixed.zero_()
            fixed[indices, torch.arange(len(indices))] = 1.0
            trained.zero_()
            (lora_b if name in rows else lora_a).requires_grad_(False)
    return wrapped


def trainable_parameters(model: PeftModel) -> tuple[int, int]:
    """`(trained, all of the base model's)` parameters."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    base = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    return trained, base


def save(model: PeftModel, folder: Path, base: ModelRef, provenance: Mapping[str, Any]) -> None:
    """Save as a standard adapter folder plus `ssn.json`, which says what it was trained on and how.

    Equal adapters give equal bytes: PEFT keeps target modules in a set, so they are sorted here.
    """
    with files.atomic(folder) as temporary:
        model.peft_config["default"].base_model_name_or_path = base.id
        model.save_pretrained(str(temporary), safe_serialization=True)
        config_path = temporary / "adapter_config.json"
        config = json.loads(config_path.read_text(encoding="utf-8"))
        config["target_modules"] = sorted(config["target_modules"])
        files.write_json(config_path, config)
        (temporary / "README.md").unlink(missing_ok=True)
        files.write_json(
            temporary / PROVENANCE, {"format": "ssn-adapter/1", "model": base.to_json(), "provenance": dict(provenance)}
        )


def refuse_other_base(folder: Path, live: ModelRef) -> None:
    """Stop where an adapter is about to be put on a model that it was not trained on.

    An adapter without our `ssn.json` (any PEFT adapter) is left to PEFT's own shape checks.

    Raises:
        MissingInputError: there is no adapter in the folder.
        MismatchError: the adapter belongs to another model.
    """
    if not (folder / "adapter_config.json").is_file():
        raise MissingInputError(f"No adapter in {folder}: it holds no adapter_config.json.")
    if (folder / PROVENANCE).is_file():
        data = files.read_json(folder / PROVENANCE, "an adapter's provenance")
        if not isinstance(data, Mapping):
            raise FormatError(f"{folder / PROVENANCE} is not an adapter's provenance.")
        ModelRef.from_json(data.get("model", {})).refuse_other(live, f"The adapter {folder.name}")


def load(model: PreTrainedModel, folder: Path, live: ModelRef, *, other_weights: bool = False) -> PeftModel:
    """Put a saved adapter on its base model, or with `other_weights` on another model of the same shape.

    Raises:
        MissingInputError, MismatchError, FormatError: no adapter there, another base, or damaged files.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not other_weights:
        refuse_other_base(folder, live)
    if not (folder / "adapter_model.safetensors").is_file():
        raise MissingInputError(
            f"No adapter weights in {folder}: it holds no adapter_model.safetensors; pickles are not read."
        )
    try:
        return PeftModel.from_pretrained(model, str(folder))
    except SafetensorError as error:
        raise FormatError(f"The adapter in {folder} is damaged: {error}.") from error
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise MismatchError(f"The adapter in {folder} does not fit {live.id}: {first}") from error


def _by_weight(model: PreTrainedModel, neurons: NeuronSet) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Weight name → the rows, and weight name → the columns, that the neurons own."""
    rows: dict[str, list[int]] = {}
    columns: dict[str, list[int]] = {}
    sites = resolve(model)
    for key, indices in neurons.by_key().items():
        if sites[key].expert is not None:
            raise ArchitectureError(
                f"{key} is a routed expert, whose weights are slices of one stacked tensor that LoRA cannot train row by row; "
                f"train the attention neurons of this model (sites: attention)."
            )
        for owned in sites[key].owned:
            weights = rows if owned.side == "output" else columns
            weights.setdefault(owned.name, []).extend(owned.of(indices))
    return rows, columns
