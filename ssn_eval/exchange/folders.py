"""Folders and deltas for other tools: adapters, models with a set baked in, and the changes of trained weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.origin import versions
from ssn_eval.core.store import NeuronFile
from ssn_eval.core.tensors import refuse_other_ending
from ssn_eval.exchange import baking
from ssn_eval.interventions.ops import combine
from ssn_eval.models import deltas, lineage, loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG, load_adapter, save_adapter
from ssn_eval.training.adapters.neuron_lora import build, merge
from ssn_eval.training.adapters.uniform import uniform_rank


class DeltaSize(NamedTuple):
    """The size of a delta's changes."""

    base: str
    weights: int
    values: int


def write_baked(file: NeuronFile, spec: ModelSpec, op: str, source: Path, out: Path) -> None:
    """Write a model whose weights hold an intervention on the set.

    Args:
        file: the neuron set.
        spec: the model.
        op: the intervention, for example `suppress`.
        source: where the set lies, for messages.
        out: a folder; it is replaced only if an export wrote it.
    """
    changes = combine([file.neurons], [op])
    refuse_foreign(out, "exported model", Path(spec.pretrained))
    loaded = loading.load(spec)
    file.model.refuse_other(loaded.ref, str(source))
    origin = {"sets": [dict(file.provenance)], "versions": versions()}
    baking.save(loaded, changes, out, origin)


def write_adapter(file: NeuronFile, spec: ModelSpec, source: Path, out: Path, *, one_rank: bool) -> None:
    """Write an untrained neuron-LoRA of the set as a PEFT folder; with `one_rank`, padded to one rank in every module."""
    _refuse_other_than_adapter(out)
    loaded = loading.load(spec)
    file.model.refuse_other(loaded.ref, str(source))
    origin = {"untrained": True, **file.provenance}
    adapter = build(loaded.model, file.neurons)
    if not one_rank:
        save_adapter(adapter, out, loaded.ref, origin)
        return
    with tempfile.TemporaryDirectory() as scratch:
        own_ranks = Path(scratch) / "adapter"
        save_adapter(adapter, own_ranks, loaded.ref, origin)
        uniform_rank(own_ranks, out)


def write_uniform(adapter: Path, out: Path) -> int:
    """Write an adapter again, padded to one rank, and return the rank; no model is needed."""
    _refuse_other_than_adapter(out, adapter)
    return uniform_rank(adapter, out)


def write_delta(source: Path, model: str | None, gguf_file: str | None, out: Path) -> DeltaSize:
    """Write the changes of trained weights (an adapter or a whole model) against their base model.

    Raises:
        ParamsError: the base model is named neither by the folder nor by `model`, or the ending is not .safetensors.
        MismatchError: the folder was made from another model.
    """
    refuse_other_ending(out, "A delta")
    bases = lineage.bases(source)
    if model is None and not bases:
        raise ParamsError(f"{source} does not say which model it was made from; name it with --model.")
    spec = ModelSpec.parse(model or bases[0].id, None if model else bases[0].revision, gguf_file)
    base = loading.load(spec, device="cpu")
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    if (source / ADAPTER_CONFIG).is_file():
        tuned: Any = merge(load_adapter(base.model, source, base.ref))
    else:
        for ref in bases[:1]:
            ref.refuse_other(base.ref, f"The checkpoint {source.name}")
        dtype = str(base.model.dtype).removeprefix("torch.")
        tuned = loading.load(ModelSpec.parse(str(source), dtype=dtype), device="cpu").model
    patches = deltas.between(before, tuned.state_dict())
    origin = {"source": source.name, **lineage.provenance(source), "versions": versions()}
    deltas.save(out, deltas.Delta(patches, base.ref, origin))
    return DeltaSize(base.ref.id, len(patches), sum(patch.values.numel() for patch in patches.values()))


def _refuse_other_than_adapter(out: Path, source: Path | None = None) -> None:
    if out.exists() and (
        not (out / ADAPTER_CONFIG).is_file() or (source is not None and out.resolve() == source.resolve())
    ):
        raise ParamsError(
            f"{out} is there already and is no adapter that may be replaced; name a new folder for --out."
        )


def refuse_foreign(out: Path, kind: str, *sources: Path) -> None:
    """Stop if the folder to replace was not written by a command of ours, or is read by this command.

    Raises:
        ParamsError: there is such a folder.
    """
    is_ours = (out / lineage.FILE).is_file() and (out / "config.json").is_file()
    if out.exists() and (not is_ours or any(out.resolve() == source.resolve() for source in sources)):
        raise ParamsError(f"{out} is there already and is no {kind} that may be replaced; name a new folder for --out.")
