"""An adapter whose modules all have one rank, padded with zeros, as LoRA servers such as vLLM need it.

A neuron-LoRA has in each module the rank |R|, the number of its rows or columns. Servers read one `r` and one
`lora_alpha` and ignore patterns. With r = alpha = the largest rank, rounded up to a power of two (8 at least, as servers
reserve it), the scaling stays exactly 1, and rows of zeros beside columns of zeros add nothing: the same function. Keep the
unpadded adapter for training, because training would change the padding too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG, WEIGHTS

SMALLEST = 8


def uniform_rank(folder: Path, out: Path) -> int:
    """Write an adapter again, to `out`, with one rank for all of its modules; returns that rank.

    Raises:
        MissingInputError, FormatError: no adapter in safetensors there, or a damaged one.
        ParamsError: it scales its modules by other factors than 1, so one rank would not be the same function.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file
    from torch.nn.functional import pad

    config: Any = files.read_json(folder / ADAPTER_CONFIG, "an adapter's configuration")
    if not (folder / WEIGHTS).is_file():
        raise MissingInputError(f"No adapter weights in {folder}: it holds no {WEIGHTS}; pickles are not read.")
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise FormatError(f"The adapter in {folder} is damaged: {error}.") from error
    _refuse_scaled(folder, config)
    largest = max((t.shape[0] for name, t in tensors.items() if ".lora_A." in name), default=0)
    if not largest:
        raise FormatError(f"The adapter in {folder} holds no LoRA matrices.")
    rank = max(SMALLEST, 1 << (largest - 1).bit_length())
    padded = {}
    for name, tensor in tensors.items():
        missing = rank - tensor.shape[0 if ".lora_A." in name else 1]
        padded[name] = pad(tensor, (0, 0, 0, missing) if ".lora_A." in name else (0, missing)).contiguous()
    config |= {"r": rank, "lora_alpha": rank, "rank_pattern": {}, "alpha_pattern": {}}
    with files.atomic(out) as temporary:
        temporary.mkdir()
        save_file(padded, temporary / WEIGHTS, metadata={"format": "pt"})
        files.write_json(temporary / ADAPTER_CONFIG, config)
        for extra in (p for p in folder.iterdir() if p.is_file() and p.name not in (ADAPTER_CONFIG, WEIGHTS)):
            (temporary / extra.name).write_bytes(extra.read_bytes())
    return rank


def _refuse_scaled(folder: Path, config: dict[str, Any]) -> None:
    if config.get("target_parameters"):
        raise ParamsError(
            f"The adapter in {folder} trains weights of a model with experts ({str(config['target_parameters'])[:80]}), which "
            f"LoRA servers do not take; merge it into the model instead (`ssn merge`)."
        )
    ranks, alphas = dict(config.get("rank_pattern") or {}), dict(config.get("alpha_pattern") or {})
    default = (config.get("r"), config.get("lora_alpha"))
    scaled = any(ranks.get(name, default[0]) != alphas.get(name, default[1]) for name in {*ranks, *alphas})
    if (
        scaled
        or default[0] != default[1]
        or any(config.get(name) for name in ("use_rslora", "use_dora", "modules_to_save"))
    ):
        raise ParamsError(
            f"The adapter in {folder} is no neuron-LoRA: it scales what it adds, or has more than LoRA matrices; only adapters "
            f"with alpha = rank everywhere can be padded to one rank."
        )
