"""`ssn bake` and `ssn merge`: interventions and adapters written into plain weights, for any server."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.loading import DTYPE, GGUF_FILE, REVISION
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.core.errors import MissingInputError, ParamsError


@click.command()
@click.argument("model")
@REVISION
@GGUF_FILE
@DTYPE
@click.option(
    "--neurons", "neuron_files", required=True, type=FILE, multiple=True, help="A neuron set; may be repeated."
)
@click.option("--op", "ops", multiple=True, help="suppress (the default), scale:NUMBER, mean or set:QUANTILE.")
@click.option(
    "--layers", multiple=True, help="Only in these layers, for example 0-11; one for all sets, or one for each."
)
@click.option("--reference", "reference_file", type=FILE, help="For mean and set: what ssn reference measured.")
@click.option("--out", required=True, type=FILE, help="A new folder, or one that was baked before.")
@JSON
def bake(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    neuron_files: tuple[Path, ...],
    ops: tuple[str, ...],
    layers: tuple[str, ...],
    reference_file: Path | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write interventions into a model's weights: an ordinary folder that vLLM, SGLang, llama.cpp or lm_eval's hf runs.

    Constants (mean, set) are baked where a bias can hold them, and refused elsewhere.

    Example: ssn bake Qwen/Qwen3-8B --neurons ss.json --op suppress --out qwen3-8b-without-ss
    """
    from ssn_eval.core import store
    from ssn_eval.core.origin import versions
    from ssn_eval.exchange import baking
    from ssn_eval.exchange.folders import refuse_foreign
    from ssn_eval.interventions import reference as references
    from ssn_eval.interventions.ops import combine, describe_all
    from ssn_eval.models import lineage, loading
    from ssn_eval.models.loading import ModelSpec

    refuse_foreign(out, "baked model", Path(model))
    sets = [store.load_neurons(path) for path in neuron_files]
    changes = combine([file.neurons for file in sets], ops or ("suppress",), layers)
    activations = references.load(reference_file) if reference_file else None
    spec = ModelSpec.parse(model, revision, gguf_file, dtype)
    loaded = loading.load(spec, device="cpu")
    ancestors = lineage.bases(Path(spec.pretrained))
    for path, file in zip(neuron_files, sets, strict=True):
        lineage.refuse_other(file.model, loaded.ref, ancestors, f"The neuron set {path}")
    if activations:
        lineage.refuse_other(activations.model, loaded.ref, ancestors, f"The reference set {reference_file}")
    origin = {
        "sets": [dict(file.provenance) for file in sets],
        "reference": dict(activations.provenance) if activations else None,
    }
    baking.save(loaded, changes, out, {**origin, "versions": versions()}, reference=activations, ancestors=ancestors)
    interventions = describe_all(changes)
    summary = ", ".join(f"{intervention['op']} on {intervention['neurons']} neurons" for intervention in interventions)
    emit({"out": out.as_posix(), "interventions": interventions}, as_json, f"{loaded.ref.id} with {summary} → {out}")


@click.command()
@click.argument("adapter", type=FILE)
@click.option("--model", help="The base model (id, folder or package:NAME), if not the one the adapter names.")
@REVISION
@GGUF_FILE
@DTYPE
@click.option("--out", required=True, type=FILE, help="A new folder, or one that was merged before.")
@JSON
def merge(
    adapter: Path,
    model: str | None,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    out: Path,
    as_json: bool,
) -> None:
    """Add an adapter to its base model's weights: an ordinary folder, in which only the adapter's rows and columns differ.

    Example: ssn merge artifacts/train/ssn --out hardened
    """
    from ssn_eval.core.origin import versions
    from ssn_eval.exchange.folders import refuse_foreign
    from ssn_eval.models import lineage, loading, saving
    from ssn_eval.models.cards.weights import weights_card
    from ssn_eval.models.loading import Loaded, ModelSpec
    from ssn_eval.training.adapters.folder import load_adapter
    from ssn_eval.training.adapters.neuron_lora import merge

    refuse_foreign(out, "merged model", Path(model or ""), adapter)
    base = _base_of(adapter, model)
    spec = ModelSpec.parse(base[0], revision or base[1], gguf_file, dtype)
    loaded = loading.load(spec, device="cpu")
    tuned = load_adapter(loaded.model, adapter, loaded.ref)
    merged = Loaded(merge(tuned), loaded.tokenizer, loaded.ref)
    provenance = {"adapter": adapter.name, **lineage.provenance(adapter), "versions": versions()}
    card = weights_card(loaded.ref, provenance, is_adapter=False)
    saving.write(merged, out, lineage.MERGED, provenance, lineage.bases(Path(spec.pretrained)), card=card)
    emit(
        {"out": out.as_posix(), "base": loaded.ref.id, "adapter": adapter.name},
        as_json,
        f"{loaded.ref.id} with {adapter} → {out}",
    )


def _base_of(adapter: Path, model: str | None) -> tuple[str, str | None]:
    """The id and revision of an adapter's base model: as given, or as its `ssn.json` says."""
    from ssn_eval.models import lineage
    from ssn_eval.training.adapters.folder import ADAPTER_CONFIG

    if not (adapter / ADAPTER_CONFIG).is_file():
        raise MissingInputError(f"No adapter in {adapter}: it holds no {ADAPTER_CONFIG}.")
    bases = lineage.bases(adapter)
    if model is None and not bases:
        raise ParamsError(f"{adapter} does not say which model it was trained on; name it with --model.")
    return (model, None) if model is not None else (bases[0].id, bases[0].revision)
