"""Whether vLLM can serve an adapter beside its base as a LoRA, and at which rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG, WEIGHTS

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""the modules on which every decoder of vLLM that takes LoRA takes it"""
_BEYOND_LORA = ("use_dora", "use_rslora", "modules_to_save", "fan_in_fan_out", "lora_bias", "layer_replication")


def refusal(folder: Path, ranks: Sequence[int]) -> str | None:
    """Why vLLM cannot serve an adapter as a LoRA, as the end of a sentence; None if it can.

    Args:
        folder: the adapter.
        ranks: the ranks that vLLM takes.

    Raises:
        SsnError: the adapter's configuration is missing or damaged.
    """
    config: Any = files.read_json(folder / ADAPTER_CONFIG, "an adapter's configuration")
    names = [key for key in _BEYOND_LORA if config.get(key)]
    if str(config.get("peft_type")) != "LORA" or config.get("bias", "none") != "none" or names:
        return f"it is more than a LoRA ({', '.join(names) or config.get('peft_type')})"
    if not is_plain(config) and not is_unscaled(config):
        return "its modules have several ranks, and are scaled"
    modules, rank = _contents(folder)
    others = sorted(name for name in modules if name.rpartition(".")[2] not in MODULES)
    if others:
        return f"it changes {others[0]}"
    if not any(rank <= allowed for allowed in ranks):
        return f"its rank is {rank}, and vLLM takes {max(ranks)}"
    return None


def rank_of(folder: Path) -> int:
    """The largest rank of an adapter's modules."""
    return _contents(folder)[1]


def is_plain(config: Any) -> bool:
    """Whether all modules have one rank and one scale, which vLLM reads as they are."""
    return not config.get("rank_pattern") and not config.get("alpha_pattern")


def is_unscaled(config: Any) -> bool:
    """Whether every module's scale is 1, as in a neuron-LoRA; such an adapter can be padded to one rank."""
    ranks, alphas = dict(config.get("rank_pattern") or {}), dict(config.get("alpha_pattern") or {})
    same = all(ranks.get(n, config.get("r")) == alphas.get(n, config.get("lora_alpha")) for n in {*ranks, *alphas})
    return same and config.get("r") == config.get("lora_alpha")


def _contents(folder: Path) -> tuple[set[str], int]:
    """The modules of an adapter, and the largest rank."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as tensors:
        names = list(tensors.keys())
        shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    modules = {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in names}
    return modules, max((shape[0] for name, shape in shapes.items() if ".lora_A." in name), default=0)
