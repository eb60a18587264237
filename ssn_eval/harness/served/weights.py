"""The plain weights that a condition needs: the model's own, a folder in the cache (`core/cache.py`), or a LoRA beside them.

An intervention acts on base and adapter together, as in `ssn_hf`. So an adapter beside interventions is merged first, and then
the interventions are baked.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssn_eval.core import cache, files
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.origin import ModelRef, versions
from ssn_eval.harness.arguments import Checkpoint, Treatment
from ssn_eval.harness.served import lora
from ssn_eval.interventions import ops
from ssn_eval.interventions.weights import bake_all
from ssn_eval.models import deltas, lineage, loading, saving
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG, load_adapter
from ssn_eval.training.adapters.neuron_lora import merge
from ssn_eval.training.adapters.uniform import uniform_rank

FORMAT = "ssn-cached-weights/1"
_SMALL = (".json", ".jinja", ".txt", ".model")
"""endings of the files beside weights that belong to a model: config, tokenizer, chat template"""
_INDEX = ".index.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Condition:
    """A model and everything that changes its weights."""

    spec: ModelSpec
    """located; its dtype is the one that the weights are computed in"""
    ref: ModelRef
    treatment: Treatment = Treatment()
    checkpoint: Checkpoint | None = None
    adapter: Path | None = None
    other_model: bool = False
    trust_remote_code: bool = False

    @property
    def is_intervened(self) -> bool:
        """Whether an intervention changes anything; `op=none` does not."""
        return bool(self.treatment.identity())


@dataclass(frozen=True)
class Served:
    """What vLLM gets for a condition."""

    model: str
    """a folder or a hub id"""
    revision: str | None
    way: str
    """`as it is`, `checkpoint`, `cached` (interventions, a delta or an adapter written into weights), or `lora`"""
    lora: Path | None = None
    rank: int = 0
    """of the LoRA, as vLLM reserves it"""

    @property
    def is_cached(self) -> bool:
        """Whether the weights lie in the cache."""
        return self.way == "cached"


def refuse_unservable(condition: Condition) -> None:
    """Stop if the condition cannot be written into weights; nothing is loaded.

    Raises:
        ParamsError: says why, and names `ssn_hf`.
    """
    for intervention in condition.treatment.interventions:
        if condition.is_intervened and intervention.positions != "all":
            raise unservable(f"weights act on every token, and positions={intervention.positions} was asked for")
    method = quantization(condition.spec)
    if method and (condition.is_intervened or (condition.checkpoint and condition.checkpoint.delta)):
        raise unservable(f"the weights are quantised ({method}), so single rows and columns cannot be changed")


def unservable(reason: str) -> ParamsError:
    """The error for a condition that vLLM cannot serve."""
    return ParamsError(
        f"vLLM runs plain weights, and this condition cannot be written into them: {reason}; use --model ssn_hf."
    )


def quantization(spec: ModelSpec) -> str | None:
    """The method by which a model's weights are quantised on disk; None for plain weights. GGUF files are dequantised here."""
    if spec.gguf_file:
        return None
    settings = getattr(loading.config_of(spec)[0], "quantization_config", None)
    if settings is None:
        return None
    found = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    return str(getattr(found, "value", found) or "unknown method")


def serve(condition: Condition, ranks: Sequence[int], *, merge_adapter: bool = False, suffix: str = "") -> Served:
    """Make what vLLM needs for a condition, or find it in the cache.

    Args:
        condition: one that `refuse_unservable` has let pass.
        ranks: the ranks of LoRA that the engine takes; empty if it takes none.
        merge_adapter: merge an adapter in any case.
        suffix: ends the name in the cache; for an entry that no other process uses.

    Raises:
        SsnError: an input is damaged, or the weights cannot express the condition.
    """
    spec, checkpoint = condition.spec, condition.checkpoint
    if condition.adapter is not None and not condition.is_intervened and not merge_adapter:
        reason = lora.refusal(condition.adapter, ranks) if ranks else "this engine takes none"
        if reason is None:
            return _beside(condition, ranks)
        if method := quantization(spec):
            raise unservable(f"the weights are quantised ({method}), and the adapter cannot stay beside them: {reason}")
        logger.warning("ssn_vllm: the adapter is merged: %s.", reason)
    if not condition.is_intervened and condition.adapter is None and not spec.gguf_file:
        if checkpoint is None:
            return Served(spec.pretrained, spec.revision, "as it is")
        if checkpoint.delta is None:
            return Served(str(checkpoint.path.resolve()), None, "checkpoint")
    place = cache.once(name_of(condition) + suffix, lambda path: _write(condition, path), logger.warning)
    return Served(str(place), None, "cached")


def name_of(condition: Condition) -> str:
    """The name of a condition's folder in the cache: the model's name, the op, and a hash of everything that decides the weights."""
    checkpoint, spec = condition.checkpoint, condition.spec
    parts = {
        "format": FORMAT,
        "weights": condition.ref.weights,
        "model": _small_files(loading.snapshot(spec)),
        "gguf": spec.gguf_file,
        "dtype": spec.dtype,
        "changes": condition.treatment.identity(),
        "checkpoint": checkpoint.identity() if checkpoint else None,
        "adapter": _adapter_hash(condition.adapter),
        "versions": {name: version for name, version in versions().items() if name in ("ssn-eval", "transformers")},
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
    changes = [condition.treatment.op] if condition.treatment.interventions else []
    changes += ["delta" if checkpoint.delta else "checkpoint"] if checkpoint else []
    changes += ["adapter"] if condition.adapter else []
    return _portable(f"{Path(condition.ref.id).name}-{'-'.join(changes) or 'plain'}", digest)


def _portable(text: str, digest: str) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
    return f"{kept.lstrip('.')[:100]}-{digest}"


def _small_files(folder: Path) -> dict[str, str]:
    """Hashes of the files beside the weights."""
    paths = (p for p in folder.iterdir() if p.suffix in _SMALL and not p.name.endswith(_INDEX) and p.is_file())
    return {path.name: files.sha256(path) for path in sorted(paths)}


def _adapter_hash(folder: Path | None) -> str | None:
    return None if folder is None else files.sha256(folder)


def _beside(condition: Condition, ranks: Sequence[int]) -> Served:
    """The model as it is and the adapter as a LoRA; one with several ranks is padded to one, in the cache."""
    spec, adapter = condition.spec, condition.adapter
    assert adapter is not None
    config = files.read_json(adapter / ADAPTER_CONFIG, "an adapter's configuration")
    rank, folder = lora.rank_of(adapter), adapter
    if not lora.is_plain(config):
        name = _portable(f"{adapter.name}-lora", files.sha256(adapter)[:20])
        folder = cache.once(name, lambda path: uniform_rank(adapter, path), logger.warning)
        rank = lora.rank_of(folder)
    return Served(spec.pretrained, spec.revision, "lora", folder, next(each for each in ranks if each >= rank))


def _write(condition: Condition, place: Path) -> None:
    """Write the condition's weights as an ordinary folder; all memory is given back."""
    checkpoint, treatment = condition.checkpoint, condition.treatment
    logger.warning("ssn_vllm: writing the weights of this condition to %s (once; `ssn cache` clears it).", place)
    loaded = loading.load(_spec_of(condition), device="cpu", trust_remote_code=condition.trust_remote_code)
    model: Any = loaded.model
    if checkpoint is not None and checkpoint.delta is not None:
        deltas.apply(model, checkpoint.delta)
    if condition.adapter is not None:
        model = merge(load_adapter(model, condition.adapter, condition.ref, other_weights=condition.other_model))
    try:
        bake_all(model, treatment.interventions, treatment.reference)
    except ParamsError as error:
        raise unservable(str(error).split(";")[0].rstrip(".")) from error
    origin = {
        "interventions": ops.describe_all(treatment.interventions),
        "sets": [dict(file.provenance) for file in treatment.sets],
        "reference": dict(treatment.reference.provenance) if treatment.reference else None,
        "adapter": condition.adapter.name if condition.adapter else None,
        "checkpoint": checkpoint.path.name if checkpoint else None,
        "versions": versions(),
    }
    saved = Loaded(model, loaded.tokenizer, condition.ref)
    saving.write(saved, place, lineage.BAKED, origin, lineage.bases(Path(condition.spec.pretrained)))
    del loaded, model, saved
    gc.collect()


def _spec_of(condition: Condition) -> ModelSpec:
    """The spec of the weights that are changed: those of a full checkpoint if there is one."""
    checkpoint = condition.checkpoint
    if checkpoint is None or checkpoint.delta is not None:
        return condition.spec
    return replace(condition.spec, pretrained=str(checkpoint.path), revision=None, gguf_file=None)


def own_dtype(spec: ModelSpec) -> str:
    """The dtype in which transformers would load the model: vLLM makes bfloat16 of float32 otherwise. Quantised weights keep `auto`."""
    if spec.dtype != "auto" or quantization(spec):
        return spec.dtype
    config, _ = loading.config_of(spec)
    return str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
