"""Tiny models from the default configs of transformers: every size in `sizes.json` replaces the one of that name."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import CONFIG_MAPPING
from transformers.models.auto import modeling_auto

SIZES = json.loads((Path(__file__).parent / "sizes.json").read_text(encoding="utf-8"))
LAYERS = SIZES["text"]["num_hidden_layers"]
LARGEST = 60_000_000
"""parameters of a model that is still built"""
LEFT_OUT = "left out"
_MAPPINGS = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")
_KEPT = {"model_type", "transformers_version", "architectures", "dtype", "_name_or_path", "id2label", "label2id"}
_TEXTUAL = ("text_config", "language_config", "llm_config", "thinker_config", "decoder", "text_encoder")
_NOT_TEXTUAL = (
    "vision",
    "audio",
    "visual",
    "vq",
    "vae",
    "projector",
    "qformer",
    "perceiver",
    "speech",
    "video",
    "encoder",
)
_MAY_BE_ZERO = {"num_kv_shared_layers", "first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"}
_PER_LAYER = {"layer_types", "layers_block_type", "mlp_layer_types", "layer_type", "hybrid_override_pattern"}
_WITHOUT_TIMM = {
    "Gemma3nForConditionalGeneration",
    "FastVlmForConditionalGeneration",
    "PerceptionLMForConditionalGeneration",
}
_SHARP = {"gemma3n": 0.4, "gemma4": 0.4}
"""their attention has no 1/√d: the trained norms of queries and keys do its work, and norms of 1 would saturate every head"""
_SURE = 4.0
"""routers are as sure as trained ones; else the smallest change sends a token to another expert, a step that no derivative sees"""
TOO_LARGE = {"kimi_linear": "its recurrence on a CPU needs more than 8 GB for a few tokens"}
"""types that are not tried, with the reason"""


def pairs() -> list[tuple[str, str]]:
    """Every (model type, class) that transformers has for text."""
    found: dict[tuple[str, str], None] = {}
    for mapping in _MAPPINGS:
        for kind, names in getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").items():
            for name in [names] if isinstance(names, str) else names:
                found[kind, name] = None
    return list(found)


def build(kind: str, class_name: str, seed: int = 0, gain: float = 1.2) -> Any:
    """A tiny model in eval mode whose weights carry signal; a head width is added where the config needs one.

    Args:
        kind: the model type.
        class_name: a class of transformers.
        seed: of the weights.
        gain: size of the weights, relative to what keeps the size of activations.
    """
    try:
        return _build(kind, class_name, seed, gain, with_head=False)
    except Exception as error:
        try:
            return _build(kind, class_name, seed, gain, with_head=True)
        except Exception:  # noqa: BLE001  # the first error is the one that says more
            raise error from None


def _build(kind: str, class_name: str, seed: int, gain: float, *, with_head: bool) -> Any:
    config_class = CONFIG_MAPPING[kind]
    sizes = shrunk(config_class, config_class(), SIZES["text"], with_head=with_head)
    try:
        config: Any = config_class(**sizes)
    except Exception:  # noqa: BLE001  # a list with an entry a layer that cannot be guessed: let the class make it
        config = config_class(**{k: v for k, v in sizes.items() if not isinstance(v, list)})
    if kind in SIZES["decoder flag"]:
        config.is_decoder = True
    model_class = getattr(transformers, class_name)
    if class_name in _WITHOUT_TIMM:
        _leave_out_timm(model_class)
    if (getattr(config_class, "sub_configs", None) or {}).get("text_config") is model_class.config_class:
        config = config.get_text_config()  # as AutoModelForCausalLM does
    with torch.device("meta"):
        count = sum(p.numel() for p in model_class._from_config(config).parameters())
    if count > LARGEST:
        raise RuntimeError(f"{count / 1e6:.0f} million parameters, even in its smallest form")
    torch.manual_seed(seed)
    model = model_class._from_config(copy.deepcopy(config), attn_implementation="eager").float().eval()
    draw_weights(model, gain)
    return model


def shrunk(
    config_class: Any, default: Any, sizes: dict[str, Any], *, with_head: bool, path: str = ""
) -> dict[str, Any]:
    """Keyword arguments of a small config."""
    kw: dict[str, Any] = {}
    nested = _nested(config_class, default, path, with_head=with_head)
    for key, value in default.to_dict().items():
        if key in nested or key in _KEPT:
            continue
        small: Any = sizes.get(key)
        if key in sizes and value is not None and not isinstance(value, list | dict):
            if isinstance(value, bool) and not isinstance(small, bool):
                continue
            is_number = isinstance(value, int | float) and not isinstance(small, bool)
            kw[key] = 0 if key in _MAY_BE_ZERO and value == 0 else type(value)(small) if is_number else small
            if key == "hidden_size_per_layer_input" and not value:
                kw[key] = value
        elif key in sizes and value is None:
            if key in ("n_inner", "intermediate_size") or (
                with_head and key in ("head_dim", "num_key_value_heads", "q_lora_rank")
            ):
                kw[key] = small
        elif key in ("rope_parameters", "rope_scaling") and isinstance(value, dict) and "mrope_section" in value:
            partial = value.get("partial_rotary_factor", getattr(default, "partial_rotary_factor", 1.0) or 1.0)
            half = int(8 * partial) // 2
            third = max(half // 3, 1)
            sections = [half - 2 * third, third, third] if half > 2 else [1, 1, 0][: len(value["mrope_section"])]
            kw[key] = value | {"mrope_section": sections}
        elif isinstance(value, list) and value and (key in _PER_LAYER or _has_layers(default, value)):
            kw[key] = _period(value, sizes.get("num_hidden_layers", 1))
    kw |= nested
    own = SIZES["types"].get(path + config_class.model_type) or SIZES["types"].get(config_class.model_type) or {}
    for key, value in own.items():
        if value == LEFT_OUT:
            kw.pop(key, None)
        elif isinstance(value, dict) and isinstance(kw.get(key), dict):
            kw[key] = kw[key] | value
        else:
            kw[key] = value
    return kw


def _nested(config_class: Any, default: Any, path: str, *, with_head: bool) -> dict[str, Any]:
    """The small sub-configs of a config, such as `text_config` and `vision_config`."""
    names = list(getattr(config_class, "sub_configs", None) or {})
    names += [k for k, v in vars(default).items() if isinstance(v, transformers.PreTrainedConfig) and k not in names]
    nested = {}
    for name in names:
        sub = getattr(default, name, None)
        if isinstance(sub, dict):
            sub = CONFIG_MAPPING[sub["model_type"]]() if sub.get("model_type") in CONFIG_MAPPING else None
        if sub is None:
            continue
        textual = name in _TEXTUAL or not any(word in name for word in _NOT_TEXTUAL)
        try:
            inner = type(sub)() if type(sub) is not transformers.PreTrainedConfig else sub
        except Exception:  # noqa: BLE001  # a config that needs arguments is its own default
            inner = sub
        sizes = SIZES["text" if textual else "other"]
        nested[name] = shrunk(type(sub), inner, sizes, with_head=with_head, path=f"{path}{name}.")
        nested[name]["model_type"] = sub.model_type
    return nested


def _has_layers(default: Any, value: list[Any]) -> bool:
    return len(value) == getattr(default, "num_hidden_layers", -1)


def _period(values: list[Any], count: int) -> list[Any]:
    """A short list that holds every kind of the long one."""
    kinds = list(dict.fromkeys(values)) if all(isinstance(v, str | int | bool) for v in values) else []
    short = list(values[:count])
    for i, missing in enumerate(k for k in kinds if k not in short):
        short[(count - 1 - i) % count] = missing
    return short


def _leave_out_timm(model_class: Any) -> None:
    """Put nothing in the place of a vision tower of the library timm; text does not need it."""
    module: Any = sys.modules[model_class.__module__]
    real = module.AutoModel

    class WithoutTimm:
        @staticmethod
        def from_config(*args: Any, **kwargs: Any) -> Any:
            try:
                return real.from_config(*args, **kwargs)
            except ImportError:
                return nn.Identity()

    module.AutoModel = WithoutTimm


def draw_weights(model: Any, gain: float) -> None:
    """Weights that carry signal: with the usual small ones no effect would be seen."""
    generator = torch.Generator().manual_seed(1)
    scale = _SHARP.get(str(model.config.model_type).removesuffix("_text"), 1.0)
    seen: set[int] = set()

    def draw(parameter: torch.Tensor, size: float) -> None:
        if id(parameter) not in seen:
            seen.add(id(parameter))
            if parameter.ndim == 2 and parameter.shape[0] == SIZES["text"]["num_experts"]:
                size *= _SURE
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)

    with torch.no_grad():
        for place, module in model.named_modules():
            kind = type(module).__name__
            weight: Any = getattr(module, "weight", None)
            is_matrix = isinstance(weight, nn.Parameter) and weight.ndim == 2
            if is_matrix and (isinstance(module, nn.Linear) or kind == "Conv1D" or kind.endswith("Linear")):
                draw(weight, gain / math.sqrt(weight.shape[0 if kind == "Conv1D" else 1]))
                if getattr(module, "bias", None) is not None:
                    draw(module.bias, 0.1)  # type: ignore[arg-type]
            elif isinstance(module, nn.Embedding):
                draw(module.weight, 1.0)
            else:
                for name, parameter in module.named_parameters(recurse=False):
                    is_conv = "conv" in name.lower() or isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
                    if parameter.ndim == 3 and not is_conv:
                        draw(parameter, gain / math.sqrt(min(parameter.shape[1:])))
                    elif parameter.ndim == 1 and name == "weight" and "norm" in kind.lower():
                        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
                        if place.endswith(("q_norm", "k_norm")):
                            parameter.mul_(scale)
                    elif not torch.isfinite(parameter).all() or (parameter.ndim == 2 and name.endswith("bias")):
                        draw(parameter, 0.1)
