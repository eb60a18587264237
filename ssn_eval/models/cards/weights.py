"""The card of trained weights, an adapter or a whole checkpoint. All its facts come from `ssn.json` beside the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ssn_eval.core.neurons import NeuronSet, site_kind
from ssn_eval.core.origin import ModelRef
from ssn_eval.models.cards.filling import filled, origin

_WEIGHTS_TEXTS = {
    "neurons": "neuron-LoRA: only the rows and columns of chosen neurons",
    "mask": "gradients masked to the rows and columns of chosen neurons",
    "tied": "neuron-LoRA in which the chosen neurons of a cluster share one update",
    "complement": "every weight but the rows and columns of chosen neurons",
    "lora": "an ordinary LoRA",
    "full": "every weight",
}
"""the keys are those of `methods.Weights`"""


def weights_card(base: ModelRef, provenance: Mapping[str, Any], *, is_adapter: bool) -> str:
    """The README.md of a folder of trained weights.

    Args:
        base: the model that was trained.
        provenance: the provenance in `ssn.json`; facts that it lacks are left out of the card.
        is_adapter: True for a PEFT adapter, False for a whole model.
    """
    from huggingface_hub import ModelCardData

    training = provenance.get("training", {})
    pairs: Mapping[str, Mapping[str, int]] = training.get("pairs", {})
    neurons = NeuronSet.from_keys(provenance.get("neurons", {}))
    base_facts = origin(base)
    relation = "adapter" if is_adapter else "finetune"
    front_matter = ModelCardData(
        base_model=base_facts["hub"],
        base_model_relation=relation if base_facts["hub"] else None,
        language=list(pairs) or None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["ssn-eval", "safety", "safety-neurons", "multilingual", *(["lora"] if is_adapter else [])],
    )
    method = training.get("method", {})
    method_name = str(provenance.get("method", ""))
    facts = {
        "base": base_facts,
        "is_adapter": is_adapter,
        "untrained": bool(provenance.get("untrained")),
        "method": method_name,
        "weights_text": _WEIGHTS_TEXTS.get(str(method.get("weights")), ""),
        "loss": method.get("loss", ""),
        "control": "random" in method_name or "random" in str(provenance.get("set", "")),
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
    return filled("weights.md.jinja", front_matter, facts)
