"""`ssn reference`: the activations from which the ops mean and set:<quantile> take their constants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import BATCH_SIZE, CommaSeparated
from ssn_eval.cli.output import FILE, JSON, emit

if TYPE_CHECKING:
    from ssn_eval.prompts.prompt import Label


@click.command()
@model_options(required=True)
@click.option("--prompts", "prompt_file", required=True, type=FILE, help="The prompts, as for ssn identify.")
@click.option("--lang", required=True, help="Language code, for example en.")
@click.option("--label", default="harmless", show_default=True, type=click.Choice(["harmful", "harmless"]))
@click.option(
    "--sites", default="both", show_default=True, type=CommaSeparated(), help="attention, mlp, both, or a list."
)
@click.option(
    "--neurons", "neuron_files", type=FILE, multiple=True, help="Only the neurons of this set; may be repeated."
)
@BATCH_SIZE
@click.option("--limit", type=click.IntRange(1), help="The largest number of prompts, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of that draw.")
@click.option("--out", required=True, type=FILE, help="The file of the activations (.safetensors).")
@JSON
def reference(
    model: ModelOptions,
    prompt_file: Path,
    lang: str,
    label: Label,
    sites: list[str],
    neuron_files: tuple[Path, ...],
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Measure the activations of a reference set: every neuron's mean and percentiles over the tokens of its prompts.

    Example: ssn reference --model Qwen/Qwen3-8B --prompts polyrefuse --lang en --neurons ss.json --out ref.safetensors
    """
    from ssn_eval.core import store, tensors
    from ssn_eval.core.neurons import NeuronSet, expand_sites
    from ssn_eval.interventions import measuring
    from ssn_eval.interventions import reference as references
    from ssn_eval.models import lineage
    from ssn_eval.prompts.reading import read_one_language

    tensors.refuse_other_ending(out, "A reference set")
    site_names = expand_sites(sites)
    prompts = read_one_language(prompt_file, lang, label)
    sets = [store.load_neurons(path) for path in neuron_files]
    loaded = model.load()
    ancestors = lineage.bases(Path(model.spec().pretrained))
    for path, file in zip(neuron_files, sets, strict=True):
        lineage.refuse_other(file.model, loaded.ref, ancestors, f"The neuron set {path}")
    activations = measuring.reference(
        loaded,
        prompts,
        sites=site_names,
        neurons=NeuronSet(frozenset().union(*(file.neurons.members for file in sets))) if sets else None,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
    )
    references.save(out, activations)
    origin = activations.provenance
    sentence = f"{origin['neurons']} neurons on {origin['tokens']} tokens of {origin['prompts']} {lang} {label} prompts → {out}"
    emit({"out": out.as_posix(), **origin}, as_json, sentence)
