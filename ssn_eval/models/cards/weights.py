"""The card of trained weights, adapter or whole checkpoint: made from `ssn.json` beside them, and from nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ssn_eval.core.neurons import NeuronSet, site_kind
from ssn_eval.core.origin import ModelRef
from ssn_eval.models.cards.filling import filled, origin

_WAYS = {
    "neurons": "neuron-LoRA: only the rows and columns of chosen neurons",
    "mask": "gradients masked to the rows and columns of chosen neurons",
    "lora": "an ordinary LoRA",
    "full": "every weight",
}
"""as `methods.Weights`"""


def weights_card(base: ModelRef, provenance: Mapping[str, Any], *, is_adapter: bool) -> str:
    """The README.md of a folder of trained weights.

    Args:
        base: the model that was trained.
        provenance: as in `ssn.json`; what it does not say is left out of the card.
        is_adapter: a PEFT adapter, or else a whole model.
    """
    from huggingface_hub import ModelCardData

    training = provenance.get("training", {})
    pairs: Mapping[str, Mapping[str, int]] = training.get("pairs", {})
    neurons = NeuronSet.from_keys(provenance.get("neurons", {}))
    about = origin(base)
    kind = "adapter" if is_adapter else "finetune"
    front = ModelCardData(
        base_model=about["hub"],
        base_model_relation=kind if about["hub"] else None,
        language=list(pairs) or None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["ssn-eval", "safety", "safety-neurons", "multilingual", *(["lora"] if is_adapter else [])],
    )
    method = training.get("method", {})
    name = str(provenance.get("method", ""))
    facts = {
        "base": about,
        "is_adapter": is_adapter,
        "untrained": bool(provenance.get("untrained")),
        "method": name,
        "way": _WAYS.get(str(method.get("weights")), ""),
        "loss": method.get("loss", ""),
        "control": "random" in name or "random" in str(provenance.get("set", "")),
        "neurons": len(neurons),
        "per_site": dict(Counter(site_kind(neuron.site) for neuron in neurons)),
        "set": provenance.get("neuron_set", {}),
        "training": training,
        "pairs": pairs,
        "settings": training.get("settings", {}),
        "left_out": training.get("settings", {}).get("leave_out", []),
        "inputs": provenance.get("inputs", {}),
        "seed": provenance.get("seed"),
        "versions": provenance.get("versions", {}),
    }
    return filled("weights.md.jinja", front, facts)
