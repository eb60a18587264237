"""Save a model with neurons suppressed or scaled for good: an ordinary model folder that needs none of this project."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval import files, interventions
from ssn_eval.errors import ParamsError
from ssn_eval.interventions import Op
from ssn_eval.models import Loaded
from ssn_eval.neurons import NeuronSet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROVENANCE = "ssn.json"


def save(loaded: Loaded, neurons: NeuronSet, op: Op, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Bake `op` into the loaded model, in place, and save it with its tokenizer and `ssn.json`, which says what it is.

    Raises:
        ParamsError: the weights are quantized, so that single rows and columns cannot be scaled.
        as `interventions.bake`.
    """
    model = _serializable(loaded.model)
    interventions.bake(model, neurons, op)
    made = {"intervention": interventions.describe(neurons, op), **provenance}
    with files.atomic(folder) as temporary:
        model.save_pretrained(str(temporary), safe_serialization=True)
        loaded.tokenizer.save_pretrained(str(temporary))
        value = {"format": "ssn-baked/1", "base": loaded.ref.to_json(), "provenance": made}
        files.write_json(temporary / PROVENANCE, value)


def _serializable(model: PreTrainedModel) -> PreTrainedModel:
    """The model, or, where it was read from GGUF and so refuses to be saved, a plain one with its config and weights."""
    from transformers import AutoModelForCausalLM

    quantized = getattr(model.config, "quantization_config", None)
    if quantized is None:
        return model
    method = getattr(quantized, "quant_method", None)
    if method != "gguf":
        raise ParamsError(
            f"The weights are quantized ({method}), so nothing can be baked into them; load plain weights."
        )
    config: Any = copy.deepcopy(model.config)
    del config.quantization_config
    plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain.eval()
