"""What `ssn export` writes as a folder or takes from one: adapters, models with a set baked in, and deltas of either."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.cli.output import emit
from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from ssn_eval.core.store import NeuronFile
    from ssn_eval.models.loading import ModelSpec


def write_folder(
    found: NeuronFile, kind: str, wanted: ModelSpec, op: str, uniform_rank: bool, neurons: Path, out: Path
) -> None:
    """An adapter or a model; an existing folder is replaced only if it is one that was written so."""
    from ssn_eval.core import origin
    from ssn_eval.exchange import baking
    from ssn_eval.interventions import ops
    from ssn_eval.models import loading
    from ssn_eval.training.adapters import folder, neuron_lora, uniform

    changes = ops.combine([found.neurons], [op])
    if kind == "peft":
        _refuse_other_than_adapter(out)
    else:
        refuse_foreign(out, "exported model", Path(wanted.pretrained))
    loaded = loading.load(wanted)
    found.model.refuse_other(loaded.ref, str(neurons))
    if kind == "hf":
        baking.save(loaded, changes, out, {"sets": [dict(found.provenance)], "versions": origin.versions()})
        return
    made = {"untrained": True, **found.provenance}
    built = neuron_lora.build(loaded.model, found.neurons)
    if not uniform_rank:
        folder.save(built, out, loaded.ref, made)
        return
    with tempfile.TemporaryDirectory() as scratch:
        own_ranks = Path(scratch) / "adapter"
        folder.save(built, own_ranks, loaded.ref, made)
        uniform.uniform_rank(own_ranks, out)


def write_uniform(adapter: Path, kind: str, uniform_rank: bool, out: Path, as_json: bool) -> None:
    """An adapter again, padded to one rank; it needs no model."""
    from ssn_eval.training.adapters import uniform

    if kind != "peft" or not uniform_rank:
        raise ParamsError(
            f"{adapter} is a folder: an adapter is exported as peft with --uniform-rank, or as delta; {kind} needs a neuron set."
        )
    _refuse_other_than_adapter(out, adapter)
    rank = uniform.uniform_rank(adapter, out)
    emit(
        {"out": out.as_posix(), "format": kind, "rank": rank}, as_json, f"{adapter} with rank {rank} everywhere → {out}"
    )


def write_delta(source: Path, model: str | None, gguf_file: str | None, out: Path, as_json: bool) -> None:
    """What a folder of trained weights, adapter or whole model, changes in its base model."""
    from ssn_eval.core import origin, tensors
    from ssn_eval.models import deltas, lineage, loading
    from ssn_eval.training.adapters import folder, neuron_lora

    tensors.refuse_other_ending(out, "A delta")
    bases = lineage.bases(source)
    if model is None and not bases:
        raise ParamsError(f"{source} does not say which model it was made from; name it with --model.")
    base = loading.load(
        ModelSpec.parse(model or bases[0].id, None if model else bases[0].revision, gguf_file), device="cpu"
    )
    before = {name: weight.clone() for name, weight in base.model.state_dict().items()}
    if (source / folder.CONFIG).is_file():
        tuned: Any = neuron_lora.merge(folder.load(base.model, source, base.ref))
    else:
        for ref in bases[:1]:
            ref.refuse_other(base.ref, f"The checkpoint {source.name}")
        tuned = loading.load(
            ModelSpec.parse(str(source), None, None, str(base.model.dtype).removeprefix("torch.")), device="cpu"
        ).model
    patches = deltas.between(before, tuned.state_dict())
    made = {"source": source.name, **lineage.provenance(source), "versions": origin.versions()}
    deltas.save(out, deltas.Delta(patches, base.ref, made))
    values = sum(patch.values.numel() for patch in patches.values())
    told = {"out": out.as_posix(), "format": "delta", "weights": len(patches), "values": values}
    emit(told, as_json, f"{values} values in {len(patches)} weights of {base.ref.id} → {out}")


def _refuse_other_than_adapter(out: Path, source: Path | None = None) -> None:
    from ssn_eval.training.adapters.folder import CONFIG

    if out.exists() and (not (out / CONFIG).is_file() or (source is not None and out.resolve() == source.resolve())):
        raise ParamsError(
            f"{out} is there already and is no adapter that may be replaced; name a new folder for --out."
        )


def refuse_foreign(out: Path, what: str, *sources: Path) -> None:
    """Stop before a folder is replaced that no command of ours wrote, or that is being read.

    Raises:
        ParamsError: there is such a folder.
    """
    from ssn_eval.models import lineage

    ours = (out / lineage.FILE).is_file() and (out / "config.json").is_file()
    if out.exists() and (not ours or any(out.resolve() == source.resolve() for source in sources)):
        raise ParamsError(f"{out} is there already and is no {what} that may be replaced; name a new folder for --out.")
