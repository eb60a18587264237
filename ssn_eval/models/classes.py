"""The auto class that loads a model for text: the one for causal models, or, where a wrapper has no causal class, the one for images and text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def auto_class(config: PreTrainedConfig) -> Any:
    """The class of transformers whose `from_pretrained` gives a model that reads and writes text.

    A config of remote code, or of a type without any such class, gets the causal class, whose error names the type.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    mappings = (
        ("MODEL_FOR_CAUSAL_LM_MAPPING", "AutoModelForCausalLM"),
        ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", "AutoModelForImageTextToText"),
        ("MODEL_FOR_MULTIMODAL_LM_MAPPING", "AutoModelForMultimodalLM"),
    )
    if "AutoModelForCausalLM" not in (getattr(config, "auto_map", None) or {}):
        for mapping, name in mappings:
            if type(config) in (getattr(modeling_auto, mapping, None) or {}):
                return getattr(transformers, name)
    return transformers.AutoModelForCausalLM
