"""Save a model with neurons suppressed or scaled for good: an ordinary model folder that needs none of this project."""

from __future__ import annotations

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
    model = loaded.model
    _refuse_quantized(model)
    interventions.bake(model, neurons, op)
    made = {"intervention": interventions.describe(neurons, op), **provenance}
    with files.atomic(folder) as temporary:
        model.save_pretrained(str(temporary), safe_serialization=True)
        loaded.tokenizer.save_pretrained(str(temporary))
        value = {"format": "ssn-baked/1", "base": loaded.ref.to_json(), "provenance": made}
        files.write_json(temporary / PROVENANCE, value)


def _refuse_quantized(model: PreTrainedModel) -> None:
    """A model read from GGUF is plain once it is loaded; others keep weights that cannot be scaled one by one."""
    quantized = getattr(model.config, "quantization_config", None)
    if quantized is not None:
        method = getattr(quantized, "quant_method", quantized)
        raise ParamsError(
            f"The weights are quantized ({method}), so nothing can be baked into them; load plain weights."
        )
